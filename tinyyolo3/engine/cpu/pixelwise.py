"""What treats every pixel of a blocked map alike: sums, products, enlargement, activations.

References: `tinyyolo3.layers.shortcut`, `scale_channels`, `sam`, `upsample`, `activation`.
"""

from typing import Any

from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    LANES,
    add_block,
    as_floats,
    carray,
    copy_block,
    multiply_block,
)
from tinyyolo3.layers.activation_loops import activate_in_place
from tinyyolo3.parallel import compiled

#: `other_pixel` is the distance of the second map's pixels: 0 where one serves all, as in the
#: factors of scale_channels.
_PAIR = (
    "source", "source_stride", "other", "other_stride", "other_pixel", "pixels", "parts", "target",
    "target_stride",
)  # fmt: skip


@compiled
def _part(step: Any, index: int) -> tuple[int, int, int]:
    """Return the block of a job, and its first pixel and their number."""
    block = index // step.parts
    part = index - block * step.parts
    start = part * step.pixels // step.parts
    return block, start, (part + 1) * step.pixels // step.parts - start


@compiled
def _addresses(step: Any, index: int) -> tuple[int, int, int, int]:
    """Return the number of a job's pixels, and where both maps and the target begin."""
    block, start, count = _part(step, index)
    x = step.source + block * step.source_stride + start * BLOCK
    y = step.other + block * step.other_stride + start * step.other_pixel
    return count, x, y, step.target + block * step.target_stride + start * BLOCK


@operation(*_PAIR)
def add_job(steps: Any, index: int, _scratch: int) -> None:
    """The sum of two maps: some pixels of one block."""
    step = carray(steps, 1)[0]
    count, x, y, target = _addresses(step, index)
    for pixel in range(count):
        add_block(x + pixel * BLOCK, y + pixel * step.other_pixel, target + pixel * BLOCK)


@operation(*_PAIR)
def multiply_maps_job(steps: Any, index: int, _scratch: int) -> None:
    """The product of two maps: some pixels of one block."""
    step = carray(steps, 1)[0]
    count, x, y, target = _addresses(step, index)
    for pixel in range(count):
        multiply_block(x + pixel * BLOCK, y + pixel * step.other_pixel, target + pixel * BLOCK)


@operation(
    "source", "source_stride", "height", "width", "factor", "bands", "target", "target_stride"
)
def upsample_job(steps: Any, index: int, _scratch: int) -> None:
    """Nearest neighbours: a band of input rows of one block."""
    step = carray(steps, 1)[0]
    block = index // step.bands
    band = index - block * step.bands
    plane = step.source + block * step.source_stride
    target = step.target + block * step.target_stride
    out_row = step.width * step.factor * BLOCK
    for y in range(band * step.height // step.bands, (band + 1) * step.height // step.bands):
        for x in range(step.width):
            pixel = plane + (y * step.width + x) * BLOCK
            corner = target + y * step.factor * out_row + x * step.factor * BLOCK
            for dy in range(step.factor):
                for dx in range(step.factor):
                    copy_block(pixel, corner + dy * out_row + dx * BLOCK)


@operation("kind", "target", "target_stride", "pixels", "parts")
def activation_job(steps: Any, index: int, _scratch: int) -> None:
    """An activation in place: some pixels of one block."""
    step = carray(steps, 1)[0]
    block, start, count = _part(step, index)
    address = step.target + block * step.target_stride + start * BLOCK
    values = carray(as_floats(address), count * LANES)
    activate_in_place(step.kind, values)
