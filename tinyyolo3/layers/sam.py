"""SAM, spatial attention: the product of two maps, element by element.

    y = x · source

`x`, the previous layer's output (usually logistic), says how much of each element of an earlier
map to keep. Darknet: AlexeyAB's sam_layer.c; after Woo et al., 2018, arXiv:1807.06521, in the
pointwise form of Bochkovskiy et al., 2020, arXiv:2004.10934, figure 5.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import items_per_thread, plane_runs, require_map, result_array
from tinyyolo3.layers.pixelwise import activation_number, launch_pixelwise
from tinyyolo3.parallel import compiled, parallel_for


def sam_forward_reference(
    x: FloatArray, source: FloatArray, *, out: FloatArray | None = None
) -> FloatArray:
    """Multiply two feature maps element by element.

    Args:
        x: (N, C, H, W), float32 or float64.
        source: the earlier map, of `x`'s shape and dtype.
        out: where to write the result, of the same shape and dtype; not an input's memory.

    Returns:
        `out`, or a new array.

    Raises:
        InputError: the shapes or dtypes differ.
    """
    result = _result(x, source, out)
    np.multiply(x, source, out=result)
    return result


def _result(x: FloatArray, source: FloatArray, out: FloatArray | None) -> FloatArray:
    require_map("sam", "x", x)
    if source.shape != x.shape or source.dtype != x.dtype:
        raise InputError(
            f"sam: source must be {x.dtype}{x.shape} like x, not {source.dtype}{source.shape}"
        )
    return result_array("sam", out, x.shape, x.dtype)


@compiled
def _product_core(
    start: int, stop: int, x: FloatArray, source: FloatArray, out: FloatArray
) -> None:
    # Slices, so that indices run from 0 and the loop is vectorised.
    a, b, target = x[start:stop], source[start:stop], out[start:stop]
    for i in range(target.size):
        target[i] = a[i] * b[i]


def sam_forward_numba(
    x: FloatArray, source: FloatArray, *, out: FloatArray | None = None
) -> FloatArray:
    """Multiply like `sam_forward_reference`, with a compiled loop.

    The values are exactly the reference's, and so are arguments, result and errors; any strides
    will do.
    """
    result = _result(x, source, out)
    grain = items_per_thread(1 << 16, 1)
    for out_run, x_run, source_run in plane_runs(result, x, source):
        flat = (x_run.reshape(-1), source_run.reshape(-1), out_run.reshape(-1))
        parallel_for(_product_core, out_run.size, *flat, grain=grain)
    return result


def sam_forward_cuda(
    target: Target,
    x: DeviceMap,
    source: DeviceMap,
    out: DeviceMap,
    *,
    activation: str = "linear",
) -> None:
    """Launch ``kernels/sam.cu``: `x` times `source`, activated, into `out`.

    Without an activation the values are exactly the reference's.
    """
    number = activation_number(activation)
    launch_pixelwise(target, "sam.cu", "sam_forward", [x, source], out, number)
