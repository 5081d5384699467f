"""Depthwise convolution of the usual windows, a whole row of output pixels at a time.

The windows of neighbours overlap. For `RUN` neighbouring pixels each input of a window row is read
once and multiplied by every weight that it meets: 15 reads for 30 multiply-adds, for 3 × 3 at a
stride of 1, so that multiplying is what takes the time. At the ends of a row, inputs beyond the
border are read from a vector of zeros instead: single pixels took a quarter of the time of a row of
40. A last group of fewer pixels begins earlier, over the group before.

A map that only products in bfloat16 read is written in bfloat16, which spares each of them the
rounding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from tinyyolo3.engine.cpu.arithmetic import HALF_BLOCK, HAS_BFLOAT16, round_vector
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    Emit,
    integer,
    kernel,
    leaky,
    load,
    loop,
    multiply_add,
    shift,
    splat,
    store,
    zero_vector,
)
from tinyyolo3.network import specs
from tinyyolo3.parallel import compiled

#: Pixels that are computed together: a divisor of the widths that pictures of 320 × 320 come to,
#: and few enough for AVX's 16 registers.
RUN = 10


def emit_row(size: int, stride: int, rounded: bool = False) -> Emit:
    """Return the emitter for a row of output pixels of one block, `RUN` or more.

    ``f(source, row_bytes, width, padding, weights, rows, runs, last, bias, target, slope)``:
    `source` is the first input row that the window meets inside, of `width` pixels, and `rows` how
    many it meets; `padding` is half a window at most. The last of `runs` groups of `RUN` pixels
    begins at pixel `last`, over the group before if need be.

    Only a group's outermost columns can lie outside the map; these are read from a vector of zeros.

    Args:
        size: the window's side.
        stride: of both axes.
        rounded: whether the output is bfloat16, half as many bytes per pixel.
    """
    pixel_bytes = HALF_BLOCK if rounded else BLOCK
    columns = (RUN - 1) * stride + size

    def emit(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
        source, row_bytes, width, padding, weights, rows, runs, last = arguments[:8]
        bias, target, slope = arguments[8:]
        start = [load(builder, bias)] * RUN
        slopes = splat(builder, slope)
        zeros = zero_vector(builder)

        def group(index: Any, _state: Sequence[Any]) -> Sequence[Any]:
            first = builder.mul(index, integer(RUN))
            first = builder.select(builder.icmp_signed(">", first, last), last, first)
            left = builder.sub(builder.mul(first, integer(stride)), padding)
            outside = {
                c: builder.icmp_unsigned(">=", shift(builder, left, c), width)
                for c in range(columns)
                if not size // 2 <= c < columns - size // 2
            }

            def window_row(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
                *sums, at, weight_at = state
                own = [load(builder, shift(builder, weight_at, k * BLOCK)) for k in range(size)]
                for c in range(columns):
                    place = shift(builder, at, c * BLOCK)
                    if c in outside:
                        place = builder.select(outside[c], zeros, place)
                    value = load(builder, place)
                    for k in range(size):
                        pixel, rest = divmod(c - k, stride)
                        if rest == 0 and 0 <= pixel < RUN:
                            sums[pixel] = multiply_add(builder, value, own[k], sums[pixel])
                return [*sums, builder.add(at, row_bytes), shift(builder, weight_at, size * BLOCK)]

            at = builder.add(source, builder.mul(left, integer(BLOCK)))
            *sums, _, _ = loop(builder, rows, [*start, at, weights], window_row)
            place = builder.add(target, builder.mul(first, integer(pixel_bytes)))
            for i, total in enumerate(sums):
                value = leaky(builder, total, slopes)
                if rounded:
                    value = round_vector(builder, value)
                store(builder, value, shift(builder, place, i * pixel_bytes), pixel_bytes)
            return []

        loop(builder, runs, [], group)

    return emit


_3_1 = kernel("tinyyolo3_depthwise_row_3_1", emit_row(3, 1), 10, 1)
_3_2 = kernel("tinyyolo3_depthwise_row_3_2", emit_row(3, 2), 10, 1)
_5_1 = kernel("tinyyolo3_depthwise_row_5_1", emit_row(5, 1), 10, 1)
_3_1_bf16 = kernel("tinyyolo3_depthwise_row_3_1_bf16", emit_row(3, 1, rounded=True), 10, 1)
_3_2_bf16 = kernel("tinyyolo3_depthwise_row_3_2_bf16", emit_row(3, 2, rounded=True), 10, 1)
_5_1_bf16 = kernel("tinyyolo3_depthwise_row_5_1_bf16", emit_row(5, 1, rounded=True), 10, 1)


def has_row_kernel(layer: specs.Convolutional) -> bool:
    """Return whether `depthwise_row` computes a depthwise convolution."""
    usual = (layer.size, layer.stride) in ((3, (1, 1)), (3, (2, 2)), (5, (1, 1)))
    return usual and layer.padding <= layer.size // 2 and layer.output_shape[2] >= RUN


@compiled
def depthwise_row(step: Any, source: int, weights: int, rows: int, bias: int, target: int) -> None:
    """Compute an output row of one block of a layer that `has_row_kernel`.

    Args:
        step: the record, with the fields of `depthwise.depthwise_job`.
        source: the first input row that the window meets inside.
        weights: those of this row of the window.
        rows: how many rows the window meets.
        bias: the block's biases.
        target: where to.
    """
    line, width, padding = step.width * BLOCK, step.width, step.padding
    runs, last = (step.out_width + RUN - 1) // RUN, step.out_width - RUN
    bend = np.float32(step.slope)
    if HAS_BFLOAT16:  # a constant: elsewhere the instruction must not even be compiled
        rounded = step.target_pixel == HALF_BLOCK
        if rounded and step.size == 5:
            _5_1_bf16(source, line, width, padding, weights, rows, runs, last, bias, target, bend)
        elif rounded and step.stride_x == 2:
            _3_2_bf16(source, line, width, padding, weights, rows, runs, last, bias, target, bend)
        elif rounded:
            _3_1_bf16(source, line, width, padding, weights, rows, runs, last, bias, target, bend)
        if rounded:
            return
    if step.size == 5:
        _5_1(source, line, width, padding, weights, rows, runs, last, bias, target, bend)
    elif step.stride_x == 2:
        _3_2(source, line, width, padding, weights, rows, runs, last, bias, target, bend)
    else:
        _3_1(source, line, width, padding, weights, rows, runs, last, bias, target, bend)
