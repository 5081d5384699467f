"""Global average pooling: the mean of each channel.

    y[c] = Σ over all cells of x[c, i, j] / (H·W)

It ends a classifier (darknet53) and begins a squeeze-and-excitation block. Darknet:
avgpool_layer.c, forward_avgpool_layer.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.arguments import (
    items_per_thread,
    plane_runs,
    require_gradient,
    require_map,
    result_array,
)
from tinyyolo3.parallel import compiled, parallel_for


def avgpool_forward_reference(x: FloatArray, *, out: FloatArray | None = None) -> FloatArray:
    """Average each channel over its cells.

    Args:
        x: (N, C, H, W), float32 or float64.
        out: where to write the result, (N, C, 1, 1) of `x`'s dtype; not `x`'s memory.

    Returns:
        `out`, or a new array.

    Raises:
        InputError: `x` or `out` has the wrong shape or dtype.
    """
    require_map("avgpool", "x", x)
    result = result_array("avgpool", out, (*x.shape[:2], 1, 1), x.dtype)
    result[...] = x.mean(axis=(2, 3), keepdims=True)
    return result


def avgpool_backward_reference(gradient: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Share each channel's gradient equally among its cells.

    Args:
        gradient: (N, C, 1, 1), ∂loss/∂y, float32 or float64.
        shape: (N, C, H, W), that of x.

    Returns:
        ∂loss/∂x, a new array of `shape` and `gradient`'s dtype.

    Raises:
        InputError: `gradient` is not that of a map of `shape`.
    """
    require_map("avgpool", "gradient", gradient)
    require_gradient("avgpool", gradient, (*shape[:2], 1, 1), gradient)
    images, channels, height, width = shape
    share = gradient / (height * width)
    return np.broadcast_to(share, (images, channels, height, width)).copy()


@compiled
def _avgpool_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    for plane in range(start, stop):
        # Summed in double precision, so that the order of the terms does not show.
        total = 0.0
        for value in x[plane]:
            total += value
        out[plane, 0] = total / x.shape[1]


def avgpool_forward_numba(x: FloatArray, *, out: FloatArray | None = None) -> FloatArray:
    """Average each channel like `avgpool_forward_reference`, with a compiled loop.

    Float32 maps are summed in float64. Arguments, result and errors are the reference's; any
    strides will do.
    """
    require_map("avgpool", "x", x)
    result = result_array("avgpool", out, (*x.shape[:2], 1, 1), x.dtype)
    # A chain of dependent additions: each waits about as long as eight vectorised steps take.
    grain = items_per_thread(1 << 16, 8 * x.shape[2] * x.shape[3])
    for out_run, x_run in plane_runs(result, x):
        parallel_for(_avgpool_core, len(x_run), x_run, out_run, grain=grain)
    return result


#: Channels and rows of threads of a block of ``kernels/avgpool.cu``.
_CHANNELS, _ROWS = 8, 64


def avgpool_forward_cuda(target: Target, x: DeviceMap, out: DeviceMap) -> None:
    """Launch ``kernels/avgpool.cu`` from `x` into `out`; sums are of float32 numbers in pairs."""
    target.kernel("avgpool.cu", f"avgpool_forward{x.kernel_suffix}")(
        (-(-x.channels // _CHANNELS), x.images),
        (_CHANNELS, _ROWS),
        (x.data, x.struct, out.data, out.struct),
        shared_mem=4 * _CHANNELS * _ROWS,
        outputs=out.whole,
    )
