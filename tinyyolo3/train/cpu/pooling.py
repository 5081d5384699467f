"""Pooling of blocked mini-batches, forward and back.

Forward are the engine's operations (`tinyyolo3.engine.cpu.pooling`). Back, each window's gradient
goes to the first of its largest numbers (`window_maximum`), which is searched for again: that
needs no memory, and reads what the forward pass read. One job is one block of one image, and no
two jobs write the same cell, so overlapping windows are added in one order always. Rows are
cleared just before the first window touches them, while they stay in the cache.

Equals: `maxpool_forward_reference`, `maxpool_backward_reference`, `avgpool_forward_reference` and
`avgpool_backward_reference` of `tinyyolo3.layers`. Lanes beyond the last channel are treated
alike: zeros in a gradient stay zeros.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.pooling import avgpool_job, maxpool_job
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    add_scaled_block,
    carray,
    scale_block,
    zero_block,
)
from tinyyolo3.engine.cpu.window_maximum import route_pairs_to_maximum, route_to_maximum
from tinyyolo3.train.cpu.batch_map import (
    PART_FIELDS,
    BatchMap,
    each_image,
    map_fields,
    part_fields,
    plane_part,
)


@dataclass(frozen=True)
class Pooling:
    """A pooling's window.

    Attributes:
        size: side in cells.
        stride: (stride_y, stride_x) in cells.
        padding: cells added to each axis in total, ``padding // 2`` of them before the first.
    """

    size: int
    stride: tuple[int, int]
    padding: int


@operation(
    *map_fields("source", "gradient", "target"), "blocks", "height", "width", "out_height",
    "out_width", "size", "stride_y", "stride_x", "offset", "accumulate",
)  # fmt: skip
def maxpool_gradient_job(steps: Any, index: int, _scratch: int) -> None:
    """∂loss/∂x of one block of one image; `offset` is the padding above and to the left."""
    step = carray(steps, 1)[0]
    image = index // step.blocks
    block = index - image * step.blocks
    x = step.source + image * step.source_image + block * step.source_stride
    g = step.gradient + image * step.gradient_image + block * step.gradient_stride
    target = step.target + image * step.target_image + block * step.target_stride
    row_bytes = step.width * BLOCK
    cleared = step.height if step.accumulate == 1 else 0
    for y in range(step.out_height):
        top = y * step.stride_y - step.offset
        bottom = min(step.height, top + step.size)
        top = max(0, top)
        while cleared < bottom:
            for column in range(step.width):
                zero_block(target + cleared * row_bytes + column * BLOCK)
            cleared += 1
        done = 0
        if step.size == 2 and bottom - top == 2 and step.offset == 0:
            done = min(step.out_width, (step.width - 2) // step.stride_x + 1)
            if done > 0:
                own = g + y * step.out_width * BLOCK
                at = top * row_bytes
                step_bytes = step.stride_x * BLOCK
                route_pairs_to_maximum(x + at, row_bytes, step_bytes, done, own, target + at)
        for column in range(done, step.out_width):
            left = column * step.stride_x - step.offset
            right = min(step.width, left + step.size)
            left = max(0, left)
            if top < bottom and left < right:
                at = top * row_bytes + left * BLOCK
                own = g + (y * step.out_width + column) * BLOCK
                route_to_maximum(x + at, row_bytes, bottom - top, right - left, own, target + at)
    while cleared < step.height:
        for column in range(step.width):
            zero_block(target + cleared * row_bytes + column * BLOCK)
        cleared += 1


@operation(*map_fields("gradient", "target"), *PART_FIELDS, "accumulate", "scale")
def avgpool_gradient_job(steps: Any, index: int, _scratch: int) -> None:
    """Each channel's gradient times `scale`, in some pixels of one block of one image."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    g = step.gradient + image * step.gradient_image + block * step.gradient_stride
    target = step.target + image * step.target_image + block * step.target_stride + start * BLOCK
    scale = np.float32(step.scale)
    for pixel in range(count):
        if step.accumulate == 1:
            add_scaled_block(g, target + pixel * BLOCK, scale)
        else:
            scale_block(g, target + pixel * BLOCK, scale)


def lower_maxpool(x: BatchMap, y: BatchMap, window: Pooling, jobs: int) -> list[Lowered]:
    """Return the steps that pool a mini-batch; no window may lie wholly outside of the map."""

    def of_planes(x: BatchMap, y: BatchMap) -> Lowered:
        planes = x.images * x.blocks
        # A band's rows, taken together across the window, should stay in the first-level cache.
        bands = max(1, min(y.height, max(-(-jobs // planes), y.pixels // 512)))
        if window.size > 3 * window.stride[0]:
            bands = 1
        record = {
            "source": x.address,
            "source_stride": x.block_stride,
            "target": y.address,
            "target_stride": y.block_stride,
            **_window_fields(x, y, window),
            "bands": bands,
        }
        rows = -(-y.height // bands) * window.stride[0] + window.size
        return Lowered(maxpool_job, record, planes * bands, rows * y.width * BLOCK)

    return [of_planes(*maps) for maps in each_image(x, y)]


def _window_fields(x: BatchMap, y: BatchMap, window: Pooling) -> dict[str, int]:
    return {
        "height": x.height,
        "width": x.width,
        "out_height": y.height,
        "out_width": y.width,
        "size": window.size,
        "stride_y": window.stride[0],
        "stride_x": window.stride[1],
        # DARKNET: of an odd padding, the smaller half is on the left and above.
        "offset": window.padding // 2,
    }


def lower_maxpool_backward(
    gradient: BatchMap, x: BatchMap, target: BatchMap, window: Pooling, *, accumulate: bool
) -> list[Lowered]:
    """Return the steps that carry a gradient back through max pooling.

    Args:
        gradient: ∂loss/∂y.
        x: what was pooled.
        target: where ∂loss/∂x goes.
        window: of the pooling.
        accumulate: whether it is added to what is there.
    """
    record = {
        **x.fields("source"),
        **gradient.fields("gradient"),
        **target.fields("target"),
        **_window_fields(x, gradient, window),
        "blocks": x.blocks,
        "accumulate": accumulate,
    }
    return [Lowered(maxpool_gradient_job, record, x.images * x.blocks)]


def lower_avgpool(x: BatchMap, y: BatchMap) -> list[Lowered]:
    """Return the steps that take each channel's mean."""
    return [
        Lowered(
            avgpool_job,
            {
                "source": source.address,
                "source_stride": source.block_stride,
                "target": target.address,
                "target_stride": target.block_stride,
                "pixels": x.pixels,
            },
            source.images * source.blocks,
        )
        for source, target in each_image(x, y)
    ]


def lower_avgpool_backward(
    gradient: BatchMap, target: BatchMap, jobs: int, *, accumulate: bool
) -> list[Lowered]:
    """Return the steps that share each channel's gradient among its cells.

    Args:
        gradient: ∂loss/∂y, one pixel of each image.
        target: where ∂loss/∂x goes.
        jobs: into how many to cut the pass, where it is large enough.
        accumulate: whether it is added to what is there.
    """
    fields, count = part_fields(target, jobs)
    record = {
        **gradient.fields("gradient"),
        **target.fields("target"),
        **fields,
        "accumulate": accumulate,
        "scale": 1 / target.pixels,
    }
    return [Lowered(avgpool_gradient_job, record, count)]
