"""Passes over the pixels of a block that batch normalisation trains with.

All of them are limited by memory, so each reads its maps once and does all it can with them. Sums
are double precision: with 53 bits for the squares of numbers of 24 nothing cancels that a float32
mean and variance could show, and one pass gives both. Sums over millions of pixels stay exact
too.

A block's coefficients are vectors in a row, in this order: mean m, factor a, offset b (all that
``z = a · (x − m) + b`` takes), and the three of the way back, ``dx = p · dz + q · (x − m) + r``.

``dz`` is what an activation of max(z, slope · z) leaves of a gradient: itself where z > 0, else
slope times it. z is computed again from x, by the same instructions as on the way forward.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    LANES,
    TARGET,
    kernel,
    leaky,
    load,
    loop,
    multiply_add,
    shift,
    splat,
    store,
    vector,
)

#: Coefficients of a block.
COEFFICIENTS = 6
#: Bytes of a block's coefficients, and of two sums of each of its channels.
COEFFICIENT_BYTES = COEFFICIENTS * BLOCK
SUM_BYTES = 2 * 8 * LANES

_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)


def _widen(builder: ir.IRBuilder, value: Any) -> Any:
    return builder.fpext(value, _DOUBLES)


def _add_product(builder: ir.IRBuilder, x: Any, y: Any, total: Any) -> Any:
    """Return ``x * y + total`` in double precision, fused where the processor can."""
    if not TARGET.fused:
        return builder.fadd(builder.fmul(x, y), total)
    name = f"llvm.fma.v{LANES}f64"
    kind = ir.FunctionType(_DOUBLES, [_DOUBLES] * 3)
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [x, y, total])


def _store_sums(builder: ir.IRBuilder, sums: Sequence[Any], target: Any) -> None:
    for number, total in enumerate(sums):
        store(builder, total, shift(builder, target, number * 8 * LANES), 8)


def _coefficients(builder: ir.IRBuilder, address: Any, count: int) -> list[Any]:
    return [load(builder, shift(builder, address, i * BLOCK)) for i in range(count)]


def _kept(builder: ir.IRBuilder, x: Any, own: Sequence[Any], gradient: Any, slope: Any) -> Any:
    """Return x − m, and what the activation leaves of a gradient."""
    mean, factor, offset = own
    centred = builder.fsub(x, mean)
    z = multiply_add(builder, centred, factor, offset)
    positive = builder.fcmp_ordered(">", z, vector(0.0))
    return centred, builder.select(positive, gradient, builder.fmul(gradient, slope))


def emit_sums(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write ``f(x, pixels, target)``: Σ x and Σ x²."""
    x, pixels, target = arguments

    def pixel(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        total, squares, at = state
        value = _widen(builder, load(builder, at))
        squares = _add_product(builder, value, value, squares)
        return [builder.fadd(total, value), squares, shift(builder, at, BLOCK)]

    zero = ir.Constant(_DOUBLES, [0.0] * LANES)
    *sums, _ = loop(builder, pixels, [zero, zero, x], pixel)
    _store_sums(builder, sums, target)


def emit_gradient_sums(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write ``f(gradient, x, pixels, coefficients, target, slope)``: Σ dz and Σ dz · (x − m)."""
    gradient, x, pixels, coefficients, target, slope = arguments
    own = _coefficients(builder, coefficients, 3)
    slopes = splat(builder, slope)

    def pixel(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        total, products, offset = state
        value = load(builder, builder.add(gradient, offset))
        centred, kept = _kept(builder, load(builder, builder.add(x, offset)), own, value, slopes)
        wide = _widen(builder, kept)
        products = _add_product(builder, wide, _widen(builder, centred), products)
        return [builder.fadd(total, wide), products, shift(builder, offset, BLOCK)]

    zero = ir.Constant(_DOUBLES, [0.0] * LANES)
    start = ir.Constant(pixels.type, 0)
    *sums, _ = loop(builder, pixels, [zero, zero, start], pixel)
    _store_sums(builder, sums, target)


def emit_normalize(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write ``f(x, target, pixels, coefficients, slope)``: max(z, slope · z); may be in place."""
    x, target, pixels, coefficients, slope = arguments
    mean, factor, offset = _coefficients(builder, coefficients, 3)
    slopes = splat(builder, slope)

    def pixel(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        (at,) = state
        centred = builder.fsub(load(builder, builder.add(x, at)), mean)
        z = multiply_add(builder, centred, factor, offset)
        store(builder, leaky(builder, z, slopes), builder.add(target, at))
        return [shift(builder, at, BLOCK)]

    loop(builder, pixels, [ir.Constant(pixels.type, 0)], pixel)


def emit_gradient(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write ``f(gradient, x, target, pixels, coefficients, slope)``: dx; may be in place."""
    gradient, x, target, pixels, coefficients, slope = arguments
    *own, p, q, r = _coefficients(builder, coefficients, COEFFICIENTS)
    slopes = splat(builder, slope)

    def pixel(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        (at,) = state
        value = load(builder, builder.add(gradient, at))
        centred, kept = _kept(builder, load(builder, builder.add(x, at)), own, value, slopes)
        rest = multiply_add(builder, centred, q, r)
        store(builder, multiply_add(builder, kept, p, rest), builder.add(target, at))
        return [shift(builder, at, BLOCK)]

    loop(builder, pixels, [ir.Constant(pixels.type, 0)], pixel)


#: ``channel_sums(x, pixels, target)``.
channel_sums = kernel("tinyyolo3_channel_sums", emit_sums, 3)
#: ``gradient_sums(gradient, x, pixels, coefficients, target, slope)``.
gradient_sums = kernel("tinyyolo3_gradient_sums", emit_gradient_sums, 5, 1)
#: ``normalize_pixels(x, target, pixels, coefficients, slope)``.
normalize_pixels = kernel("tinyyolo3_normalize_pixels", emit_normalize, 4, 1)
#: ``normalize_gradient(gradient, x, target, pixels, coefficients, slope)``.
normalize_gradient = kernel("tinyyolo3_normalize_gradient", emit_gradient, 5, 1)
