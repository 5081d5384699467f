"""Depthwise convolution: each channel filtered by itself.

There is no sum over channels, so nothing for the matrix kernel. On a blocked map one multiply-add
serves `LANES` channels of a pixel; `RUN` neighbouring pixels are computed together, so that each
weight is read once for all of them and their sums, which do not wait for each other, fill the
processor's pipelines.

With a read for each multiply-add and the weights on top, reading is what limits it: processors read
no more vectors at a time than they multiply. The usual windows have kernels of their own, for whole
rows, in half of the time (`depthwise_rows`). Here pixels near the border see only a part of the
window and go one by one.
Reference: `tinyyolo3.layers.convolution.reference.conv_forward_reference`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from tinyyolo3.engine.cpu.depthwise_rows import depthwise_row
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    Emit,
    carray,
    kernel,
    leaky,
    load,
    loop,
    multiply_add,
    shift,
    splat,
    store,
)
from tinyyolo3.parallel import compiled

#: Pixels that are computed together.
RUN = 8


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


_run = kernel("tinyyolo3_depthwise_run", emit_run(RUN), 10, 1)
_half_run = kernel("tinyyolo3_depthwise_half_run", emit_run(RUN // 2), 10, 1)
_pixel = kernel("tinyyolo3_depthwise_pixel", emit_run(1), 10, 1)


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
    "stride_x", "dilation", "padding", "blocks", "bands", "weights", "target", "target_stride",
    "target_pixel", "bias", "slope", "whole_rows",
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
    for y in range(
        band * step.out_height // step.bands, (band + 1) * step.out_height // step.bands
    ):
        top = y * step.stride_y - step.padding
        ky = first_tap(top, dilation)
        rows = end_tap(top, dilation, size, step.height) - ky
        line = step.source + block * step.source_stride + (top + ky * dilation) * row_bytes
        weights = step.weights + (block * size + ky) * weight_row
        target = step.target + block * step.target_stride + y * step.out_width * step.target_pixel
        if step.whole_rows == 1:
            depthwise_row(step, line, weights, rows, bias, target)
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
