r"""Activations: one function of one number, applied to every element.

With σ(x) = 1 / (1 + exp(−x)) and softplus(x) = log(1 + exp(x)):

========= =====================================================================
linear    x
leaky     x if x > 0 else 0.1 x
relu      max(x, 0)
relu6     min(max(x, 0), 6)
logistic  σ(x)
mish      x tanh(softplus(x))                    (Misra, 2019, arXiv:1908.08681)
swish     x σ(x)                     (Ramachandran et al., 2017, arXiv:1710.05941)
hard_mish x if x > 0 else x²/2 + x if x > −2 else 0
tanh      tanh(x)
elu       x if x ≥ 0 else exp(x) − 1          (Clevert et al., 2015, arXiv:1511.07289)
selu      1.0507 (x if x ≥ 0 else 1.6732 (exp(x) − 1))
                                            (Klambauer et al., 2017, arXiv:1706.02515)
========= =====================================================================

The names and constants are Darknet's (activations.h, activations.c). Large arguments saturate
without a warning and NaN stays NaN. At −∞, mish and swish are −∞ · 0 = NaN, as in Darknet.
"""

from collections.abc import Callable

import numpy as np

from tinyyolo3.activations import (
    ACTIVATIONS,
    LEAKY_SLOPE,
    MISH_THRESHOLD,
    SELU_ALPHA,
    SELU_SCALE,
)
from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.activation_loops import LOOPS
from tinyyolo3.layers.arguments import (
    items_per_thread,
    plane_runs,
    require_gradient,
    require_map,
    result_array,
)
from tinyyolo3.layers.pixelwise import activation_number, launch_pixelwise
from tinyyolo3.parallel import parallel_for


def _linear(x: FloatArray) -> FloatArray:
    return x


def _leaky(x: FloatArray) -> FloatArray:
    return np.where(x > 0, x, x.dtype.type(LEAKY_SLOPE) * x)


def _relu(x: FloatArray) -> FloatArray:
    return np.where(x <= 0, x.dtype.type(0), x)


def _relu6(x: FloatArray) -> FloatArray:
    return np.clip(x, 0, 6)


def _logistic(x: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-x))


def _softplus(x: FloatArray) -> FloatArray:
    # DARKNET: softplus is x above the threshold and exp(x) below its negative.
    return np.where(
        x > MISH_THRESHOLD, x, np.where(x < -MISH_THRESHOLD, np.exp(x), np.log1p(np.exp(x)))
    )


def _mish(x: FloatArray) -> FloatArray:
    return x * np.tanh(_softplus(x))


def _swish(x: FloatArray) -> FloatArray:
    return x * _logistic(x)


def _hard_mish(x: FloatArray) -> FloatArray:
    return np.where(x > 0, x, np.where(x <= -2, x.dtype.type(0), x * x / 2 + x))


def _tanh(x: FloatArray) -> FloatArray:
    # DARKNET: writes (exp(2x) − 1) / (exp(2x) + 1): the same value until exp overflows.
    return np.tanh(x)


def _elu(x: FloatArray) -> FloatArray:
    return np.where(x >= 0, x, np.expm1(x))


def _selu(x: FloatArray) -> FloatArray:
    return SELU_SCALE * np.where(x >= 0, x, SELU_ALPHA * np.expm1(x))


_FORMULAS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "linear": _linear,
    "leaky": _leaky,
    "relu": _relu,
    "relu6": _relu6,
    "logistic": _logistic,
    "mish": _mish,
    "swish": _swish,
    "hard_mish": _hard_mish,
    "tanh": _tanh,
    "elu": _elu,
    "selu": _selu,
}


def activation_forward_reference(
    x: FloatArray, kind: str, *, out: FloatArray | None = None
) -> FloatArray:
    """Apply an activation to every element, by its formula.

    Args:
        x: (N, C, H, W), float32 or float64.
        kind: one of `ACTIVATIONS`.
        out: where to write the result, of `x`'s shape and dtype; may be `x` itself.

    Returns:
        `out`, or a new array; `x` itself for ``linear`` without `out`.

    Raises:
        InputError: `kind` is unknown, or `x` or `out` has the wrong shape or dtype.
    """
    _check(x, kind)
    if kind == "linear" and out is None:
        return x
    result = result_array("activation", out, x.shape, x.dtype)
    # exp saturates at infinity for large |x|, as it does in C; where() then drops the branch.
    with np.errstate(over="ignore", invalid="ignore"):
        result[...] = _FORMULAS[kind](x)
    return result


def _leaky_slope(y: FloatArray) -> FloatArray:
    # DARKNET: looks at the output's sign, which is the input's; at zero the slope is the lower one.
    return np.where(y > 0, y.dtype.type(1), y.dtype.type(LEAKY_SLOPE))


def _relu_slope(y: FloatArray) -> FloatArray:
    # DARKNET: at zero the slope is zero.
    return (y > 0).astype(y.dtype)


def _relu6_slope(y: FloatArray) -> FloatArray:
    return ((y > 0) & (y < 6)).astype(y.dtype)


def _logistic_slope(y: FloatArray) -> FloatArray:
    return (1 - y) * y


def _tanh_slope(y: FloatArray) -> FloatArray:
    return 1 - y * y


def _elu_slope(y: FloatArray) -> FloatArray:
    return np.where(y >= 0, y.dtype.type(1), y + 1)


def _selu_slope(y: FloatArray) -> FloatArray:
    return np.where(y >= 0, y.dtype.type(SELU_SCALE), y + SELU_SCALE * SELU_ALPHA)


def _mish_slope(x: FloatArray) -> FloatArray:
    softplus = _softplus(x)
    tanh = np.tanh(softplus)
    return np.asarray(tanh - x * (1 - tanh * tanh) * np.expm1(-softplus))


def _swish_slope(x: FloatArray) -> FloatArray:
    logistic = _logistic(x)
    return logistic + x * logistic * (1 - logistic)


def _hard_mish_slope(x: FloatArray) -> FloatArray:
    return np.where(x > 0, x.dtype.type(1), np.where(x <= -2, x.dtype.type(0), x + 1))


_SLOPES_BY_OUTPUT: dict[str, Callable[[FloatArray], FloatArray]] = {
    "linear": np.ones_like,
    "leaky": _leaky_slope,
    "relu": _relu_slope,
    "relu6": _relu6_slope,
    "logistic": _logistic_slope,
    "tanh": _tanh_slope,
    "elu": _elu_slope,
    "selu": _selu_slope,
}
_SLOPES_BY_INPUT: dict[str, Callable[[FloatArray], FloatArray]] = {
    "mish": _mish_slope,
    "swish": _swish_slope,
    "hard_mish": _hard_mish_slope,
}


def activation_backward_reference(
    gradient: FloatArray, x: FloatArray, y: FloatArray, kind: str
) -> FloatArray:
    """Carry a gradient back through an activation: multiply it by the slope.

    As in Darknet (activations.c, gradient_array), the slope follows from the output for all kinds
    but ``mish``, ``swish`` and ``hard_mish``, which do not rise everywhere and need the input.

    Args:
        gradient: (N, C, H, W), ∂loss/∂y.
        x: what the activation was applied to; only ``mish``, ``swish`` and ``hard_mish`` read it.
        y: what it gave; all other kinds read it.
        kind: one of `ACTIVATIONS`.

    Returns:
        ∂loss/∂x, a new array of `x`'s shape and dtype.

    Raises:
        InputError: `kind` is unknown, or the arrays differ in shape or dtype.
    """
    _check(x, kind)
    require_gradient("activation", gradient, x.shape, x)
    if y.shape != x.shape or y.dtype != x.dtype:
        raise InputError(
            f"activation: y must be {x.dtype} of shape {x.shape} like x, not {y.dtype} of shape "
            f"{y.shape}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # as in the forward pass
        by_input = kind in _SLOPES_BY_INPUT
        slope = _SLOPES_BY_INPUT[kind](x) if by_input else _SLOPES_BY_OUTPUT[kind](y)
        return gradient * slope


def _check(x: FloatArray, kind: str) -> None:
    require_map("activation", "x", x)
    if kind not in _FORMULAS:
        raise InputError(f"activation: kind must be one of {', '.join(ACTIVATIONS)}, not {kind!r}")


#: Kinds whose loop is written in single precision only, around `exp_float32`.
_SINGLE_PRECISION_KINDS = frozenset({"logistic", "swish", "mish"})

#: A step of these costs about as much as so many multiply-adds.
_STEP_COST = {"logistic": 4, "swish": 4, "mish": 4, "tanh": 32, "elu": 32, "selu": 32}


def activation_forward_numba(
    x: FloatArray, kind: str, *, out: FloatArray | None = None
) -> FloatArray:
    """Apply an activation to every element, with a compiled loop shared by threads.

    ``linear``, ``leaky``, ``relu`` and ``relu6`` give the reference's values exactly. For float64
    ``logistic``, ``swish`` and ``mish`` are the reference itself: double precision serves checks,
    where speed does not matter.

    Args:
        x: (N, C, H, W), float32 or float64, any strides.
        kind: one of `ACTIVATIONS`.
        out: where to write the result, of `x`'s shape and dtype, any strides; may be `x` itself.

    Returns:
        `out`, or a new array; `x` itself for ``linear`` without `out`.

    Raises:
        InputError: `kind` is unknown, or `x` or `out` has the wrong shape or dtype.
    """
    _check(x, kind)
    if kind == "linear" and out is None:
        return x
    if kind in _SINGLE_PRECISION_KINDS and x.dtype != np.float32:
        return activation_forward_reference(x, kind, out=out)
    result = result_array("activation", out, x.shape, x.dtype)
    grain = items_per_thread(1 << 16, _STEP_COST.get(kind, 1))
    for out_run, x_run in plane_runs(result, x):
        parallel_for(LOOPS[kind], x_run.size, x_run.reshape(-1), out_run.reshape(-1), grain=grain)
    return result


def activation_forward_cuda(target: Target, x: DeviceMap, out: DeviceMap, kind: str) -> None:
    """Launch ``kernels/activation.cu`` from `x` into `out`, which may be `x` itself.

    ``linear``, ``leaky``, ``relu`` and ``relu6`` give the reference's values exactly.
    """
    number = activation_number(kind)
    launch_pixelwise(target, "activation.cu", "activation_forward", [x], out, number)
