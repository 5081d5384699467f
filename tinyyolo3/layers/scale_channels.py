"""Scale channels: a map multiplied by a factor for each channel, or for each cell.

    y[n, c, i, j] = x[n, c] · source[n, c, i, j]          (scale_wh = 0)
    y[n, c, i, j] = x[n, 0, i, j] · source[n, c, i, j]    (scale_wh = 1)

The first is the excitation of a squeeze-and-excitation block (Hu et al., 2017,
arXiv:1709.01507). Here `x`, the previous layer's output, holds the factors, and the map that
they scale comes from an earlier layer. Darknet: AlexeyAB's scale_channels_layer.c.
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
from tinyyolo3.layers.pixelwise import activation_number, lanes_of, launch_pixelwise
from tinyyolo3.parallel import compiled, parallel_for


def scale_channels_forward_reference(
    x: FloatArray,
    source: FloatArray,
    *,
    scale_wh: bool = False,
    out: FloatArray | None = None,
) -> FloatArray:
    """Multiply a feature map by one factor for each channel, or for each cell.

    Args:
        x: the factors, (N, C, 1, 1), or (N, 1, H, W) with `scale_wh`.
        source: the map, (N, C, H, W) of `x`'s dtype.
        scale_wh: whether the factors belong to cells instead of channels.
        out: where to write the result, of `source`'s shape and dtype; not an input's memory.

    Returns:
        `out`, or a new array.

    Raises:
        InputError: the shapes or dtypes do not fit.
    """
    result = _result(x, source, scale_wh, out)
    np.multiply(x, source, out=result)
    return result


def scale_channels_backward_reference(
    gradient: FloatArray, x: FloatArray, source: FloatArray, *, scale_wh: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Carry a gradient back through the product, to the factors and to the map.

    A factor gets the sum over all that it scaled, as in AlexeyAB's CPU build
    (backward_scale_channels_layer); some of its versions divide it by H·W.

    Args:
        gradient: (N, C, H, W), ∂loss/∂y.
        x: the factors, (N, C, 1, 1), or (N, 1, H, W) with `scale_wh`.
        source: the map, (N, C, H, W).
        scale_wh: whether the factors belong to cells instead of channels.

    Returns:
        ∂loss/∂x and ∂loss/∂source, new arrays of their shapes and dtype.

    Raises:
        InputError: the shapes or dtypes do not fit.
    """
    _check(x, source, scale_wh)
    require_gradient("scale_channels", gradient, source.shape, source)
    scaled = (1,) if scale_wh else (2, 3)
    return (gradient * source).sum(axis=scaled, keepdims=True), gradient * x


def _result(
    x: FloatArray, source: FloatArray, scale_wh: bool, out: FloatArray | None
) -> FloatArray:
    _check(x, source, scale_wh)
    return result_array("scale_channels", out, source.shape, source.dtype)


def _check(x: FloatArray, source: FloatArray, scale_wh: bool) -> None:
    require_map("scale_channels", "source", source)
    n, c, h, w = source.shape
    expected = (n, 1, h, w) if scale_wh else (n, c, 1, 1)
    if x.shape != expected or x.dtype != source.dtype:
        raise InputError(
            f"scale_channels: x must be {source.dtype}{expected} for a source of {source.shape} "
            f"with scale_wh={int(scale_wh)}, not {x.dtype}{x.shape}"
        )


@compiled
def _scale_by_channel_core(
    start: int, stop: int, x: FloatArray, source: FloatArray, out: FloatArray
) -> None:
    # x is (planes, 1), source and out (planes, area).
    for plane in range(start, stop):
        factor, values, target = x[plane, 0], source[plane], out[plane]
        for i in range(values.size):
            target[i] = factor * values[i]


@compiled
def _scale_by_cell_core(
    start: int, stop: int, x: FloatArray, source: FloatArray, out: FloatArray, channels: int
) -> None:
    # x is (images, area), source and out (images · channels, area).
    for plane in range(start, stop):
        factors, values, target = x[plane // channels], source[plane], out[plane]
        for i in range(values.size):
            target[i] = factors[i] * values[i]


def scale_channels_forward_numba(
    x: FloatArray,
    source: FloatArray,
    *,
    scale_wh: bool = False,
    out: FloatArray | None = None,
) -> FloatArray:
    """Multiply like `scale_channels_forward_reference`, with a compiled loop.

    The values are exactly the reference's, and so are arguments, result and errors; any strides
    will do.
    """
    result = _result(x, source, scale_wh, out)
    _, channels, height, width = source.shape
    grain = items_per_thread(1 << 16, height * width)
    for out_run, x_run, source_run in plane_runs(result, x, source):
        runs = (x_run, source_run, out_run)
        if scale_wh:
            parallel_for(_scale_by_cell_core, len(out_run), *runs, channels, grain=grain)
        else:
            parallel_for(_scale_by_channel_core, len(out_run), *runs, grain=grain)
    return result


def scale_channels_forward_cuda(
    target: Target,
    x: DeviceMap,
    source: DeviceMap,
    out: DeviceMap,
    *,
    scale_wh: bool = False,
    activation: str = "linear",
) -> None:
    """Launch ``kernels/scale_channels.cu``: `source` times `x`, activated, into `out`.

    Without an activation the values are exactly the reference's.
    """
    launch_pixelwise(
        target,
        "scale_channels.cu",
        "scale_by_pixel" if scale_wh else "scale_by_channel",
        [x, source],
        out,
        activation_number(activation),
        # One factor for each pixel is read as it is, however many channels a thread takes.
        lanes=lanes_of(source, out) if scale_wh else None,
    )
