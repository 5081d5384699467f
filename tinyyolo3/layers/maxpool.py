"""Max pooling: the largest value of each window.

    y[i, j] = max over 0 ≤ u, v < size of x[i·stride_y − ⌊p/2⌋ + u, j·stride_x − ⌊p/2⌋ + v]

on maps of ``(h + p − size) // stride_y + 1`` rows, and columns alike, where p is the *total*
padding of an axis, by default size − 1. Darknet: maxpool_layer.c, forward_maxpool_layer.

Three habits of Darknet matter. The window starts at −p/2 truncated, so size 2 with stride 1
(p = 1) pads on the right and below only. Positions outside count as −FLT_MAX, so a window that
lies wholly outside gives that. And the maximum is taken by ``value > max``, so NaN never wins.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import (
    items_per_thread,
    plane_runs,
    require_gradient,
    require_map,
    result_array,
)
from tinyyolo3.layers.pixelwise import launch_pixelwise
from tinyyolo3.parallel import compiled, parallel_for


def maxpool_forward_reference(
    x: FloatArray,
    *,
    size: int,
    stride: tuple[int, int],
    padding: int,
    out: FloatArray | None = None,
) -> FloatArray:
    """Take the maximum of each window, as the largest of ``size²`` shifted pictures.

    Args:
        x: (N, C, H, W), float32 or float64.
        size: side of the window in cells.
        stride: (stride_y, stride_x), the step between windows in cells.
        padding: cells added to each axis in total, ``padding // 2`` of them before the first.
        out: where to write the result, (N, C, out_h, out_w) of `x`'s dtype; not `x`'s memory.

    Returns:
        `out`, or a new array.

    Raises:
        InputError: no window fits, a number is out of range, or `out` does not fit.
    """
    out_h, out_w = _pooled_size(x, size, stride, padding)
    result = result_array("maxpool", out, (*x.shape[:2], out_h, out_w), x.dtype)
    stride_y, stride_x = stride
    # DARKNET: -padding/2 in C truncates toward zero: an odd padding's extra cell goes last.
    before, after = padding // 2, padding - padding // 2
    lowest = np.finfo(x.dtype).min
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)), constant_values=lowest)
    result[...] = lowest
    for u in range(size):
        for v in range(size):
            rows = slice(u, u + (out_h - 1) * stride_y + 1, stride_y)
            columns = slice(v, v + (out_w - 1) * stride_x + 1, stride_x)
            shifted = padded[:, :, rows, columns]
            # DARKNET: `value > max` is false for NaN, which is therefore passed over.
            np.copyto(result, shifted, where=shifted > result)
    return result


def maxpool_backward_reference(
    gradient: FloatArray,
    x: FloatArray,
    *,
    size: int,
    stride: tuple[int, int],
    padding: int,
) -> FloatArray:
    """Give each window's gradient to the cell that was its maximum.

    A cell that won several windows gets the sum. Of equal values the first won, in the order of
    rows and then columns. A window without a winner (all of it outside, NaN or −∞) gives nothing.
    Darknet: maxpool_layer.c, backward_maxpool_layer.

    Args:
        gradient: (N, C, out_h, out_w), ∂loss/∂y.
        x: what was pooled, (N, C, H, W); the winners are searched for again.
        size: as in `maxpool_forward_reference`, and so are `stride` and `padding`.
        stride: see above.
        padding: see above.

    Returns:
        ∂loss/∂x, a new array of `x`'s shape and dtype.

    Raises:
        InputError: no window fits, a number is out of range, or `gradient` does not fit.
    """
    out_h, out_w = _pooled_size(x, size, stride, padding)
    require_gradient("maxpool", gradient, (*x.shape[:2], out_h, out_w), x)
    before, after = padding // 2, padding - padding // 2
    lowest = np.finfo(x.dtype).min
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)), constant_values=lowest)
    taps = [
        (
            ...,
            slice(u, u + (out_h - 1) * stride[0] + 1, stride[0]),
            slice(v, v + (out_w - 1) * stride[1] + 1, stride[1]),
        )
        for u in range(size)
        for v in range(size)
    ]
    largest = np.full(gradient.shape, lowest, x.dtype)
    winner = np.full(gradient.shape, -1)
    for number, tap in enumerate(taps):
        # DARKNET: `value > max` keeps the first of equal values.
        larger = padded[tap] > largest
        np.copyto(largest, padded[tap], where=larger)
        winner[larger] = number
    grad_padded = np.zeros_like(padded)
    for number, tap in enumerate(taps):
        grad_padded[tap] += np.where(winner == number, gradient, 0)
    height, width = x.shape[2:]
    return grad_padded[..., before : before + height, before : before + width].copy()


def _pooled_size(
    x: FloatArray, size: int, stride: tuple[int, int], padding: int
) -> tuple[int, int]:
    """Check the arguments of a pooling and return the rows and columns of its result."""
    require_map("maxpool", "x", x)
    if size < 1 or min(stride) < 1 or padding < 0:
        raise InputError(
            f"maxpool: size and stride must be positive and padding not negative, not "
            f"size={size} stride={stride} padding={padding}"
        )
    span_y, span_x = (cells + padding - size for cells in x.shape[2:])
    if span_y < 0 or span_x < 0:
        raise InputError(
            f"maxpool: a window of size={size} does not fit x of shape {x.shape} with "
            f"padding={padding}"
        )
    return span_y // stride[0] + 1, span_x // stride[1] + 1


@compiled
def _maxpool_core(
    start: int,
    stop: int,
    x: FloatArray,
    out: FloatArray,
    size: int,
    stride_y: int,
    stride_x: int,
    before: int,
    after: int,
    lowest: float,
) -> None:
    # x is (planes, h, w) and out (planes, out_h, out_w). A maximum over a square is the maximum
    # of its columns' maxima: each output row first folds `size` input rows into one padded line,
    # then `size` shifts of the line into the result. Both inner loops run along a row.
    height, width = x.shape[1], x.shape[2]
    line = np.empty(before + width + after, x.dtype)
    line[:] = lowest
    middle = line[before : before + width]
    for plane in range(start, stop):
        for i in range(out.shape[1]):
            first = i * stride_y - before
            middle[:] = lowest
            for y in range(max(first, 0), min(first + size, height)):
                row = x[plane, y]
                for column in range(width):
                    value = row[column]
                    middle[column] = value if value > middle[column] else middle[column]
            target = out[plane, i]
            target[:] = lowest
            for v in range(size):
                shifted = line[v:]
                for j in range(target.size):
                    value = shifted[j * stride_x]
                    target[j] = value if value > target[j] else target[j]


def maxpool_forward_numba(
    x: FloatArray,
    *,
    size: int,
    stride: tuple[int, int],
    padding: int,
    out: FloatArray | None = None,
) -> FloatArray:
    """Take the maximum of each window, rows first and then columns, with a compiled loop.

    The work is ``2·size`` comparisons for a result instead of ``size²`` and the values are
    exactly the reference's. Arguments, result and errors are those of
    `maxpool_forward_reference`; any strides will do.
    """
    out_h, out_w = _pooled_size(x, size, stride, padding)
    height, width = x.shape[2:]
    result = result_array("maxpool", out, (*x.shape[:2], out_h, out_w), x.dtype)
    before = padding // 2
    lowest = x.dtype.type(np.finfo(x.dtype).min)
    grain = items_per_thread(1 << 16, size * out_h * (width + out_w))
    for out_run, x_run in plane_runs(result, x):
        parallel_for(
            _maxpool_core,
            len(x_run),
            x_run.reshape(-1, height, width),
            out_run.reshape(-1, out_h, out_w),
            size,
            *stride,
            before,
            padding - before,
            lowest,
            grain=grain,
        )
    return result


def maxpool_forward_cuda(
    target: Target,
    x: DeviceMap,
    out: DeviceMap,
    *,
    size: int,
    stride: tuple[int, int],
    padding: int,
) -> None:
    """Launch ``kernels/maxpool.cu`` from `x` into `out`; the values are exactly the reference's."""
    numbers = (size, *stride, padding // 2)
    launch_pixelwise(target, "maxpool.cu", "maxpool_forward", [x], out, *numbers)
