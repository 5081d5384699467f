"""What moves blocked mini-batches about: in and out, routes, shortcuts, upsampling, zeros between.

Each is one operation over all images, whose jobs write different memory:

- packing and unpacking, between plain (N, C, H, W) and blocked maps;
- *overlaying*: channels of one map, taken at every few pixels, times a factor into channels of
  another at every few pixels, replacing or adding. A shortcut's gradient, a route's, its forward
  pass where blocks do not coincide, and the zeros put between a gradient's pixels before the data
  gradient of a convolution with strides are all of this kind;
- the sum of squares of pixels that upsampling's gradient is;
- zeros.

Equals `shortcut_backward_reference`, `route_backward_reference` and `upsample_backward_reference`
of `tinyyolo3.layers`. Lanes of a block that the overlaid channels do not fill keep what they
hold, but where the last channels of a map are written, those beyond become zero.
"""

from typing import Any

import numpy as np

from tinyyolo3.engine.cpu.layout import unpack_pixels
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    LANES,
    add_block,
    add_scaled_block,
    as_floats,
    carray,
    copy_block,
    scale_block,
    zero_block,
)
from tinyyolo3.parallel import compiled
from tinyyolo3.train.cpu.batch_map import (
    PART_FIELDS,
    BatchMap,
    map_fields,
    part_fields,
    plane_part,
)

#: Pixels of all of a block's channels that are packed while they are in the first-level cache.
_RUN = 128


@operation("source", *map_fields("target"), *PART_FIELDS, "channels")
def pack_batch_job(steps: Any, index: int, _scratch: int) -> None:
    """Plain to blocked: some pixels of one block of one image, spare lanes zero."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    lanes = min(LANES, step.channels - block * LANES)
    first = step.source + 4 * ((image * step.channels + block * LANES) * step.pixels + start)
    at = step.target + image * step.target_image + block * step.target_stride + start * BLOCK
    for run in range(0, count, _RUN):
        length = min(_RUN, count - run)
        target = carray(as_floats(at + run * BLOCK), length * LANES)
        if lanes < LANES:
            for pixel in range(length):
                zero_block(at + (run + pixel) * BLOCK)
        for lane in range(lanes):
            source = carray(as_floats(first + 4 * (lane * step.pixels + run)), length)
            for pixel in range(length):
                target[pixel * LANES + lane] = source[pixel]


@operation(*map_fields("source"), "target", *PART_FIELDS, "channels")
def unpack_batch_job(steps: Any, index: int, _scratch: int) -> None:
    """Blocked to plain: some pixels of one block of one image."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    lanes = min(LANES, step.channels - block * LANES)
    first = step.target + 4 * ((image * step.channels + block * LANES) * step.pixels + start)
    at = step.source + image * step.source_image + block * step.source_stride + start * BLOCK
    unpack_pixels(at, count, first, 4 * step.pixels, lanes)


@operation(*map_fields("target"), *PART_FIELDS)
def zero_job(steps: Any, index: int, _scratch: int) -> None:
    """Zeros: some pixels of one block of one image."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    at = step.target + image * step.target_image + block * step.target_stride + start * BLOCK
    for pixel in range(count):
        zero_block(at + pixel * BLOCK)


@compiled
def _overlay_row(
    source: int, source_pixel: int, target: int, target_pixel: int, count: int, mode: int,
    factor: np.float32,
) -> None:  # fmt: skip
    """Whole blocks of one row; `mode` 0 copies, 1 adds, 2 scales, 3 adds scaled."""
    if mode == 0:
        for i in range(count):
            copy_block(source + i * source_pixel, target + i * target_pixel)
    elif mode == 1:
        for i in range(count):
            at = target + i * target_pixel
            add_block(at, source + i * source_pixel, at)
    elif mode == 2:
        for i in range(count):
            scale_block(source + i * source_pixel, target + i * target_pixel, factor)
    else:
        for i in range(count):
            add_scaled_block(source + i * source_pixel, target + i * target_pixel, factor)


@operation(
    *map_fields("source", "target"), "blocks", "first", "offset", "channels", "last", "rows",
    "columns", "source_row", "source_pixel", "target_row", "target_pixel", "bands", "accumulate",
    "mode", "scale",
)  # fmt: skip
def overlay_job(steps: Any, index: int, _scratch: int) -> None:
    """A band of rows of one of the target's blocks in one image.

    Source channels `first` on go to the target's channels `offset` on, of which the job's block
    may hold only some. `last` says that the target's last channel is among them.
    """
    step = carray(steps, 1)[0]
    band = index % step.bands
    plane = index // step.bands
    image = plane // step.blocks
    block = step.offset // LANES + plane - image * step.blocks
    begin, end = band * step.rows // step.bands, (band + 1) * step.rows // step.bands
    to = step.target + image * step.target_image + block * step.target_stride
    origin = step.source + image * step.source_image
    factor = np.float32(step.scale)
    channel = block * LANES - step.offset  # of the overlaid ones, the block's first
    aligned = (step.first - step.offset) % LANES == 0 and channel >= 0
    if aligned and (channel + LANES <= step.channels):
        own = origin + (step.first + channel) // LANES * step.source_stride
        for y in range(begin, end):
            _overlay_row(
                own + y * step.source_row, step.source_pixel, to + y * step.target_row,
                step.target_pixel, step.columns, step.mode, factor,
            )  # fmt: skip
        return
    for lane in range(LANES):
        number = channel + lane
        inside = 0 <= number < step.channels
        if not inside and not (step.last == 1 and number >= step.channels):
            continue
        from_channel = step.first + number if inside else 0
        own = origin + from_channel // LANES * step.source_stride
        other = from_channel % LANES
        for y in range(begin, end):
            for x in range(step.columns):
                at = to + y * step.target_row + x * step.target_pixel
                target = carray(as_floats(at), LANES)
                value = np.float32(0)
                if inside:
                    pixel = own + y * step.source_row + x * step.source_pixel
                    value = factor * carray(as_floats(pixel), LANES)[other]
                    if step.accumulate == 1:
                        value += target[lane]
                target[lane] = value


@operation(
    *map_fields("source", "target"), "blocks", "height", "width", "factor", "bands", "accumulate",
    "scale",
)  # fmt: skip
def upsample_gradient_job(steps: Any, index: int, _scratch: int) -> None:
    """The sums of squares of pixels times `scale`: a band of rows of one block of one image."""
    step = carray(steps, 1)[0]
    band = index % step.bands
    plane = index // step.bands
    image = plane // step.blocks
    block = plane - image * step.blocks
    source = step.source + image * step.source_image + block * step.source_stride
    to = step.target + image * step.target_image + block * step.target_stride
    row_bytes = step.width * step.factor * BLOCK
    scale = np.float32(step.scale)
    for y in range(band * step.height // step.bands, (band + 1) * step.height // step.bands):
        for x in range(step.width):
            at = to + (y * step.width + x) * BLOCK
            corner = source + y * step.factor * row_bytes + x * step.factor * BLOCK
            if step.accumulate == 0:
                zero_block(at)
            for dy in range(step.factor):
                for dx in range(step.factor):
                    add_scaled_block(corner + dy * row_bytes + dx * BLOCK, at, scale)


def lower_pack(source: int, target: BatchMap, jobs: int) -> list[Lowered]:
    """Return the steps from (N, C, H, W) float32 at an address to a blocked map."""
    fields, count = part_fields(target, jobs)
    maps = {"source": source, **target.fields("target")}
    return [Lowered(pack_batch_job, {**maps, **fields, "channels": target.channels}, count)]


def lower_unpack(source: BatchMap, target: int, jobs: int) -> list[Lowered]:
    """Return the steps from a blocked map to (N, C, H, W) float32 at an address."""
    fields, count = part_fields(source, jobs)
    maps = {**source.fields("source"), "target": target}
    return [Lowered(unpack_batch_job, {**maps, **fields, "channels": source.channels}, count)]


def lower_zero(target: BatchMap, jobs: int) -> list[Lowered]:
    """Return the steps that make a map zero, spare lanes too."""
    fields, count = part_fields(target, jobs)
    return [Lowered(zero_job, {**target.fields("target"), **fields}, count)]


def lower_overlay(
    source: BatchMap,
    target: BatchMap,
    jobs: int,
    *,
    first: int = 0,
    offset: int = 0,
    channels: int | None = None,
    source_step: tuple[int, int] = (1, 1),
    target_step: tuple[int, int] = (1, 1),
    factor: float = 1.0,
    accumulate: bool = False,
) -> list[Lowered]:
    """Return the steps that lay channels of one map over those of another.

    ``target[:, offset + c, ::ty, ::tx] (+)= factor * source[:, first + c, ::sy, ::sx]``; pixels of
    the target between those, and other channels, keep what they hold.

    Args:
        source: the map that is read; may be `target` itself where all numbers stay in place.
        target: the map that is written.
        jobs: into how many to cut the pass, where it is large enough.
        first: the source's first channel.
        offset: the target's.
        channels: how many; by default as many as there are in both.
        source_step: (sy, sx), rows and pixels of the source from one to the next.
        target_step: (ty, tx), of the target.
        factor: on every number.
        accumulate: whether the target is added to.
    """
    if channels is None:
        channels = min(source.channels - first, target.channels - offset)
    rows = min(-(-source.height // source_step[0]), -(-target.height // target_step[0]))
    columns = min(-(-source.width // source_step[1]), -(-target.width // target_step[1]))
    blocks = -(-(offset + channels) // LANES) - offset // LANES
    planes = target.images * blocks
    bands = max(1, min(rows, -(-jobs // planes), rows * columns // 64))
    record = {
        **source.fields("source"),
        **target.fields("target"),
        "blocks": blocks,
        "first": first,
        "offset": offset,
        "channels": channels,
        "last": offset + channels == target.channels,
        "rows": rows,
        "columns": columns,
        "source_row": source_step[0] * source.width * BLOCK,
        "source_pixel": source_step[1] * BLOCK,
        "target_row": target_step[0] * target.width * BLOCK,
        "target_pixel": target_step[1] * BLOCK,
        "bands": bands,
        "accumulate": accumulate,
        "mode": 2 * (factor != 1) + accumulate,
        "scale": factor,
    }
    return [Lowered(overlay_job, record, planes * bands)]


def lower_add(source: BatchMap, target: BatchMap, jobs: int) -> list[Lowered]:
    """Return the steps that add one map to another of its size."""
    return lower_overlay(source, target, jobs, accumulate=True)


def lower_insert_zeros(
    source: BatchMap, target: BatchMap, stride: tuple[int, int], jobs: int
) -> list[Lowered]:
    """Return the steps that put zeros between pixels, rows and columns apart.

    ``target[:, :, ::stride_y, ::stride_x] = source`` and all else zero: what a convolution with
    flipped filters and no stride turns into the data gradient of one with strides.

    Args:
        source: the gradient of a convolution's output.
        target: of at least ``(side - 1) * stride + 1`` rows and columns.
        stride: (stride_y, stride_x) of the convolution.
        jobs: into how many to cut the pass, where it is large enough.
    """
    spread = lower_overlay(source, target, jobs, target_step=stride)
    return [*lower_zero(target, jobs), *spread]


def lower_upsample_backward(
    gradient: BatchMap, target: BatchMap, jobs: int, *, factor: int, scale: float, accumulate: bool
) -> list[Lowered]:
    """Return the steps that carry a gradient back through nearest-neighbour enlargement.

    Args:
        gradient: ∂loss/∂y.
        target: where ∂loss/∂x goes.
        jobs: into how many to cut the pass, where it is large enough.
        factor: how many times larger each side became.
        scale: the layer's factor on every value.
        accumulate: whether the target is added to.
    """
    planes = target.images * target.blocks
    bands = max(1, min(-(-jobs // planes), target.height))
    record = {
        **gradient.fields("source"),
        **target.fields("target"),
        "blocks": target.blocks,
        "height": target.height,
        "width": target.width,
        "factor": factor,
        "bands": bands,
        "accumulate": accumulate,
        "scale": scale,
    }
    return [Lowered(upsample_gradient_job, record, planes * bands)]
