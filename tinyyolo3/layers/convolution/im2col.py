"""Convolution as a matrix product: im2col, then BLAS.

Every output pixel needs C·K·K numbers of the input. Written as the columns of a matrix of
*patches* (C·K·K rows, one column per output pixel), the whole layer is

    y (F × pixels) = weights (F × C·K·K) · patches (C·K·K × pixels)

which BLAS does at a good part of the processor's peak (Chellapilla et al., High Performance
Convolutional Neural Networks for Document Processing, 2006, section 4; im2col.c im2col_cpu).

The patches repeat each pixel up to K·K times: at 608 pixels YOLOv3's second layer would need
106 MB of them. So they are made for a few rows of the output at a time, few enough to stay in the
cache while BLAS reads them. A 1x1 convolution with stride 1 is already a matrix product.

The threads are this package's own, with BLAS at one thread each (`tinyyolo3.blas`): a block of
output rows is one job from patches to product, so threads meet once per layer, not twice per
block. On a small map with many filters, where the weights outweigh the patches, all threads fill
the patches first and then share the filters, so that the weights are read once. The cuts depend on
the layer alone, which makes the result the same for any number of threads.
"""

from typing import NamedTuple

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.layers.arguments import result_array
from tinyyolo3.layers.convolution.reference import check_convolution
from tinyyolo3.layers.convolution.sampling import columns_inside
from tinyyolo3.layers.shapes import Shape, Stride
from tinyyolo3.parallel import compiled, parallel_for

#: Patches made at a time: 2 MB of float32. Smaller blocks give BLAS too little to do at once,
#: larger ones leave the cache and fault in fresh pages.
BLOCK_ELEMENTS = 2**19
#: The least rows or columns, and the least multiply-adds, of a product that are one job.
PIECE_LENGTH = 256
PIECE_OPERATIONS = 2**20
#: Elements that a thread must get before handing it work pays.
GRAIN_ELEMENTS = 2**14


class Window(NamedTuple):
    """How the kernel's window steps over the input, in its pixels."""

    size: int
    stride_y: int
    stride_x: int
    pad: int
    dilation: int


def conv_forward_im2col(
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
    """Convolve by patches and matrix products; equal to `conv_forward_reference`.

    Arguments, result and errors are those of `conv_forward_reference`; the order of summation,
    and so the last bits, are BLAS's.
    """
    shape = check_convolution(x, weights, biases, stride, padding, dilation, groups)
    out = result_array("convolution", out, (len(x), *shape), x.dtype)
    # BLAS needs each channel in one run of memory, as a channel slice of a larger array has it.
    result = out if out[:1, :1].flags.c_contiguous else np.empty(out.shape, out.dtype)
    pixels = shape[1] * shape[2]
    filters, inputs = shape[0] // groups, weights.shape[1]
    pointwise = weights.shape[2] == 1 and stride == (1, 1) and padding == 0
    window = Window(weights.shape[2], *stride, padding * dilation, dilation)
    for image, image_out in zip(x, result, strict=True):
        for group in range(groups):
            rows = slice(group * filters, (group + 1) * filters)
            part = image[group * inputs : (group + 1) * inputs]
            matrix = weights[rows].reshape(filters, -1)
            target = image_out[rows].reshape(filters, pixels)
            if pointwise:
                _multiply(matrix, part.reshape(inputs, pixels), target)
            else:
                _multiply_patches(part, matrix, target, shape, window)
    if biases is not None:
        result += biases[:, None, None]
    if result is not out:
        out[...] = result
    return out


def _multiply(matrix: FloatArray, columns: FloatArray, target: FloatArray) -> None:
    """Write ``matrix · columns`` to `target`, cut along its longer side."""
    filters, pixels = target.shape
    longer, shorter = max(filters, pixels), min(filters, pixels)
    length = max(PIECE_LENGTH, PIECE_OPERATIONS // (shorter * matrix.shape[1]))
    along = _multiply_filters if filters > pixels else _multiply_columns
    parallel_for(along, -(-longer // length), matrix, columns, target, length)


def _multiply_filters(
    start: int, stop: int, matrix: FloatArray, columns: FloatArray, target: FloatArray, length: int
) -> None:
    for piece in range(start, stop):
        rows = slice(piece * length, (piece + 1) * length)
        np.matmul(matrix[rows], columns, out=target[rows])


def _multiply_columns(
    start: int, stop: int, matrix: FloatArray, columns: FloatArray, target: FloatArray, length: int
) -> None:
    for piece in range(start, stop):
        part = slice(piece * length, (piece + 1) * length)
        np.matmul(matrix, columns[:, part], out=target[:, part])


def _multiply_patches(
    x: FloatArray, matrix: FloatArray, target: FloatArray, shape: Shape, window: Window
) -> None:
    """Write ``matrix · patches(x)`` to `target`, a block of output rows at a time."""
    _, out_height, out_width = shape
    taps = matrix.shape[1]
    block_rows = max(1, BLOCK_ELEMENTS // (taps * out_width))
    if block_rows < out_height:
        blocks = -(-out_height // block_rows)
        parallel_for(_multiply_blocks, blocks, x, matrix, target, shape, window, block_rows)
        return
    patches = np.empty((taps, out_height, out_width), x.dtype)
    grain = max(1, GRAIN_ELEMENTS // (out_height * out_width))
    parallel_for(_fill_patches, taps, x, patches, *window, 0, grain=grain)
    _multiply(matrix, patches.reshape(taps, out_height * out_width), target)


def _multiply_blocks(
    start: int,
    stop: int,
    x: FloatArray,
    matrix: FloatArray,
    target: FloatArray,
    shape: Shape,
    window: Window,
    block_rows: int,
) -> None:
    """Do blocks [start, stop) of `block_rows` output rows, from patches to product."""
    _, out_height, out_width = shape
    taps = matrix.shape[1]
    buffer = np.empty(taps * block_rows * out_width, x.dtype)
    for first in range(start * block_rows, min(stop * block_rows, out_height), block_rows):
        rows = min(block_rows, out_height - first)
        patches = buffer[: taps * rows * out_width].reshape(taps, rows, out_width)
        _fill_patches(0, taps, x, patches, *window, first)
        columns = slice(first * out_width, (first + rows) * out_width)
        np.matmul(matrix, patches.reshape(taps, rows * out_width), out=target[:, columns])


@compiled
def _fill_patches(
    start: int,
    stop: int,
    x: FloatArray,
    patches: FloatArray,
    size: int,
    stride_y: int,
    stride_x: int,
    pad: int,
    dilation: int,
    first_row: int,
) -> None:
    """Fill rows [start, stop) of `patches` (C·K·K, rows, out_W) from x (C, H, W).

    Row (c, u, v) holds, for every output pixel, the input pixel under tap (u, v) of channel c.
    """
    _, height, width = x.shape
    for tap in range(start, stop):
        channel = tap // (size * size)
        top = (tap // size) % size * dilation - pad
        left = tap % size * dilation - pad
        begin, end = columns_inside(left, stride_x, width, patches.shape[2])
        for row in range(patches.shape[1]):
            y = (first_row + row) * stride_y + top
            target = patches[tap, row]
            if y < 0 or y >= height:
                target[:] = 0
                continue
            target[:begin] = 0
            target[end:] = 0
            # Slices that start at zero tell the compiler that no index is negative, without
            # which it does not vectorise.
            inside = target[begin:end]
            source = x[channel, y, begin * stride_x + left :]
            if stride_x == 1:
                for column in range(end - begin):
                    inside[column] = source[column]
            else:
                for column in range(end - begin):
                    inside[column] = source[column * stride_x]
