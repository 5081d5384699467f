"""The activations of `layers.activation` as compiled loops over arrays of one dimension."""

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
from tinyyolo3.parallel import compiled

_LEAKY, _RELU, _RELU6, _LOGISTIC, _MISH, _SWISH, _HARD_MISH, _TANH, _ELU, _SELU = (
    ACTIVATIONS.index(kind)
    for kind in (
        *("leaky", "relu", "relu6", "logistic", "mish", "swish", "hard_mish", "tanh"),
        *("elu", "selu"),
    )
)

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
def exp_float32(v: np.float32) -> np.float32:
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
        target[i] = _ONE / (_ONE + exp_float32(-source[i]))


@compiled
def _swish_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        target[i] = source[i] / (_ONE + exp_float32(-source[i]))


@compiled
def _mish_core(start: int, stop: int, x: FloatArray, out: FloatArray) -> None:
    # tanh(log(1 + e)) = ((1 + e)² − 1) / ((1 + e)² + 1) = m / (m + 2) with m = e (e + 2): one
    # exp instead of exp, log and tanh. From the threshold on the quotient is 1 to the last bit.
    source, target = x[start:stop], out[start:stop]
    for i in range(source.size):
        e = exp_float32(_MISH_CAP if source[i] > _MISH_CAP else source[i])
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


#: The loop of each activation, for `parallel_for` over arrays of one dimension.
LOOPS: dict[str, Callable[[int, int, FloatArray, FloatArray], None]] = {
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
def activate(kind: int, source: FloatArray, target: FloatArray) -> None:
    """Apply the activation ``ACTIVATIONS[kind]`` to float32 arrays of one dimension.

    For compiled code, which has no use for names. Some loops are compiled to vector code only for
    two arrays in different memory.
    """
    count = source.size
    if kind == _LEAKY:
        _leaky_core(0, count, source, target)
    elif kind == _RELU:
        _relu_core(0, count, source, target)
    elif kind == _RELU6:
        _relu6_core(0, count, source, target)
    elif kind == _LOGISTIC:
        _logistic_core(0, count, source, target)
    elif kind == _MISH:
        _mish_core(0, count, source, target)
    elif kind == _SWISH:
        _swish_core(0, count, source, target)
    elif kind == _HARD_MISH:
        _hard_mish_core(0, count, source, target)
    elif kind == _TANH:
        _tanh_core(0, count, source, target)
    elif kind == _ELU:
        _elu_core(0, count, source, target)
    elif kind == _SELU:
        _selu_core(0, count, source, target)
    else:
        _copy_core(0, count, source, target)


@compiled
def activate_in_place(kind: int, values: FloatArray) -> None:
    """Apply the activation ``ACTIVATIONS[kind]`` to a float32 array of one dimension."""
    activate(kind, values, values)
