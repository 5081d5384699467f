"""The YOLOv2 head's activation: logits in, centre, objectness and class distribution out.

The layout is the yolo head's, ``[anchor][x y w h objectness classes...][row][col]``, and so is
the logistic function on x, y and objectness. The classes of one anchor exclude each other and
share a softmax,

    p_k = exp(t_k - max t) / Σ_j exp(t_j - max t)

(Redmon and Farhadi, YOLO9000, 2017, section 2; region_layer.c, forward_region_layer). As in
`tinyyolo3.layers.yolo`, exponentials and their sum are float64 and rounded once.
"""

import math

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.arguments import result_array
from tinyyolo3.layers.yolo import (
    logistic_reference,
    logistic_scalar,
    split_anchors,
)
from tinyyolo3.parallel import compiled, parallel_for


def region_forward_reference(
    x: FloatArray,
    *,
    anchors: int,
    classes: int,
    softmax: bool = True,
    out: FloatArray | None = None,
) -> FloatArray:
    """Activate the raw maps of a region head (region_layer.c, forward_region_layer).

    Darknet takes the logistic of x and y later, in get_region_box; here it is taken at once, so
    that the two kinds of head leave the same quantities.

    Args:
        x: logits (N, anchors*(5+classes), H, W), float32 or float64.
        anchors: how many anchors the head has.
        classes: how many classes the head has.
        softmax: False takes the logistic of each class by itself.
        out: where to write, shaped like `x`; may be `x` itself.

    Returns:
        The activated maps, shape and dtype of `x`; w and h are still logits. A NaN, a +inf or
        nothing but -inf among an anchor's class logits makes all its classes NaN.

    Raises:
        InputError: `x` is not such a head, or `out` does not fit.
    """
    logits = split_anchors("region", x, anchors, classes)
    out = result_array("region", out, x.shape, x.dtype)
    result = split_anchors("region", out, anchors, classes)
    result[:, :, :2] = logistic_reference(logits[:, :, :2])
    result[:, :, 2:4] = logits[:, :, 2:4]
    result[:, :, 4] = logistic_reference(logits[:, :, 4])
    scores = logits[:, :, 5:]
    result[:, :, 5:] = _softmax_over_classes(scores) if softmax else logistic_reference(scores)
    return out


def _softmax_over_classes(scores: FloatArray) -> FloatArray:
    wide = scores.astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf is the documented NaN
        powers = np.exp(wide - wide.max(axis=2, keepdims=True))
    probability: FloatArray = powers / powers.sum(axis=2, keepdims=True)
    return probability.astype(scores.dtype)


@compiled
def softmax_scalars(scores: FloatArray, result: FloatArray) -> None:
    """Take the softmax of one anchor's class logits (classes,) into `result`, same shape."""
    largest = -np.inf
    for k in range(scores.shape[0]):
        if scores[k] > largest:
            largest = np.float64(scores[k])
    powers = np.empty(scores.shape[0])
    total = 0.0
    for k in range(scores.shape[0]):
        powers[k] = math.exp(np.float64(scores[k]) - largest)
        total += powers[k]
    for k in range(scores.shape[0]):
        result[k] = powers[k] / total


@compiled
def _region_rows(
    start: int, stop: int, logits: FloatArray, softmax: bool, result: FloatArray
) -> None:
    _, anchors, entries, height, width = logits.shape
    for item in range(start, stop):
        head, row = divmod(item, height)
        image, anchor = divmod(head, anchors)
        source, target = logits[image, anchor, :, row], result[image, anchor, :, row]
        for col in range(width):
            if softmax:
                softmax_scalars(source[5:, col], target[5:, col])
            for entry in range(5 if softmax else entries):
                raw = entry == 2 or entry == 3
                logit = source[entry, col]
                target[entry, col] = logit if raw else logistic_scalar(logit)


def region_forward_numba(
    x: FloatArray,
    *,
    anchors: int,
    classes: int,
    softmax: bool = True,
    out: FloatArray | None = None,
) -> FloatArray:
    """Do what `region_forward_reference` does in one compiled pass, threads sharing the rows.

    Args, Returns and Raises: as there.
    """
    logits = split_anchors("region", x, anchors, classes)
    out = result_array("region", out, x.shape, x.dtype)
    result = split_anchors("region", out, anchors, classes)
    items = logits.shape[0] * anchors * logits.shape[3]
    parallel_for(_region_rows, items, logits, bool(softmax), result, grain=64)
    return out


def region_forward_cuda(
    target: Target, x: DeviceMap, out: DeviceMap, *, anchors: int, softmax: bool = True
) -> None:
    """Launch ``kernels/region.cu`` from `x` into `out`, other memory.

    Arguments are those of `region_forward_reference`; the classes follow from the channels.
    """
    warps_per_block = 8
    target.kernel("region.cu", "region_forward")(
        (-(-x.pixels * anchors // warps_per_block),),
        (32 * warps_per_block,),
        (x.data, x.struct, out.data, out.struct, anchors, int(softmax)),
        outputs=out.whole,
    )
