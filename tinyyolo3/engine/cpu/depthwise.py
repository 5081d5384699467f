"""Depthwise convolution: each channel filtered by itself.

There is no sum over channels, so nothing for the matrix kernel. On a blocked map one multiply-add
serves `LANES` channels of a pixel; `RUN` neighbouring pixels are computed together, so that each
weight is read once for all of them and their sums, which do not wait for each other, fill the
processor's pipelines.

With a read for each multiply-add and the weights on top, reading is what limits it: processors read
no more vectors at a time than they multiply. But the windows of neighbours overlap. For the usual
windows (`_run_row`) a kernel of its own reads each input of a window row once and multiplies it by
every weight that it meets: 13 reads for 24 multiply-adds, for 3 × 3 at a stride of 1. Written out
tap by tap for a whole row of pixels, it takes two thirds of the time of the kernel for any window.

Pixels near the border see only a part of the window and go one by one. Reference:
`tinyyolo3.layers.convolution.reference.conv_forward_reference`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    Emit,
    carray,
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
from tinyyolo3.parallel import compiled

#: Pixels that are computed together.
RUN = 8
#: And in the kernels of whole rows.
ROW_RUN = 10


def emit_run(pixels: int) -> Emit:
    """Return the emitter for some neighbouring output pixels of one block.

    ``f(source, row_bytes, tap_bytes, pixel_bytes, weights, weight_row_bytes, tap_rows,
    tap_columns, bias, target, slope)``: `source` is what the first tap of the first pixel sees;
    the next tap's lies `tap_bytes` on, the next window row's `row_bytes`, the next pixel's
    `pixel_bytes`.
    """

    def emit(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
        source, row_bytes, tap_bytes, pixel_bytes, weights, weight_row, rows, columns = arguments[
            :8
        ]
        bias, target, slope = arguments[8:]
        offsets = [source]
        for _ in range(pixels - 1):
            offsets.append(builder.add(offsets[-1], pixel_bytes))
        relative = [builder.sub(offset, source) for offset in offsets]

        def tap(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
            *sums, at, weight_at = state
            weight = load(builder, weight_at)
            sums = [
                multiply_add(builder, load(builder, builder.add(at, offset)), weight, total)
                for offset, total in zip(relative, sums, strict=True)
            ]
            return [*sums, builder.add(at, tap_bytes), shift(builder, weight_at, BLOCK)]

        def tap_row(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
            *sums, at, weight_at = state
            *sums, _, _ = loop(builder, columns, [*sums, at, weight_at], tap)
            return [*sums, builder.add(at, row_bytes), builder.add(weight_at, weight_row)]

        start = [load(builder, bias)] * pixels
        *sums, _, _ = loop(builder, rows, [*start, source, weights], tap_row)
        slopes = splat(builder, slope)
        for i, total in enumerate(sums):
            store(builder, leaky(builder, total, slopes), shift(builder, target, i * BLOCK))

    return emit


def emit_row(size: int, stride: int, run: int) -> Emit:
    """Return the emitter for a row of output pixels of one block, `run` or more.

    ``f(source, row_bytes, width, padding, weights, rows, runs, last, bias, target, slope)``:
    `source` is the first input row that the window meets inside, of `width` pixels, and `rows` how
    many it meets; `padding` is half a window at most. The last of `runs` groups of `run` pixels
    begins at pixel `last`, over the group before if need be.

    Only a group's outermost columns can lie outside the map; these are read from a vector of zeros.
    """
    columns = (run - 1) * stride + size

    def emit(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
        source, row_bytes, width, padding, weights, rows, runs, last = arguments[:8]
        bias, target, slope = arguments[8:]
        start = [load(builder, bias)] * run
        slopes = splat(builder, slope)
        zeros = zero_vector(builder)

        def group(index: Any, _state: Sequence[Any]) -> Sequence[Any]:
            first = builder.mul(index, integer(run))
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
                        if rest == 0 and 0 <= pixel < run:
                            sums[pixel] = multiply_add(builder, value, own[k], sums[pixel])
                return [*sums, builder.add(at, row_bytes), shift(builder, weight_at, size * BLOCK)]

            at = builder.add(source, builder.mul(left, integer(BLOCK)))
            *sums, _, _ = loop(builder, rows, [*start, at, weights], window_row)
            place = builder.add(target, builder.mul(first, integer(BLOCK)))
            for i, total in enumerate(sums):
                store(builder, leaky(builder, total, slopes), shift(builder, place, i * BLOCK))
            return []

        loop(builder, runs, [], group)

    return emit


_run = kernel("tinyyolo3_depthwise_run", emit_run(RUN), 10, 1)
_half_run = kernel("tinyyolo3_depthwise_half_run", emit_run(RUN // 2), 10, 1)
_pixel = kernel("tinyyolo3_depthwise_pixel", emit_run(1), 10, 1)
_row_3 = kernel("tinyyolo3_depthwise_row_3", emit_row(3, 1, ROW_RUN), 10, 1)
_row_3_2 = kernel("tinyyolo3_depthwise_row_3_2", emit_row(3, 2, ROW_RUN), 10, 1)
_row_5 = kernel("tinyyolo3_depthwise_row_5", emit_row(5, 1, ROW_RUN), 10, 1)


@compiled
def has_row_kernel(step: Any) -> bool:
    """Return whether a step's rows can be computed whole, by `_compute_row`."""
    size, stride = step.size, step.stride_x
    usual = (size == 3 and stride <= 2) or (size == 5 and stride == 1)
    regular = stride == step.stride_y and step.dilation == 1 and step.padding <= size // 2
    return usual and regular and step.out_width >= ROW_RUN


@compiled
def _compute_row(
    step: Any, line: int, weights: int, rows: int, bias: int, target: int
) -> None:
    """Compute a row of pixels of a step for which `has_row_kernel`."""
    row_bytes, width, padding = step.width * BLOCK, step.width, step.padding
    slope = np.float32(step.slope)
    runs, last = (step.out_width + ROW_RUN - 1) // ROW_RUN, step.out_width - ROW_RUN
    if step.size == 5:
        _row_5(line, row_bytes, width, padding, weights, rows, runs, last, bias, target, slope)
    elif step.stride_x == 2:
        _row_3_2(line, row_bytes, width, padding, weights, rows, runs, last, bias, target, slope)
    else:
        _row_3(line, row_bytes, width, padding, weights, rows, runs, last, bias, target, slope)


@compiled
def first_tap(position: int, dilation: int) -> int:
    """Return the first tap that falls inside, when the window begins at `position`."""
    return (-position + dilation - 1) // dilation if position < 0 else 0


@compiled
def end_tap(position: int, dilation: int, size: int, length: int) -> int:
    """Return the tap behind the last one inside a line of `length`."""
    return max(0, min(size, (length - position + dilation - 1) // dilation))


@operation(
    "source", "source_stride", "height", "width", "out_height", "out_width", "size", "stride_y",
    "stride_x", "dilation", "padding", "blocks", "bands", "weights", "target", "target_stride", "bias",
    "slope",
)  # fmt: skip
def depthwise_job(steps: Any, index: int, _scratch: int) -> None:
    """A band of output rows of one block."""
    step = carray(steps, 1)[0]
    blocks = step.blocks
    band = index // blocks
    block = index - band * blocks
    slope = np.float32(step.slope)
    size, dilation = step.size, step.dilation
    row_bytes = step.width * BLOCK
    tap_bytes, pixel_bytes = dilation * BLOCK, step.stride_x * BLOCK
    bias = step.bias + block * BLOCK
    weight_row = size * BLOCK
    reach = (size - 1) * dilation
    # Output columns from `inner` to before `outer` see the window whole.
    inner = (step.padding + step.stride_x - 1) // step.stride_x
    outer = (step.width - 1 - reach + step.padding) // step.stride_x + 1
    whole = has_row_kernel(step)
    for y in range(
        band * step.out_height // step.bands, (band + 1) * step.out_height // step.bands
    ):
        top = y * step.stride_y - step.padding
        ky = first_tap(top, dilation)
        rows = end_tap(top, dilation, size, step.height) - ky
        line = step.source + block * step.source_stride + (top + ky * dilation) * row_bytes
        weights = step.weights + (block * size + ky) * weight_row
        target = step.target + block * step.target_stride + y * step.out_width * BLOCK
        if whole:
            _compute_row(step, line, weights, rows, bias, target)
            continue
        x = 0
        while x < step.out_width:
            left = x * step.stride_x - step.padding
            at, out = line + left * BLOCK, target + x * BLOCK
            if inner <= x and x + RUN <= outer:
                _run(
                    at, dilation * row_bytes, tap_bytes, pixel_bytes, weights, weight_row, rows,
                    size, bias, out, slope,
                )  # fmt: skip
                x += RUN
            elif inner <= x and x + RUN // 2 <= outer:
                _half_run(
                    at, dilation * row_bytes, tap_bytes, pixel_bytes, weights, weight_row, rows,
                    size, bias, out, slope,
                )  # fmt: skip
                x += RUN // 2
            else:
                kx = first_tap(left, dilation)
                columns = end_tap(left, dilation, size, step.width) - kx
                _pixel(
                    at + kx * tap_bytes, dilation * row_bytes, tap_bytes, pixel_bytes,
                    weights + kx * BLOCK, weight_row, rows, columns, bias, out, slope,
                )  # fmt: skip
                x += 1
