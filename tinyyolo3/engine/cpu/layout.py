"""Between plain maps (channel, row, column) and blocked ones (block, row, column, lane).

In a blocked map the channels of one pixel stand side by side, `LANES` of them in a block, so that
one vector instruction serves one pixel of a block in every layer: a multiply-add, a maximum, a
copy. Plain maps go in as pictures and come out as logits; in between all is blocked. The lanes
beyond the last channel hold numbers without meaning (but finite ones), which zero weights multiply
away.
"""

from typing import Any

from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES, as_floats, carray


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


@operation("source", "source_stride", "pixels", "target", "parts")
def unpack_map_job(steps: Any, index: int, _scratch: int) -> None:
    """Blocked to plain: some pixels of one channel."""
    step = carray(steps, 1)[0]
    channel = index // step.parts
    part = index - channel * step.parts
    start = part * step.pixels // step.parts
    count = (part + 1) * step.pixels // step.parts - start
    block = step.source + channel // LANES * step.source_stride + start * BLOCK
    lane = channel % LANES
    source = carray(as_floats(block), count * LANES)
    target = carray(as_floats(step.target + 4 * (channel * step.pixels + start)), count)
    for pixel in range(count):
        target[pixel] = source[pixel * LANES + lane]


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
