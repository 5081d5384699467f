"""Nearest-neighbour upsampling: every cell becomes a square of itself.

    y[i, j] = scale · x[i // stride, j // stride]

Darknet: blas.c, upsample_cpu.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import items_per_thread, plane_runs, require_map, result_array
from tinyyolo3.layers.pixelwise import launch_pixelwise
from tinyyolo3.parallel import compiled, parallel_for


def upsample_forward_reference(
    x: FloatArray, *, stride: int, scale: float = 1.0, out: FloatArray | None = None
) -> FloatArray:
    """Repeat every cell `stride` times along rows and columns, times `scale`.

    Args:
        x: (N, C, H, W), float32 or float64.
        stride: how many times larger each side becomes.
        scale: the factor on every value.
        out: where to write the result, (N, C, stride·H, stride·W) of `x`'s dtype; not `x`'s
            memory.

    Returns:
        `out`, or a new array.

    Raises:
        InputError: `stride` is not positive, or `x` or `out` has the wrong shape or dtype.
    """
    result = _result(x, stride, out)
    np.multiply(x.repeat(stride, axis=2).repeat(stride, axis=3), x.dtype.type(scale), out=result)
    return result


def upsample_backward_reference(
    gradient: FloatArray, *, stride: int, scale: float = 1.0
) -> FloatArray:
    """Sum the gradients of each cell's square, times `scale`.

    Args:
        gradient: (N, C, stride·H, stride·W), ∂loss/∂y, float32 or float64.
        stride: how many times larger each side became.
        scale: the factor on every value.

    Returns:
        (N, C, H, W), ∂loss/∂x, a new array of `gradient`'s dtype.

    Raises:
        InputError: `stride` is not positive or does not divide `gradient`'s rows and columns.
    """
    require_map("upsample", "gradient", gradient)
    n, c, h, w = gradient.shape
    if stride < 1 or h % stride or w % stride:
        raise InputError(
            f"upsample: stride={stride} must be positive and divide rows and columns of a gradient "
            f"of shape {gradient.shape}"
        )
    squares = gradient.reshape(n, c, h // stride, stride, w // stride, stride)
    return np.asarray(squares.sum(axis=(3, 5)) * gradient.dtype.type(scale))


def _result(x: FloatArray, stride: int, out: FloatArray | None) -> FloatArray:
    require_map("upsample", "x", x)
    if stride < 1:
        raise InputError(f"upsample: stride must be positive, not {stride}")
    n, c, h, w = x.shape
    return result_array("upsample", out, (n, c, stride * h, stride * w), x.dtype)


@compiled
def _upsample_core(
    start: int, stop: int, x: FloatArray, out: FloatArray, stride: int, scale: float
) -> None:
    # x is (rows, w), out (rows, stride, stride·w): one input row becomes `stride` equal rows.
    for row in range(start, stop):
        source, first = x[row], out[row, 0]
        for column in range(source.size):
            value = scale * source[column]
            for repeat in range(stride):
                first[column * stride + repeat] = value
        for repeat in range(1, stride):
            target = out[row, repeat]
            for column in range(first.size):
                target[column] = first[column]


def upsample_forward_numba(
    x: FloatArray, *, stride: int, scale: float = 1.0, out: FloatArray | None = None
) -> FloatArray:
    """Upsample like `upsample_forward_reference`, row by row with a compiled loop.

    The values are exactly the reference's, and so are arguments, result and errors; any strides
    will do.
    """
    result = _result(x, stride, out)
    width = x.shape[3]
    factor = x.dtype.type(scale)
    grain = items_per_thread(1 << 16, stride * stride * width)
    for out_run, x_run in plane_runs(result, x):
        rows = x_run.reshape(-1, width)
        squares = out_run.reshape(-1, stride, stride * width)
        parallel_for(_upsample_core, len(rows), rows, squares, stride, factor, grain=grain)
    return result


def upsample_forward_cuda(
    target: Target, x: DeviceMap, out: DeviceMap, *, stride: int, scale: float = 1.0
) -> None:
    """Launch ``kernels/upsample.cu`` from `x` into `out`; the values are the reference's own."""
    launch_pixelwise(target, "upsample.cu", "upsample_forward", [x], out, stride, scale)
