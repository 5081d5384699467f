"""Independent definitions of the layers, in float64, to hold the layers' code against.

Each is written another way than the code it checks: loops over single elements, Python's `math`
instead of NumPy, Darknet's own flat indices where the layer uses slices. They are slow and
take no `out`; use small maps. Arguments are those of the layer's ``*_forward_reference``.
"""

import math
from collections.abc import Sequence

import numpy as np

from tinyyolo3.arrays import FloatArray


def activation_oracle(x: FloatArray, kind: str) -> FloatArray:
    """Apply Darknet's activations.h to one number at a time, with limits where C overflows."""
    result = np.empty(x.shape, np.float64)
    for index, value in np.ndenumerate(x):
        result[index] = _activate(float(value), kind)
    return result


def bfloat16_oracle(x: FloatArray) -> FloatArray:
    """Round float32 to bfloat16, to nearest and ties to even, by the values on either side."""
    bits = x.astype(np.float32).view(np.uint32)
    below = (bits & np.uint32(0xFFFF0000)).view(np.float32)
    above = ((bits & np.uint32(0xFFFF0000)) + np.uint32(0x10000)).view(np.float32)
    down, up = np.abs(x - below.astype(np.float64)), np.abs(above.astype(np.float64) - x)
    even = (bits >> np.uint32(16)) % 2 == 0
    return np.where((down < up) | ((down == up) & even), below, above)


def _activate(v: float, kind: str) -> float:
    if math.isnan(v):
        return v
    positive = v > 0
    match kind:
        case "linear":
            return v
        case "leaky":
            return v if positive else 0.1 * v
        case "relu":
            return v if positive else 0.0
        case "relu6":
            return min(max(v, 0.0), 6.0)
        case "logistic":
            return _logistic(v)
        case "swish":
            return v * _logistic(v)
        case "mish":
            return v * math.tanh(v if v > 20 else math.log1p(math.exp(v)))
        case "hard_mish":
            return v if positive else (v * v / 2 + v if v > -2 else 0.0)
        case "tanh":
            return math.tanh(v)
        case "elu":
            return v if positive else math.exp(v) - 1
        case "selu":
            return 1.0507 * (v if positive else 1.6732 * (math.exp(v) - 1))
    raise ValueError(f"no oracle for {kind!r}")


def _logistic(v: float) -> float:
    return 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v))


def batchnorm_oracle(
    x: FloatArray,
    mean: FloatArray,
    variance: FloatArray,
    scales: FloatArray,
    biases: FloatArray,
    *,
    epsilon: float = 1e-5,
    epsilon_inside_root: bool = True,
) -> FloatArray:
    """Normalise one number at a time."""
    result = np.empty(x.shape, np.float64)
    for (n, c, i, j), value in np.ndenumerate(x):
        v = float(variance[c])
        deviation = math.sqrt(v + epsilon) if epsilon_inside_root else math.sqrt(v) + epsilon
        normalised = (float(value) - float(mean[c])) / deviation
        result[n, c, i, j] = float(scales[c]) * normalised + float(biases[c])
    return result


def maxpool_oracle(
    x: FloatArray, *, size: int, stride: tuple[int, int], padding: int
) -> FloatArray:
    """Search each window as Darknet's forward_maxpool_layer does, padding by a bounds check."""
    n, c, h, w = x.shape
    out_h = (h + padding - size) // stride[0] + 1
    out_w = (w + padding - size) // stride[1] + 1
    result = np.empty((n, c, out_h, out_w), np.float64)
    offset = math.trunc(-padding / 2)
    for index in np.ndindex(*result.shape):
        image, channel, i, j = index
        largest = float(np.finfo(x.dtype).min)
        for u in range(size):
            for v in range(size):
                row, column = i * stride[0] + offset + u, j * stride[1] + offset + v
                if 0 <= row < h and 0 <= column < w and x[image, channel, row, column] > largest:
                    largest = float(x[image, channel, row, column])
        result[index] = largest
    return result


def avgpool_oracle(x: FloatArray) -> FloatArray:
    """Average each channel over an exactly rounded sum."""
    n, c, h, w = x.shape
    means = [[math.fsum(plane.astype(np.float64).flat) / (h * w) for plane in image] for image in x]
    return np.array(means, np.float64).reshape(n, c, 1, 1)


def upsample_oracle(x: FloatArray, *, stride: int, scale: float = 1.0) -> FloatArray:
    """Fetch each cell of the result from the cell it repeats (blas.c, upsample_cpu)."""
    n, c, h, w = x.shape
    result = np.empty((n, c, h * stride, w * stride), np.float64)
    for image, channel, i, j in np.ndindex(*result.shape):
        result[image, channel, i, j] = scale * float(x[image, channel, i // stride, j // stride])
    return result


def route_oracle(inputs: Sequence[FloatArray], *, groups: int = 1, group_id: int = 0) -> FloatArray:
    """Append one channel after another, as route_layer.c copies them."""
    images = []
    for n in range(len(inputs[0])):
        channels: list[FloatArray] = []
        for x in inputs:
            part = x.shape[1] // groups
            channels += [x[n, part * group_id + c].astype(np.float64) for c in range(part)]
        images.append(np.stack(channels))
    return np.stack(images)


def shortcut_oracle(
    x: FloatArray, others: Sequence[FloatArray], *, alpha: float = 1.0, beta: float = 1.0
) -> FloatArray:
    """Add at Darknet's flat indices (pjreddie's blas.c, shortcut_cpu)."""
    batch, c2, h2, w2 = x.shape
    out = x.astype(np.float64).reshape(-1)
    for other in others:
        _, c1, h1, w1 = other.shape
        add = other.astype(np.float64).reshape(-1)
        stride, sample = max(1, w1 // w2), max(1, w2 // w1)
        for b, k, j, i in np.ndindex(batch, min(c1, c2), min(h1, h2), min(w1, w2)):
            out_index = i * sample + w2 * (j * sample + h2 * (k + c2 * b))
            add_index = i * stride + w1 * (j * stride + h1 * (k + c1 * b))
            out[out_index] = alpha * out[out_index] + beta * add[add_index]
    return out.reshape(x.shape)


def scale_channels_oracle(
    x: FloatArray, source: FloatArray, *, scale_wh: bool = False
) -> FloatArray:
    """Multiply at Darknet's flat indices (AlexeyAB's scale_channels_layer.c)."""
    channel_size = source.shape[2] * source.shape[3]
    batch_size = source.shape[1] * channel_size
    factors = x.astype(np.float64).reshape(-1)
    values = source.astype(np.float64).reshape(-1)
    out = np.empty(values.size, np.float64)
    for i in range(values.size):
        if scale_wh:
            out[i] = factors[i % channel_size + (i // batch_size) * channel_size] * values[i]
        else:
            out[i] = factors[i // channel_size] * values[i]
    return out.reshape(source.shape)


def sam_oracle(x: FloatArray, source: FloatArray) -> FloatArray:
    """Multiply one pair of numbers at a time."""
    products = [float(a) * float(b) for a, b in zip(x.flat, source.flat, strict=True)]
    return np.array(products, np.float64).reshape(x.shape)


def connected_oracle(x: FloatArray, weights: FloatArray, biases: FloatArray) -> FloatArray:
    """Sum the products of each output exactly before rounding once."""
    result = np.empty((len(x), len(biases), 1, 1), np.float64)
    for n, image in enumerate(x):
        values = [float(v) for v in image.flat]
        for o, row in enumerate(weights):
            products = (v * float(w) for v, w in zip(values, row, strict=True))
            result[n, o, 0, 0] = math.fsum(products) + float(biases[o])
    return result


def softmax_oracle(x: FloatArray, *, groups: int = 1, temperature: float = 1.0) -> FloatArray:
    """Divide 1 by Σ exp of differences, which needs no maximum taken off."""
    result = np.empty((len(x), x[0].size), np.float64)
    size = x[0].size // groups
    for n, image in enumerate(x):
        scores = [float(v) / temperature for v in image.flat]
        for i, score in enumerate(scores):
            group = scores[i // size * size : (i // size + 1) * size]
            result[n, i] = 1 / math.fsum(math.exp(min(other - score, 700.0)) for other in group)
    return result.reshape(x.shape)


def reorg_oracle(x: FloatArray, *, stride: int) -> FloatArray:
    """Move each number between Darknet's two flat indices (blas.c, reorg_cpu, forward = 0)."""
    batch, c, h, w = x.shape
    source = x.astype(np.float64).reshape(-1)
    out = np.empty(source.size, np.float64)
    out_c = c // (stride * stride)
    for b, k, j, i in np.ndindex(batch, c, h, w):
        in_index = i + w * (j + h * (k + c * b))
        c2, offset = k % out_c, k // out_c
        w2 = i * stride + offset % stride
        h2 = j * stride + offset // stride
        out[in_index] = source[w2 + w * stride * (h2 + h * stride * (c2 + out_c * b))]
    return out.reshape(batch, c * stride * stride, h // stride, w // stride)
