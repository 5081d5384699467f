"""Depthwise convolution: every filter sees one channel.

With as many groups as input channels there is nothing for a matrix product to share: each output
plane is its own small sum of shifted, scaled copies of one input plane

    y[f] = b[f] + Σ_u Σ_v w[f, u, v] · shift(x[f // m], u, v)

(Howard et al., MobileNets, 2017, section 3.1; m filters per channel, usually one). About 2·K·K
operations per number read: memory decides, so a plane is finished row by row while it is in the
cache, and the innermost loop runs along a row, where the compiler can use vectors.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.reference import check_convolution
from tinyyolo3.layers.shapes import Stride
from tinyyolo3.parallel import compiled, parallel_for

#: Multiply-adds that a thread must get before handing it work pays.
GRAIN_OPERATIONS = 2**16


def conv_forward_depthwise(
    x: FloatArray,
    weights: FloatArray,
    biases: FloatArray | None,
    *,
    stride: Stride = (1, 1),
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    out: FloatArray | None = None,
) -> FloatArray:
    """Convolve each channel on its own; equal to `conv_forward_reference` with groups = C.

    Arguments, result and errors are those of `conv_forward_reference`.

    Raises:
        InputError: `weights` have more than one input channel per group.
    """
    shape = check_convolution(x, weights, biases, stride, padding, dilation, groups)
    if weights.shape[1] != 1:
        raise InputError(f"depthwise filters have one channel, found {weights.shape[1]}")
    if out is None:
        out = np.empty((len(x), *shape), x.dtype)
    if biases is None:
        biases = np.zeros(shape[0], x.dtype)
    size = weights.shape[2]
    parallel_for(
        _convolve_planes,
        len(x) * shape[0],
        x,
        weights,
        biases,
        out,
        stride[0],
        stride[1],
        padding * dilation,
        dilation,
        grain=max(1, GRAIN_OPERATIONS // (size * size * shape[1] * shape[2])),
    )
    return out


@compiled
def _convolve_planes(
    start: int,
    stop: int,
    x: FloatArray,
    weights: FloatArray,
    biases: FloatArray,
    out: FloatArray,
    stride_y: int,
    stride_x: int,
    pad: int,
    dilation: int,
) -> None:
    """Write planes [start, stop) of all images' filters."""
    height, width = x.shape[2], x.shape[3]
    filters, out_height, out_width = out.shape[1], out.shape[2], out.shape[3]
    size = weights.shape[2]
    multiplier = filters // x.shape[1]
    for plane in range(start, stop):
        image, f = plane // filters, plane % filters
        source = x[image, f // multiplier]
        target = out[image, f]
        for row in range(out_height):
            for column in range(out_width):
                target[row, column] = biases[f]
            for u in range(size):
                y = row * stride_y + u * dilation - pad
                if y < 0 or y >= height:
                    continue
                for v in range(size):
                    weight = weights[f, 0, u, v]
                    left = v * dilation - pad
                    begin = min(out_width, max(0, (-left + stride_x - 1) // stride_x))
                    end = max(begin, min(out_width, (width - 1 - left) // stride_x + 1))
                    for column in range(begin, end):
                        target[row, column] += weight * source[y, column * stride_x + left]
