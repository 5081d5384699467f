"""Between plain maps (channel, row, column) and blocked ones (block, row, column, lane).

In a blocked map the channels of one pixel stand side by side, `LANES` of them in a block, so that
one vector instruction serves one pixel of a block in every layer: a multiply-add, a maximum, a
copy. Plain maps go in as pictures and come out as logits; in between all is blocked. The lanes
beyond the last channel hold numbers without meaning (but finite ones), which zero weights multiply
away.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    INT32,
    LANES,
    as_floats,
    carray,
    integer,
    kernel,
    load,
    shift,
    store,
)
from tinyyolo3.parallel import compiled


def emit_transpose(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write ``f(source, target, plane_bytes, channels)``: `LANES` pixels of a block to plain maps.

    Pixels stand one after the other from `source` on; `target` is the first channel's first pixel
    and the next channel's lies `plane_bytes` on. Only so many `channels` are written.

    Vectors ``i`` and ``i + LANES/2`` dealt out alternately, for all i, are one vector of twice as
    many pairs: after log2(LANES) such rounds each vector holds one channel.
    """
    source, target, plane_bytes, channels = arguments
    rows = [load(builder, shift(builder, source, i * BLOCK)) for i in range(LANES)]
    half = LANES // 2
    dealt = [n // 2 + n % 2 * LANES for n in range(2 * LANES)]
    kind = ir.VectorType(INT32, LANES)
    masks = [ir.Constant(kind, dealt[:LANES]), ir.Constant(kind, dealt[LANES:])]
    for _ in range(LANES.bit_length() - 1):
        pairs = zip(rows[:half], rows[half:], strict=True)
        rows = [builder.shuffle_vector(x, y, mask) for x, y in pairs for mask in masks]
    for channel, row in enumerate(rows):
        with builder.if_then(builder.icmp_signed("<", integer(channel), channels), likely=True):
            place = builder.add(target, builder.mul(plane_bytes, integer(channel)))
            store(builder, row, place, align=4)


_transpose = kernel("tinyyolo3_transpose", emit_transpose, 4)


@compiled
def unpack_pixels(source: int, pixels: int, target: int, plane_bytes: int, channels: int) -> None:
    """Write some pixels of a block, `channels` of its lanes, to plain maps.

    Args:
        source: the first pixel's address,
        pixels: and how many there are.
        target: the address of the first channel's first pixel,
        plane_bytes: and from there to the next channel's.
        channels: how many, `LANES` at most.
    """
    if pixels < LANES:
        values = carray(as_floats(source), pixels * LANES)
        for lane in range(channels):
            plane = carray(as_floats(target + lane * plane_bytes), pixels)
            for pixel in range(pixels):
                plane[pixel] = values[pixel * LANES + lane]
        return
    for start in range(0, pixels, LANES):
        first = min(start, pixels - LANES)  # the last ones again, rather than beyond the end
        _transpose(source + first * BLOCK, target + 4 * first, plane_bytes, channels)


@operation("source", "channels", "pixels", "target", "target_stride", "parts")
def pack_map_job(steps: Any, index: int, _scratch: int) -> None:
    """Plain to blocked: some pixels of one block, the lanes beyond the last channel zero."""
    step = carray(steps, 1)[0]
    block = index // step.parts
    part = index - block * step.parts
    start = part * step.pixels // step.parts
    count = (part + 1) * step.pixels // step.parts - start
    target = carray(
        as_floats(step.target + block * step.target_stride + start * BLOCK), count * LANES
    )
    for lane in range(LANES):
        channel = block * LANES + lane
        if channel < step.channels:
            plane = carray(as_floats(step.source + 4 * (channel * step.pixels + start)), count)
            for pixel in range(count):
                target[pixel * LANES + lane] = plane[pixel]
        else:
            for pixel in range(count):
                target[pixel * LANES + lane] = 0


@operation("source", "source_stride", "channels", "pixels", "target", "parts")
def unpack_map_job(steps: Any, index: int, _scratch: int) -> None:
    """Blocked to plain: some pixels of one block."""
    step = carray(steps, 1)[0]
    block = index // step.parts
    part = index - block * step.parts
    start = part * step.pixels // step.parts
    count = (part + 1) * step.pixels // step.parts - start
    first = block * LANES
    unpack_pixels(
        step.source + block * step.source_stride + start * BLOCK,
        count,
        step.target + 4 * (first * step.pixels + start),
        4 * step.pixels,
        min(LANES, step.channels - first),
    )


@operation(
    "source", "source_stride", "first", "channels", "pixels", "target", "target_stride", "offset",
    "last",
)  # fmt: skip
def copy_channels_job(steps: Any, index: int, _scratch: int) -> None:
    """Channels `first` on into a map's channels `offset` on, where blocks do not coincide.

    One job is one block of the target. Where `last` is set the lanes behind the last channel
    become zero.
    """
    step = carray(steps, 1)[0]
    block = step.offset // LANES + index
    target = carray(as_floats(step.target + block * step.target_stride), step.pixels * LANES)
    for lane in range(LANES):
        channel = block * LANES + lane - step.offset
        if 0 <= channel < step.channels:
            channel += step.first
            plane = step.source + channel // LANES * step.source_stride
            source = carray(as_floats(plane), step.pixels * LANES)
            other = channel % LANES
            for pixel in range(step.pixels):
                target[pixel * LANES + lane] = source[pixel * LANES + other]
        elif channel >= step.channels and step.last == 1:
            for pixel in range(step.pixels):
                target[pixel * LANES + lane] = 0
