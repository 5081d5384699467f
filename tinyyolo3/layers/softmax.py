"""Softmax: scores to probabilities that sum to one.

    y[i] = exp(x[i]/t − m) / Σ exp(x[k]/t − m),    m = max x/t

over each of `groups` equal runs of an image's elements, flattened in the order channel, row,
column; t is the temperature. Taking the maximum off changes nothing but keeps exp from
overflowing. Darknet: blas.c, softmax. It runs on a thousand numbers once per image, so one
NumPy function serves every backend that computes on the CPU.
"""

import math

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import require_gradient, require_map, result_array


def softmax_forward_reference(
    x: FloatArray,
    *,
    groups: int = 1,
    temperature: float = 1.0,
    out: FloatArray | None = None,
) -> FloatArray:
    """Turn each group of an image's elements into probabilities.

    Args:
        x: (N, C, H, W), float32 or float64.
        groups: into how many equal runs the C·H·W elements of an image are cut.
        temperature: divides `x`; larger is flatter.
        out: where to write the result, of `x`'s shape and dtype; not `x`'s memory.

    Returns:
        `out`, or a new array of `x`'s shape.

    Raises:
        InputError: `groups` does not divide the elements, `temperature` is not positive, or `x`
            or `out` has the wrong shape or dtype.
    """
    size = _group_size("x", x, groups, temperature)
    result = result_array("softmax", out, x.shape, x.dtype)
    scores = x.reshape(len(x), groups, size) / x.dtype.type(temperature)
    with np.errstate(invalid="ignore"):  # ∞ − ∞: an infinite score has no softmax, but NaN
        exponentials = np.exp(scores - scores.max(axis=2, keepdims=True))
    result[...] = (exponentials / exponentials.sum(axis=2, keepdims=True)).reshape(x.shape)
    return result


def softmax_backward_reference(
    gradient: FloatArray, y: FloatArray, *, groups: int = 1, temperature: float = 1.0
) -> FloatArray:
    """Carry a gradient back through the probabilities of each group: y·(g − Σ g·y) / t.

    This is the gradient of a softmax under any loss. Darknet's softmax layer passes its delta on
    as it is (softmax_layer.c, backward_softmax_layer), since there the delta is truth − y, which is
    what cross-entropy and softmax give together.

    Args:
        gradient: (N, C, H, W), ∂loss/∂y.
        y: what the forward pass returned.
        groups: as in `softmax_forward_reference`.
        temperature: as in `softmax_forward_reference`.

    Returns:
        ∂loss/∂x, a new array of `y`'s shape and dtype.

    Raises:
        InputError: as `softmax_forward_reference`, or `gradient` does not fit.
    """
    size = _group_size("y", y, groups, temperature)
    require_gradient("softmax", gradient, y.shape, y)
    g, p = (a.reshape(len(y), groups, size) for a in (gradient, y))
    expected = (g * p).sum(axis=2, keepdims=True)
    grad_scores = p * (g - expected)
    return np.asarray(grad_scores / y.dtype.type(temperature)).reshape(y.shape)


def _group_size(name: str, array: FloatArray, groups: int, temperature: float) -> int:
    """Check a softmax's arguments and return how many elements a group has."""
    require_map("softmax", name, array)
    inputs = math.prod(array.shape[1:])
    if groups < 1 or inputs % groups:
        raise InputError(
            f"softmax: groups={groups} must divide the {inputs} elements of {name} of shape "
            f"{array.shape}"
        )
    if not temperature > 0:
        raise InputError(f"softmax: temperature must be positive, not {temperature}")
    return inputs // groups


#: Threads of a block of ``kernels/softmax.cu``.
_THREADS = 256


def softmax_forward_cuda(
    target: Target,
    x: DeviceMap,
    out: DeviceMap,
    *,
    groups: int = 1,
    temperature: float = 1.0,
) -> None:
    """Launch ``kernels/softmax.cu`` from `x` into `out`."""
    target.kernel("softmax.cu", f"softmax_forward{x.kernel_suffix}")(
        (groups, x.images),
        (_THREADS,),
        (x.data, x.struct, out.data, out.struct, groups, temperature),
        shared_mem=4 * _THREADS,
        outputs=out.whole,
    )
