"""Pooling on blocked maps: the maximum of each window, and the mean of each channel.

The maximum over a window is taken along its rows first and then along the columns of what is left:
2k − 1 comparisons per pixel in place of k² − 1, which matters for YOLOv3-SPP's 13 × 13 windows. The
windows of 2 × 2 that halve a map, as in tiny networks, stand side by side and are taken as a whole.
References: `tinyyolo3.layers.maxpool`, `tinyyolo3.layers.avgpool`.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    LANES,
    add_block,
    as_floats,
    carray,
    copy_block,
    kernel,
    load,
    loop,
    maximum,
    maximum_block,
    shift,
    store,
    zero_block,
)


def emit_pairs(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write ``f(source, row_bytes, target, count)``: the maxima of 2 × 2 windows side by side.

    `source` is the first window's upper left pixel; the lower ones lie `row_bytes` on.
    """
    source, row_bytes, target, count = arguments

    def window(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        upper, place = state
        lower = builder.add(upper, row_bytes)
        rows = [
            maximum(builder, load(builder, shift(builder, at, BLOCK)), load(builder, at))
            for at in (upper, lower)
        ]
        store(builder, maximum(builder, rows[1], rows[0]), place)
        return [shift(builder, upper, 2 * BLOCK), shift(builder, place, BLOCK)]

    loop(builder, count, [source, target], window)


#: ``maximum_of_pairs(source, row_bytes, target, count)``.
maximum_of_pairs = kernel("tinyyolo3_maximum_of_pairs", emit_pairs, 4)


@operation(
    "source", "source_stride", "height", "width", "out_height", "out_width", "size", "stride_y",
    "stride_x", "offset", "bands", "target", "target_stride",
)  # fmt: skip
def maxpool_job(steps: Any, index: int, scratch: int) -> None:
    """A band of output rows of one block; `offset` is the padding above and to the left."""
    step = carray(steps, 1)[0]
    block = index // step.bands
    band = index - block * step.bands
    start = band * step.out_height // step.bands
    stop = (band + 1) * step.out_height // step.bands
    plane = step.source + block * step.source_stride
    target = step.target + block * step.target_stride
    row_bytes = step.out_width * BLOCK
    if (
        step.size == step.stride_y == step.stride_x == 2
        and step.offset == 0
        and 2 * step.out_height <= step.height
        and 2 * step.out_width <= step.width
    ):
        line_bytes = step.width * BLOCK
        for y in range(start, stop):
            upper = plane + 2 * y * line_bytes
            maximum_of_pairs(upper, line_bytes, target + y * row_bytes, step.out_width)
        return
    top = max(0, start * step.stride_y - step.offset)
    bottom = min(step.height, (stop - 1) * step.stride_y - step.offset + step.size)
    for y in range(top, bottom):
        line = plane + y * step.width * BLOCK
        for x in range(step.out_width):
            first = x * step.stride_x - step.offset
            end = min(step.width, first + step.size)
            first = max(0, first)
            at = scratch + (y - top) * row_bytes + x * BLOCK
            copy_block(line + first * BLOCK, at)
            for tap in range(first + 1, end):
                maximum_block(line + tap * BLOCK, at, at)
    for y in range(start, stop):
        first = y * step.stride_y - step.offset
        end = min(step.height, first + step.size) - top
        first = max(0, first) - top
        for x in range(step.out_width):
            at = target + y * row_bytes + x * BLOCK
            column = scratch + x * BLOCK
            copy_block(column + first * row_bytes, at)
            for tap in range(first + 1, end):
                maximum_block(column + tap * row_bytes, at, at)


@operation("source", "source_stride", "pixels", "target", "target_stride")
def avgpool_job(steps: Any, index: int, _scratch: int) -> None:
    """The mean over all pixels of one block."""
    step = carray(steps, 1)[0]
    source = step.source + index * step.source_stride
    target = step.target + index * step.target_stride
    zero_block(target)
    for pixel in range(step.pixels):
        add_block(target, source + pixel * BLOCK, target)
    mean = carray(as_floats(target), LANES)
    for lane in range(LANES):
        mean[lane] /= step.pixels
