"""Who won a window: the kernel of max pooling's gradient.

For each lane the first of the largest numbers of a window is found, by its number in the order of
rows and columns; then the window's gradient is added to the winner's cell. The cells of one window
are different memory, so windows that are treated one after the other may overlap.

What it equals, for each lane::

    winner = first (y, x) with X[y, x] > every X before it and > −FLT_MAX
    D[winner] += g
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    INT32,
    LANES,
    integer,
    kernel,
    load,
    loop,
    shift,
    store,
    vector,
)

_NUMBERS = ir.VectorType(INT32, LANES)


def _numbers(value: int) -> ir.Constant:
    return ir.Constant(_NUMBERS, [value] * LANES)


def emit_route_gradient(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write ``f(x, row_bytes, rows, columns, gradient, target)``.

    `x` and `target` are the window's first cell inside the maps, whose rows are `row_bytes` long.
    """
    x, row_bytes, rows, columns, gradient, target = arguments
    one = _numbers(1)

    def each_cell(carried: Sequence[Any], cell: Any) -> Sequence[Any]:
        """Run ``cell(offset, state)`` for the window's cells in order."""

        def column(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
            *values, offset = state
            return [*cell(offset, values), shift(builder, offset, BLOCK)]

        def row(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
            *values, offset = state
            *values, _ = loop(builder, columns, [*values, offset], column)
            return [*values, builder.add(offset, row_bytes)]

        *values, _ = loop(builder, rows, [*carried, integer(0)], row)
        return values

    def compare(offset: Any, state: Sequence[Any]) -> Sequence[Any]:
        largest, winner, number = state
        value = load(builder, builder.add(x, offset))
        larger = builder.fcmp_ordered(">", value, largest)
        largest = builder.select(larger, value, largest)
        winner = builder.select(larger, number, winner)
        return [largest, winner, builder.add(number, one)]

    # DARKNET: `value > max` from −FLT_MAX on keeps the first of equal values, and never a NaN.
    lowest = vector(float(np.finfo(np.float32).min))
    start = [lowest, _numbers(-1), _numbers(0)]
    _, winner, _ = each_cell(start, compare)
    share = load(builder, gradient)

    def give(offset: Any, state: Sequence[Any]) -> Sequence[Any]:
        (number,) = state
        place = builder.add(target, offset)
        won = builder.icmp_signed("==", winner, number)
        own = builder.select(won, share, vector(0.0))
        store(builder, builder.fadd(load(builder, place), own), place)
        return [builder.add(number, one)]

    each_cell([_numbers(0)], give)


def emit_pairs(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write ``f(x, row_bytes, step, count, gradient, target)`` for windows of 2 × 2 in a row.

    They lie `step` bytes apart, all of them inside the map; otherwise as above.
    """
    x, row_bytes, step, count, gradient, target = arguments
    cells = [integer(0), integer(BLOCK), row_bytes, shift(builder, row_bytes, BLOCK)]
    lowest = vector(float(np.finfo(np.float32).min))

    def window(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        g_at, offset = state
        largest, winner = lowest, _numbers(-1)
        for number, cell in enumerate(cells):
            value = load(builder, builder.add(x, builder.add(offset, cell)))
            larger = builder.fcmp_ordered(">", value, largest)
            largest = builder.select(larger, value, largest)
            winner = builder.select(larger, _numbers(number), winner)
        share = load(builder, g_at)
        for number, cell in enumerate(cells):
            place = builder.add(target, builder.add(offset, cell))
            won = builder.icmp_signed("==", winner, _numbers(number))
            own = builder.select(won, share, vector(0.0))
            store(builder, builder.fadd(load(builder, place), own), place)
        return [shift(builder, g_at, BLOCK), builder.add(offset, step)]

    loop(builder, count, [gradient, integer(0)], window)


#: ``route_pairs_to_maximum(x, row_bytes, step, count, gradient, target)``.
route_pairs_to_maximum = kernel("tinyyolo3_route_pairs_to_maximum", emit_pairs, 6)
#: ``route_to_maximum(x, row_bytes, rows, columns, gradient, target)``.
route_to_maximum = kernel("tinyyolo3_route_to_maximum", emit_route_gradient, 6)
