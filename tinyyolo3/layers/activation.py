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

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import items_per_thread, plane_runs, require_map, result_array
from tinyyolo3.parallel import compiled, parallel_for

LEAKY_SLOPE = 0.1
MISH_THRESHOLD = 20.0
SELU_SCALE = 1.0507
SELU_ALPHA = 1.6732


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


def _mish(x: FloatArray) -> FloatArray:
    # DARKNET: softplus is x above the threshold and exp(x) below its negative.
    softplus = np.where(
        x > MISH_THRESHOLD, x, np.where(x < -MISH_THRESHOLD, np.exp(x), np.log1p(np.exp(x)))
    )
    return x * np.tanh(softplus)


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

_LEAKY, _RELU, _RELU6, _LOGISTIC, _MISH, _SWISH, _HARD_MISH, _TANH, _ELU, _SELU = (
    ACTIVATIONS.index(kind)
    for kind in (
        *("leaky", "relu", "relu6", "logistic", "mish", "swish", "hard_mish", "tanh"),
        *("elu", "selu"),
    )
)


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


def _check(x: FloatArray, kind: str) -> None:
    require_map("activation", "x", x)
    if kind not in _FORMULAS:
        raise InputError(f"activation: kind must be one of {', '.join(ACTIVATIONS)}, not {kind!r}")


# exp(v) = 2ⁿ exp(r) with n = round(v / ln 2) and |r| ≤ ln(2) / 2. The polynomial and the two-part
# ln 2 are those of Cephes' expf (Moshier, single/expf.c). Adding 1.5·2²³ leaves n in the low bits
# of the sum, from where it is shifted into the exponent. Branch-free, so that LLVM vectorises it:
# seven times the speed of a call to the C library's expf per element.
_EXP_LOWEST = np.float32(-88.0)
_EXP_HIGHEST = np.float32(89.0)
_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_ROUNDER = np.float32(1.5 * 2**23)
_EXPONENT_BIAS = np.int32(127)
_MANTISSA_BITS = np.int32(23)
_P0 = np.float32(1.9875691500e-4)
_P1 = np.float32(1.3981999507e-3)
_P2 = np.float32(8.3334519073e-3)
_P3 = np.float32(4.1665795894e-2)
_P4 = np.float32(1.6666665459e-1)
_P5 = np.float32(5.0000001201e-1)
_ONE = np.float32(1)
_TWO = np.float32(2)
_MISH_CAP = np.float32(MISH_THRESHOLD)


@compiled
def _exp_float32(v: np.float32) -> np.float32:
    """Return exp(v) to two units in the last place; 0 below −87.7, ∞ above 88.4, NaN for NaN."""
    v = _EXP_LOWEST if v < _EXP_LOWEST else v
    v = _EXP_HIGHEST if v > _EXP_HIGHEST else v
    shifted = v * _LOG2_E + _ROUNDER
    n = shifted - _ROUNDER
    r = v - n * _LN2_HIGH - n * _LN2_LOW
    series = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    exponent = (np.float32(shifted).view(np.int32) + _EXPONENT_BIAS) << _MANTISSA_BITS
    return (series * (r * r) + r + _ONE) * np.int32(exponent).view(np.float32)


# The loops below run over slices from 0 up: an index that Numba cannot prove non-negative might
# wrap around, and the test for that keeps a loop from being vectorised.


@compiled
def _copy_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        target[i] = source[i]


@compiled
def _leaky_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    slope = x.dtype.type(LEAKY_SLOPE)
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        target[i] = source[i] if source[i] > 0 else slope * source[i]


@compiled
def _relu_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    zero = x.dtype.type(0)
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        target[i] = zero if source[i] <= 0 else source[i]


@compiled
def _relu6_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    zero = x.dtype.type(0)
    six = x.dtype.type(6)
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        v = zero if source[i] <= 0 else source[i]
        target[i] = six if v > six else v


@compiled
def _logistic_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        target[i] = _ONE / (_ONE + _exp_float32(-source[i]))


@compiled
def _swish_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        target[i] = source[i] / (_ONE + _exp_float32(-source[i]))


@compiled
def _mish_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    # tanh(log(1 + e)) = ((1 + e)² − 1) / ((1 + e)² + 1) = m / (m + 2) with m = e (e + 2): one
    # exp instead of exp, log and tanh. From the threshold on the quotient is 1 to the last bit.
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        e = _exp_float32(_MISH_CAP if source[i] > _MISH_CAP else source[i])
        m = e * (e + _TWO)
        target[i] = source[i] * (m / (m + _TWO))


@compiled
def _hard_mish_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    zero = x.dtype.type(0)
    half = x.dtype.type(0.5)
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        v = source[i]
        below = zero if v <= -2 else v * v * half + v
        target[i] = v if v > 0 else below


@compiled
def _tanh_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        target[i] = np.tanh(source[i])


@compiled
def _elu_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        target[i] = source[i] if source[i] >= 0 else np.expm1(source[i])


@compiled
def _selu_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    scale = x.dtype.type(SELU_SCALE)
    alpha = x.dtype.type(SELU_ALPHA)
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        target[i] = scale * (source[i] if source[i] >= 0 else alpha * np.expm1(source[i]))


_CORES: dict[str, Callable[[int, int, FloatArray, FloatArray], None]] = {
    "linear": _copy_core,
    "leaky": _leaky_core,
    "relu": _relu_core,
    "relu6": _relu6_core,
    "logistic": _logistic_core,
    "mish": _mish_core,
    "swish": _swish_core,
    "hard_mish": _hard_mish_core,
    "tanh": _tanh_core,
    "elu": _elu_core,
    "selu": _selu_core,
}


@compiled
def activate_in_place(kind: int, values: FloatArray) -> None:
    """Apply the activation ``ACTIVATIONS[kind]`` to a float32 array of one dimension.

    For compiled code, which has no use for names.
    """
    count = values.size
    if kind == _LEAKY:
        _leaky_core(0, count, values, values)
    elif kind == _RELU:
        _relu_core(0, count, values, values)
    elif kind == _RELU6:
        _relu6_core(0, count, values, values)
    elif kind == _LOGISTIC:
        _logistic_core(0, count, values, values)
    elif kind == _MISH:
        _mish_core(0, count, values, values)
    elif kind == _SWISH:
        _swish_core(0, count, values, values)
    elif kind == _HARD_MISH:
        _hard_mish_core(0, count, values, values)
    elif kind == _TANH:
        _tanh_core(0, count, values, values)
    elif kind == _ELU:
        _elu_core(0, count, values, values)
    elif kind == _SELU:
        _selu_core(0, count, values, values)


#: Kinds whose loop is written in single precision only, around `_exp_float32`.
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
        parallel_for(_CORES[kind], x_run.size, x_run.reshape(-1), out_run.reshape(-1), grain=grain)
    return result
