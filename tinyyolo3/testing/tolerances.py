"""Every tolerance of the test-suite, each with its reason.

A tolerance is a formula or a constant with a name; tests import it and type no number of
their own. "Exact" operations (copies, selections) have none: they are compared for equality.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from tinyyolo3.activations import SELU_ALPHA, SELU_SCALE
from tinyyolo3.arrays import FloatArray

#: Darknet prints its boxes with three decimals, and its own float32 sums differ from ours in
#: order; a trained network's logits move by less than 1e-3 for it.
DARKNET_CONFIDENCE = 2e-3
#: The same, on the corners of a box in pixels of the image.
DARKNET_CORNER_PX = 0.5

#: The same with inputs and weights rounded to bfloat16 in all but the narrowest layers; measured
#: are up to 0.0095, and 10 px at a corner of a box as large as its picture, otherwise up to 1.1 px.
BFLOAT16_CONFIDENCE = 2e-2
BFLOAT16_CORNER_PX = 16.0

#: The same in fp16 and tf32, whose numbers have 11 bits instead of 24; measured are up to 0.004
#: and 0.5 px at the corners of boxes of some hundred pixels.
HALF_CONFIDENCE = 2e-2
HALF_CORNER_PX = 2.0

#: Whole networks of random weights against Darknet's float32: a box relative to its largest number,
#: a probability absolutely. Seventy layers of sums in another order stay well inside.
RANDOM_NETWORK_BOX = 1e-3
RANDOM_NETWORK_PROBABILITY = 1e-4
#: The same in fp16 and tf32, 2¹³ times as coarse. Thirteen layers' errors of up to 2⁻¹¹ each move
#: logits of order one by a hundredth, a probability by a quarter of that and a box by all of it.
HALF_NETWORK_BOX = 3e-2
HALF_NETWORK_PROBABILITY = 1e-2
#: The same for Darknet's collection, whose stored answers are rounded to five decimals and whose
#: networks are of every kind, some with exponentials of exponentials (mish, swish).
COLLECTION_BOX = 2e-3
COLLECTION_PROBABILITY = 2e-3


def summation(magnitude: FloatArray, terms: int, dtype: type = np.float32) -> FloatArray:
    """Bound the error of a sum of `terms` products, however it is ordered.

    Args:
        magnitude: the same sum taken over absolute values, ``Σ |x| |w|``.
        terms: the number of products.
        dtype: the precision in which the sum was taken.

    The worst case grows with `terms`; rounding errors are independent enough that the square
    root, doubled for safety, holds (Higham, Accuracy and Stability, section 2.8).
    """
    return np.asarray((2.0 + np.sqrt(terms)) * np.finfo(dtype).eps * np.abs(magnitude) + 1e-30)


def repeated_summation(magnitude: FloatArray, terms: int, dtype: type = np.float32) -> FloatArray:
    """Bound the error of a sum like `summation`, where terms repeat: their roundings add up."""
    return np.asarray(terms * np.finfo(dtype).eps * np.abs(magnitude) + 1e-30)


def variance(mean: FloatArray, variance: FloatArray, count: int) -> FloatArray:
    """Bound the error of a variance of `count` float32 numbers, taken in one pass by updates.

    Such updates lose as many bits as the numbers' mean is larger than their spread (Chan, Golub and
    LeVeque, Algorithms for Computing the Sample Variance, 1983, table 1).
    """
    condition = np.sqrt(1 + mean**2 / np.maximum(variance, 1e-30))
    return summation(variance * condition, count)


def tensor_cores(magnitude: FloatArray, terms: int) -> FloatArray:
    """Bound the error of a float32 sum of `terms` exact products on tensor cores.

    They align a few products, 4 to 16, with the sum so far and cut off what lies below its last bit
    (Fasi, Higham, Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores, 2021): errors
    have one sign and add up, one unit in the last place, 2⁻²³, for every group at the most. Groups
    of 4 are reckoned with, and some more roundings for the parts of a split sum.

    Args:
        magnitude: the same sum taken over absolute values, ``Σ |x| |w|``.
        terms: the number of products.
    """
    eps = np.finfo(np.float32).eps
    return np.asarray((40.0 + terms / 4) * eps * np.abs(magnitude) + 1e-30)


def rounded_to_half(value: FloatArray) -> FloatArray:
    """Bound what rounding to float16 changes: half a unit of its 11 bits; 2⁻²⁵ below 2⁻¹⁴."""
    return np.asarray(np.maximum(np.abs(value) * 2.0**-11, 2.0**-25))


def winograd(magnitude: FloatArray, channels: int, extent: int) -> FloatArray:
    """Bound the error of a Winograd convolution in float32.

    With matrices A, B and G (`tinyyolo3.engine.cpu.toom_cook`), each output is a sum of products of
    sums, and every rounding happens to a number that the same expression in absolute values bounds:
    the error is that value times the unit roundoff, as often as numbers are rounded on the way. On
    the way from an input to an output lie four passes of at most `extent` terms (rows and columns
    of B and of A) and the sum over channels, and `summation` counts as many roundings.

    Args:
        magnitude: ``|A| (Σ_c |G| |g_c| |G|ᵀ ⊙ |B| |d_c| |B|ᵀ) |A|ᵀ`` of each output.
        channels: terms of the sum.
        extent: inputs of a tile along an axis.
    """
    return summation(magnitude, channels + 4 * extent)


#: One elementary function (exp, tanh, log1p) chained with a few float32 operations: a handful
#: of units in the last place, relative to the larger of the value and one.
ELEMENTARY_FLOAT32 = 8 * float(np.finfo(np.float32).eps)

#: The same in float64, where a formula is compared with itself written as scalar loops.
ELEMENTARY_FLOAT64 = 8 * float(np.finfo(np.float64).eps)


#: Units in the last place that a float32 exp, expm1, log, log1p or tanh may be off by: CUDA's
#: documentation promises at most two (Programming Guide, "Mathematical Functions"); glibc keeps it.
ELEMENTARY_ULP = 2.0

#: The steepest slope of any activation, by which an error before it may grow: selu's below zero.
ACTIVATION_SLOPE = SELU_SCALE * SELU_ALPHA

#: A logistic far below zero is exp(x) to within its own rounding: one unit in the last place from
#: exp and half a unit each from the addition and the division, relative to the small result.
LOGISTIC_TAIL_FLOAT32 = 2 * float(np.finfo(np.float32).eps)


def softmax(probability: FloatArray, largest_score: float, dtype: DTypeLike) -> FloatArray:
    """Bound the error of a softmax: scores of size s carry an error of s·eps into the exponent.

    There an absolute error is a relative one of the result, in the numerator and in the sum.
    """
    eps = np.finfo(np.dtype(dtype)).eps
    return np.asarray(4 * (2 + largest_score) * eps * probability + np.finfo(np.float32).tiny)


#: A box in units of the picture, carried to the network's input and back: two float32 roundings
#: of numbers up to two on the way, and as many on the way back.
BOX_ROUND_TRIP = 4 * 2 * float(np.finfo(np.float32).eps)


def bilinear(samples: int) -> float:
    """Bound the error of a bilinear resize of values in [0, 1] along axes of `samples`.

    Darknet computes positions in float32: a scale and a product, each off by up to half an eps
    of the position, on two axes, and a value changes by at most one per sample. A handful of eps
    more is the interpolation itself.
    """
    return (2 * samples + 4) * float(np.finfo(np.float32).eps)


def network(largest: float, depth: int, terms: int) -> float:
    """Bound the difference of two float32 runs of a network, an absolute number.

    Each layer rounds a sum of `terms` products, as in `summation`, and passes on what it got with
    a gain of about one, since weights that suit a network keep its activations of one size. So
    errors add up along the depth; a sum of independent ones would grow as its square root.

    Args:
        largest: the largest absolute activation so far.
        depth: the number of layers up to here.
        terms: the number of products in the longest sum so far.
    """
    eps = float(np.finfo(np.float32).eps)
    return depth * (2.0 + math.sqrt(terms)) * eps * max(1.0, largest)


def planned_network(largest: float, depth: int, terms: int, amplification: float) -> float:
    """Bound the difference of a planned float32 run from float64's, an absolute number.

    As `network`, where every sum may be taken by a Winograd convolution, whose rounding errors are
    at most `amplification` times those of a plain one (`toom_cook.Filtering.amplification`).
    """
    return amplification * network(largest, depth, terms)


def network_bfloat16(largest: float, depth: int, terms: int) -> float:
    """Bound the same for inputs and weights rounded to bfloat16, whose unit is 2⁻⁷ and not 2⁻²³.

    The rounding errors of a layer's products are independent: a sum of n has √n of them, but its
    terms are of size 1/√n.
    """
    return network(largest, depth, terms) * 2.0 ** (23 - 7)


def network_half(largest: float, depth: int) -> float:
    """Bound the same for maps and factors of 11 bits, as fp16 and tf32 have them.

    A number is off by 2⁻¹² of itself on average, 2⁻¹¹ at most. In a layer's sum both factors of n
    products are, and the products are of size 1/√n, so that their errors come to about one such
    error of the result; storing it makes another. Errors of layers add up; a factor of 4 leaves
    room for sums whose terms cancel.
    """
    return 4 * 3 * 2.0**-11 * depth * max(1.0, largest)


#: Folding batch norm into weights reorders some dozens of float64 products and sums; relative to
#: the largest output.
FOLDED_FLOAT64 = 1e-12

#: A whole network in float32 against float64, relative to the output's largest magnitude. Each of
#: up to 75 convolutions adds rounding errors of about sqrt(terms) units in the last place, which
#: the later ones pass on; measured are 1e-6.
NETWORK_FLOAT32 = 1e-5

#: Another library's whole network in float32 against float64, relative to the largest logit. Its
#: Winograd convolutions carry constants of some dozens into sums that cancel; measured are up to
#: 3e-6, and another batch-norm epsilon moves a trained network's logits by 4e-4.
PEER_FLOAT32 = 1e-4
#: The same with factors rounded to bfloat16: eight bits, a relative error of up to 2⁻⁹ each, which
#: partly averages out in a sum and adds up over layers; measured are 5e-3 to 3e-2.
PEER_BFLOAT16 = 0.1
#: Another library's network in fp16 or tf32 against ours in the same: 11 bits, an eighth of
#: bfloat16's error, on either side. PyTorch's fp16 and its float32 differ by 7e-4 to 3e-3.
PEER_HALF = 1e-2

#: Winograd's matrices in float64, relative to the largest input times the sum of weights: entries
#: up to 3 (B), whose products cancel to zeros and ones.
FILTERING_FLOAT64 = 1e-13

#: Transformed weights are computed in float64 and rounded once, relative to the largest of them.
PACKED_WINOGRAD = float(np.finfo(np.float32).eps)

#: Of the time of one core, what a process may take whose threads all wait: Python's own threads
#: wake up now and then.
IDLE_CPU_SHARE = 0.1

#: How much a process may grow in the second half of a soak test: plans for input sizes come and go,
#: so that the arenas in use differ by some MiB from one moment to another. A leak of one arena per
#: run would be a hundred times that.
SOAK_GROWTH_BYTES = 16 << 20

#: A small network's boxes on a GPU against the CPU's: sums in another order and other elementary
#: functions move logits of order ten by 1e-5, a confidence by a quarter of that at most.
DEVICE_CONFIDENCE = 1e-5
#: The same at a corner, in pixels: boxes of a hundred pixels or two, by their own exponentials.
DEVICE_CORNER_PX = 5e-3

#: Derivatives in float64 against central differences of step 1e-7, relative to the largest one:
#: what is rounded away there is 1e-16 / 1e-7 of the function, the curve adds 1e-14.
GRADIENT = 1e-6

#: An anchor's sides against those of the cluster it was drawn from, relative: of a hundred boxes
#: that are spread by 4 % the median is off by 1.25 · 0.04 / √100; five times that is never passed.
CLUSTER_SIDE = 0.025

#: The mean IoU of anchors against that of the best ones on a fine grid: the search ends when it no
#: longer gains 1e-5, and the grid's best are as far from the best of all.
BEST_MEAN_IOU = 1e-4
#: The same of anchors whose starts saw a sample of a thousand boxes, against all: IoUs are spread
#: by 0.15 around their mean, so that the means of two samples differ by 0.15 / √1000.
SAMPLED_MEAN_IOU = 5e-3

#: A box written to a file of labels and read back, in px: twelve digits of a fraction of a picture
#: of up to ten thousand pixels are a hundredth of it; it is also what users are promised.
LABEL_PX = 1e-6

#: The mean of ten thousand numbers from 0 to 1 in another order: NumPy adds in pairs, so that a few
#: dozen roundings of 1e-16 are all there is.
REORDERED_MEAN = 1e-13

#: A layer's gradients in float64 against PyTorch's, relative to the largest or one: sums of some
#: hundred products in another order, and mish's 1 − tanh² times numbers of some dozens; measured
#: are up to 3e-15.
BACKWARD_FLOAT64 = 1e-13

#: Weights trained from one start, against Darknet's: the error of their change in all, relative to
#: that change. Sums in another order are 1e-5 of it after 1 and 5 iterations; later the deltas
#: shrink, and a maximum or a leaky slope falls the other way: measured are up to 9e-5 after 20.
TRAINED_5_ITERATIONS = 1e-4
TRAINED_20_ITERATIONS = 1e-3
#: Its printed loss, relative: measured are up to 4e-5.
TRAINING_LOSS = 1e-4

#: Where an edge is seen in a resized picture, against where labels say it is, in px of the result
#: besides half a pixel of the source: with corners aligned, places are up to half a pixel off, and
#: an edge is seen to a whole pixel.
RESIZED_EDGE_PX = 1.5

#: Colours in float64 by another library's formulas: some dozen operations on numbers up to six.
COLOURS_FLOAT64 = 1e-14


def propagation(largest: float, plain_error: float) -> float:
    """Bound the error of a quick pass there or back, an absolute number.

    How far rounding errors grow on the way depends on the network: batch norm over few values
    divides by what is left of a difference. The plain passes in float32 tell, up to the luck of
    single numbers. Winograd's convolutions multiply their errors by up to 70
    (`toom_cook.Filtering.amplification`), of which a sum over channels keeps some.

    Args:
        largest: the array's largest number.
        plain_error: the largest error of the plain passes in float32.
    """
    return 30 * plain_error + 2e-5 * largest
