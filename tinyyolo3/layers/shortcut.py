"""Shortcut: a residual sum (He et al., 2015, arXiv:1512.03385).

    y = α·x + β·Σ others

where `x` is the previous layer's output and the others are earlier ones. Maps of unequal size
are added where they overlap, as in Darknet (pjreddie: blas.c, shortcut_cpu): the channels both
have, and every k-th cell of the larger map against every cell of the smaller. Elsewhere y is x,
and α does not apply. The activation that a cfg may ask for is a step of its own.
"""

from collections.abc import Sequence

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import items_per_thread, plane_runs, require_map, result_array
from tinyyolo3.layers.pixelwise import activation_number, launch_pixelwise
from tinyyolo3.parallel import compiled, parallel_for


def shortcut_forward_reference(
    x: FloatArray,
    others: Sequence[FloatArray],
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    out: FloatArray | None = None,
) -> FloatArray:
    """Add earlier maps to this one, each on the region where the two overlap.

    Args:
        x: (N, C, H, W), float32 or float64; the result has its shape.
        others: one or more (N, Cᵢ, Hᵢ, Wᵢ) of `x`'s dtype; one size is a whole multiple k of the
            other, the same k for rows and columns.
        alpha: the factor on `x` where it is added to; not 1 only with a single other map, since
            Darknet gives it no meaning for several.
        beta: the factor on the others.
        out: where to write the result, of `x`'s shape and dtype; not an input's memory.

    Returns:
        `out`, or a new array.

    Raises:
        InputError: the maps cannot be overlaid, or `out` does not fit.
    """
    steps = _sampling_steps(x, others, alpha)
    result = result_array("shortcut", out, x.shape, x.dtype)
    factor_x, factor_other = x.dtype.type(alpha), x.dtype.type(beta)
    result[...] = x
    for other, (step, sample) in zip(others, steps, strict=True):
        channels = min(x.shape[1], other.shape[1])
        # DARKNET: the larger map is sampled at every k-th cell, not averaged.
        region = result[:, :channels, ::sample, ::sample]
        region[...] = factor_x * region + factor_other * other[:, :channels, ::step, ::step]
    return result


def shortcut_backward_reference(
    gradient: FloatArray,
    shapes: Sequence[tuple[int, ...]],
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> list[FloatArray]:
    """Give a sum's gradient to each of its terms, on the region where they overlap.

    Darknet: shortcut_layer.c, backward_shortcut_layer. (pjreddie's takes α for all of `x`, also
    where the forward pass does not. This is the gradient of the forward pass.)

    Args:
        gradient: (N, C, H, W), ∂loss/∂y, float32 or float64; `x` had its shape.
        shapes: (N, Cᵢ, Hᵢ, Wᵢ) of each of the others.
        alpha: as in `shortcut_forward_reference`.
        beta: as in `shortcut_forward_reference`.

    Returns:
        ∂loss/∂x and then ∂loss/∂otherᵢ, new arrays of `gradient`'s dtype.

    Raises:
        InputError: the maps cannot be overlaid.
    """
    grad_others = [np.zeros(shape, gradient.dtype) for shape in shapes]
    steps = _sampling_steps(gradient, grad_others, alpha)
    grad_x = gradient.copy()
    for grad_other, (step, sample) in zip(grad_others, steps, strict=True):
        channels = min(gradient.shape[1], grad_other.shape[1])
        region = gradient[:, :channels, ::sample, ::sample]
        grad_other[:, :channels, ::step, ::step] = gradient.dtype.type(beta) * region
        grad_x[:, :channels, ::sample, ::sample] = gradient.dtype.type(alpha) * region
    return [grad_x, *grad_others]


def _sampling_steps(
    x: FloatArray, others: Sequence[FloatArray], alpha: float
) -> list[tuple[int, int]]:
    """Check a shortcut's arguments and return for each other map (its step, x's step)."""
    require_map("shortcut", "x", x)
    if not others:
        raise InputError("shortcut: others must hold at least one feature map, not none")
    if alpha != 1 and len(others) > 1:
        raise InputError(f"shortcut: alpha must be 1 with {len(others)} other maps, not {alpha}")
    return [_sampling_step(x, other) for other in others]


def _sampling_step(x: FloatArray, other: FloatArray) -> tuple[int, int]:
    require_map("shortcut", "an other map", other)
    (n, _, h, w), (other_n, _, other_h, other_w) = x.shape, other.shape
    step, sample = max(1, other_w // w), max(1, w // other_w)
    overlaid = (other_h * sample, other_w * sample) == (h * step, w * step)
    if other_n != n or other.dtype != x.dtype or not overlaid:
        raise InputError(
            f"shortcut: {other.dtype}{other.shape} cannot be laid over {x.dtype}{x.shape}: they "
            f"must agree in images and dtype, and one size be a multiple of the other"
        )
    return step, sample


@compiled
def _shortcut_core(
    start: int,
    stop: int,
    x: FloatArray,
    other: FloatArray,
    alpha: float,
    beta: float,
    out: FloatArray,
) -> None:
    # Slices, so that indices run from 0 and the loop is vectorised.
    a, b, target = x[start:stop], other[start:stop], out[start:stop]
    for i in range(target.size):
        target[i] = alpha * a[i] + beta * b[i]


def shortcut_forward_numba(
    x: FloatArray,
    others: Sequence[FloatArray],
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    out: FloatArray | None = None,
) -> FloatArray:
    """Add maps of equal shape with a compiled loop; leave unequal ones to the reference.

    The values are exactly the reference's, and so are arguments, result and errors; any strides
    will do.
    """
    if any(other.shape != x.shape for other in others):
        return shortcut_forward_reference(x, others, alpha=alpha, beta=beta, out=out)
    _sampling_steps(x, others, alpha)
    result = result_array("shortcut", out, x.shape, x.dtype)
    factor_x, factor_other = x.dtype.type(alpha), x.dtype.type(beta)
    total = x
    for other in others:
        for out_run, total_run, other_run in plane_runs(result, total, other):
            parallel_for(
                _shortcut_core,
                out_run.size,
                total_run.reshape(-1),
                other_run.reshape(-1),
                factor_x,
                factor_other,
                out_run.reshape(-1),
                grain=items_per_thread(1 << 16, 1),
            )
        total = result
    return result


def shortcut_forward_cuda(
    target: Target,
    x: DeviceMap,
    others: Sequence[DeviceMap],
    out: DeviceMap,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    activation: str = "linear",
) -> None:
    """Launch ``kernels/shortcut.cu`` once for each other map, into `out`, and activate the sum.

    Without an activation the values are exactly the reference's. `out` may be `x`.
    """
    total = x
    for number, other in enumerate(others, 1):
        kind = activation if number == len(others) else "linear"
        launch_pixelwise(
            target,
            "shortcut.cu",
            "shortcut_forward",
            [total, other],
            out,
            max(1, other.width // x.width),
            max(1, x.width // other.width),
            alpha,
            beta,
            activation_number(kind),
        )
        total = out
