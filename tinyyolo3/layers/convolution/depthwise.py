"""Depthwise convolution: every filter sees one channel.

With as many groups as input channels there is nothing for a matrix product to share: each output
plane is its own small sum of shifted, scaled copies of one input plane

    y[f] = b[f] + Σ_u Σ_v w[f, u, v] · shift(x[f // m], u, v)

(Howard et al., MobileNets, 2017, section 3.1; m filters per channel, usually one). About 2·K·K
operations per number read: memory and loop overhead decide. So the plane is first copied with its
border of zeros, after which no tap needs to know where the border is, and written as *phases*:
every s-th row and column, from each of the s·s starting points. Over the phases a convolution with
stride s is one with stride 1: output pixel (i, j) finds tap (u, v) in phase (u mod s, v mod s) at
row i + u div s, column j + v div s. Because rows of a phase follow each other in memory, one tap is
then one long loop ``sum[k] += w · phase[k + offset]`` over a band of rows, which the compiler turns
into vector instructions; the few sums that straddle two rows are thrown away.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import result_array
from tinyyolo3.layers.convolution.reference import check_convolution
from tinyyolo3.layers.convolution.sampling import columns_inside
from tinyyolo3.layers.shapes import Stride
from tinyyolo3.parallel import compiled, parallel_for

#: Multiply-adds that a thread must get before handing it work pays.
GRAIN_OPERATIONS = 2**17
#: Sums kept at a time: 8 KB, so that they and the phase stay in the first-level cache.
BAND_ELEMENTS = 2**11


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
    out = result_array("convolution", out, (len(x), *shape), x.dtype)
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
    filters, out_height, out_width = out.shape[1], out.shape[2], out.shape[3]
    size = weights.shape[2]
    multiplier = filters // x.shape[1]
    reach = (size - 1) * dilation
    rows, columns = out_height + reach // stride_y, out_width + reach // stride_x
    phases = np.empty((stride_y * stride_x, rows, columns), x.dtype)
    flat = phases.reshape(-1)
    band = max(1, BAND_ELEMENTS // columns)
    sums = np.empty(band * columns, x.dtype)
    for plane in range(start, stop):
        image, f = plane // filters, plane % filters
        _fill_phases(x[image, f // multiplier], phases, stride_y, stride_x, pad)
        for first in range(0, out_height, band):
            height = min(band, out_height - first)
            count = (height - 1) * columns + out_width
            total = sums[:count]
            total[:] = biases[f]
            for tap in range(size * size):
                y, x_offset = tap // size * dilation, tap % size * dilation
                phase = (y % stride_y) * stride_x + x_offset % stride_x
                offset = (phase * rows + first + y // stride_y) * columns + x_offset // stride_x
                shifted = flat[offset : offset + count]
                weight = weights[f, 0, tap // size, tap % size]
                for k in range(count):
                    total[k] += weight * shifted[k]
            for row in range(height):
                target = out[image, f, first + row]
                source = sums[row * columns : row * columns + out_width]
                for column in range(out_width):
                    target[column] = source[column]


@compiled
def _fill_phases(
    plane: FloatArray, phases: FloatArray, stride_y: int, stride_x: int, pad: int
) -> None:
    """Copy a plane (H, W) with its border of zeros into its phases (s·s, rows, columns)."""
    height, width = plane.shape
    phases[:] = 0
    for phase in range(phases.shape[0]):
        top, left = phase // stride_x - pad, phase % stride_x - pad
        begin, end = columns_inside(left, stride_x, width, phases.shape[2])
        for row in range(phases.shape[1]):
            y = row * stride_y + top
            if y < 0 or y >= height:
                continue
            target = phases[phase, row, begin:end]
            source = plane[y, begin * stride_x + left :]
            if stride_x == 1:
                for column in range(end - begin):
                    target[column] = source[column]
            else:
                for column in range(end - begin):
                    target[column] = source[column * stride_x]
