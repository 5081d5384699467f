"""Activations of blocked mini-batches and their gradients, for the kinds that nothing else applies.

    dx = dy · f′,   f′ from the output y, or for mish, swish and hard_mish from the input x.

Linear, leaky and relu are a part of `batchnorm`'s passes and of the convolutions' last step; on
the way back of a layer without batch norm they come here too. The slopes are those of
`tinyyolo3.layers.activation.activation_backward_reference`, which this equals (mish and swish by
one exponential in single precision each):

    mish   m / (m + 2) + x · 4e(1 + e) / (m + 2)²   with e = exp(x), m = e (e + 2)
    swish  s + x · s (1 − s)                          with s = 1 / (1 + exp(−x))

the first since tanh(log(1 + e)) = m / (m + 2). Lanes beyond the last channel are treated alike:
what was zero in a gradient stays zero.
"""

from typing import Any

import numpy as np

from tinyyolo3.activations import (
    ACTIVATIONS,
    LEAKY_SLOPE,
    MISH_THRESHOLD,
    SELU_ALPHA,
    SELU_SCALE,
)
from tinyyolo3.arrays import FloatArray
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES, as_floats, carray, copy_block
from tinyyolo3.layers.activation_loops import activate, exp_float32
from tinyyolo3.parallel import compiled
from tinyyolo3.train.cpu.batch_map import (
    PART_FIELDS,
    BatchMap,
    map_fields,
    part_fields,
    plane_part,
)

#: Kinds whose slope follows from the input alone.
BY_INPUT = frozenset({"mish", "swish", "hard_mish"})
#: Pixels that are activated while they are in the first-level cache.
_RUN = 128

_LEAKY, _RELU, _RELU6, _LOGISTIC, _MISH, _SWISH, _HARD_MISH, _TANH, _ELU, _SELU = (
    ACTIVATIONS.index(kind)
    for kind in (
        *("leaky", "relu", "relu6", "logistic", "mish", "swish", "hard_mish", "tanh"),
        *("elu", "selu"),
    )
)
_ZERO, _ONE, _TWO, _FOUR, _SIX = (np.float32(number) for number in (0, 1, 2, 4, 6))
_LEAKY_SLOPE = np.float32(LEAKY_SLOPE)
_CAP = np.float32(MISH_THRESHOLD)
_SELU_SCALE = np.float32(SELU_SCALE)
_SELU_LOW = np.float32(SELU_SCALE * SELU_ALPHA)


@compiled
def _by_sign(values: FloatArray, gradient: FloatArray, low: np.float32, top: np.float32) -> None:
    """Leaky, relu, relu6: `low` at and below zero, one up to `top`, zero from there on."""
    for i in range(gradient.size):
        y = values[i]
        above = _ONE if y < top else _ZERO
        gradient[i] *= above if y > 0 else low


@compiled
def _by_logistic(values: FloatArray, gradient: FloatArray) -> None:
    for i in range(gradient.size):
        gradient[i] *= (_ONE - values[i]) * values[i]


@compiled
def _by_tanh(values: FloatArray, gradient: FloatArray) -> None:
    for i in range(gradient.size):
        gradient[i] *= _ONE - values[i] * values[i]


@compiled
def _by_exponential(
    values: FloatArray, gradient: FloatArray, scale: np.float32, low: np.float32
) -> None:
    """Elu and selu."""
    for i in range(gradient.size):
        gradient[i] *= scale if values[i] >= 0 else values[i] + low


@compiled
def _by_mish(values: FloatArray, gradient: FloatArray) -> None:
    for i in range(gradient.size):
        x = values[i]
        e = exp_float32(_CAP if x > _CAP else x)
        m = e * (e + _TWO)
        tanh = m / (m + _TWO)
        gradient[i] *= tanh + x * (_FOUR * e * (_ONE + e) / ((m + _TWO) * (m + _TWO)))


@compiled
def _by_swish(values: FloatArray, gradient: FloatArray) -> None:
    for i in range(gradient.size):
        x = values[i]
        logistic = _ONE / (_ONE + exp_float32(-x))
        gradient[i] *= logistic + x * (logistic * (_ONE - logistic))


@compiled
def _by_hard_mish(values: FloatArray, gradient: FloatArray) -> None:
    for i in range(gradient.size):
        x = values[i]
        below = _ZERO if x <= -2 else x + _ONE
        gradient[i] *= _ONE if x > 0 else below


@compiled
def multiply_by_slope(kind: int, values: FloatArray, gradient: FloatArray) -> None:
    """Multiply a gradient by the slopes of ``ACTIVATIONS[kind]``, float32 of one dimension."""
    if kind == _LEAKY:
        _by_sign(values, gradient, _LEAKY_SLOPE, np.float32(np.inf))
    elif kind == _RELU:
        _by_sign(values, gradient, _ZERO, np.float32(np.inf))
    elif kind == _RELU6:
        _by_sign(values, gradient, _ZERO, _SIX)
    elif kind == _LOGISTIC:
        _by_logistic(values, gradient)
    elif kind == _MISH:
        _by_mish(values, gradient)
    elif kind == _SWISH:
        _by_swish(values, gradient)
    elif kind == _HARD_MISH:
        _by_hard_mish(values, gradient)
    elif kind == _TANH:
        _by_tanh(values, gradient)
    elif kind == _ELU:
        _by_exponential(values, gradient, _ONE, _ONE)
    elif kind == _SELU:
        _by_exponential(values, gradient, _SELU_SCALE, _SELU_LOW)


@operation(*map_fields("source", "target"), *PART_FIELDS, "kind")
def activation_job(steps: Any, index: int, scratch: int) -> None:
    """Some pixels of one block of one image, from one map into another or in place."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    x = step.source + image * step.source_image + block * step.source_stride + start * BLOCK
    y = step.target + image * step.target_image + block * step.target_stride + start * BLOCK
    for first in range(0, count, _RUN):
        pixels = min(_RUN, count - first)
        to = y + first * BLOCK
        values = carray(as_floats(x + first * BLOCK), pixels * LANES)
        # Some loops are compiled to vector code only for two arrays in different memory.
        between = scratch if x == y else to
        activate(step.kind, values, carray(as_floats(between), pixels * LANES))
        if x == y:
            for pixel in range(pixels):
                copy_block(scratch + pixel * BLOCK, to + pixel * BLOCK)


@operation(*map_fields("source", "gradient"), *PART_FIELDS, "kind")
def activation_gradient_job(steps: Any, index: int, _scratch: int) -> None:
    """The gradient of some pixels of one block of one image, in place."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    x = step.source + image * step.source_image + block * step.source_stride + start * BLOCK
    g = step.gradient + image * step.gradient_image + block * step.gradient_stride + start * BLOCK
    values = carray(as_floats(x), count * LANES)
    multiply_by_slope(step.kind, values, carray(as_floats(g), count * LANES))


def lower_activation(x: BatchMap, y: BatchMap, kind: str, jobs: int) -> list[Lowered]:
    """Return the steps that apply an activation; `y` may be `x`. None for linear in place."""
    if kind == "linear" and x == y:
        return []
    fields, count = part_fields(x, jobs)
    maps = {**x.fields("source"), **y.fields("target")}
    record = {**maps, **fields, "kind": ACTIVATIONS.index(kind)}
    return [Lowered(activation_job, record, count, _RUN * BLOCK)]


def lower_activation_backward(
    gradient: BatchMap, values: BatchMap, kind: str, jobs: int
) -> list[Lowered]:
    """Return the steps that carry a gradient back through an activation, in place.

    Args:
        gradient: ∂loss/∂y, which becomes ∂loss/∂x.
        values: x for the kinds in `BY_INPUT`, y for the others.
        kind: one of `ACTIVATIONS`.
        jobs: into how many to cut the pass, where it is large enough.
    """
    if kind == "linear":
        return []
    fields, count = part_fields(gradient, jobs)
    maps = {**values.fields("source"), **gradient.fields("gradient")}
    record = {**maps, **fields, "kind": ACTIVATIONS.index(kind)}
    return [Lowered(activation_gradient_job, record, count)]
