"""Winograd's convolution for 3 × 3 windows: fewer multiplications, in three stages.

1. *Input transform*: each tile of the map (m × m output pixels and the border that they see)
   becomes `products²` numbers per channel.
2. *Products*: for each of those positions, a matrix product over the channels: tiles × channels by
   channels × filters. All the multiplications are here, 4 (F(4,3)) or 3.24 (F(3,3)) times fewer
   than by the definition, in the same matrix kernel as everything else.
3. *Output transform*: the sums become m × m pixels, with bias, activation and residual.

Done one after the other for the whole layer, the stages would pass everything through main memory.
With few channels, a job takes a block of tiles through all three within its second-level cache
(`winograd_fused_job`). With many, the weights are larger than the inputs: the first stage is done
for all tiles (`winograd_input_job`, a job per block of channels), then each job takes one panel of
filters through the other two (`winograd_output_job`), reading each weight once.

Where nobody reads the map but a pooling that halves it, a tile is pooled before it is written: with
4 × 4 pixels it has whole windows of 2 × 2.

Several pictures' maps may lie one after the other in each block; their tiles are counted through,
so that a batch shares each weight that is read.

The mathematics is in `toom_cook`. What it equals, up to rounding:
`tinyyolo3.layers.convolution.reference.conv_forward_reference`.
"""

from typing import Any

import numpy as np

from tinyyolo3.engine.cpu.microkernel import PANEL, ROWS, UNROLL, multiply_raw
from tinyyolo3.engine.cpu.pooling import maximum_of_pairs
from tinyyolo3.engine.cpu.program import call_input_transform, call_output_transform, operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    LANES,
    add_block,
    carray,
    copy_block,
    read_int,
    zero_block,
)
from tinyyolo3.parallel import compiled

#: Bytes of scratch for one tile at the map's edge.
EDGE_BYTES = 9 * 9 * BLOCK

_FIELDS = (
    "transform", "back", "m", "products", "extent", "stride", "padding",
    "source", "source_stride", "blocks", "height", "width", "out_height", "out_width",
    "tiles_x", "image_tiles", "tiles", "padded_tiles", "weights", "distinct", "order", "panels",
    "half", "pools", "target", "target_stride", "bias", "residual", "residual_stride", "slope",
)  # fmt: skip


@compiled
def find_tile(step: Any, tile: int) -> tuple[int, int, int]:
    """Return a tile's picture, and its row and column among that picture's tiles."""
    image = tile // step.image_tiles
    tile -= image * step.image_tiles
    tile_y = tile // step.tiles_x
    return image, tile_y, tile - tile_y * step.tiles_x


@compiled
def transform_inputs(
    step: Any, block: int, first: int, count: int, target: int, scratch: int
) -> None:
    """Transform tiles of one block of channels; `target` is the first tile's first product."""
    row = step.width * BLOCK
    product = step.padded_tiles * BLOCK
    extent = step.extent
    for i in range(count):
        image, tile_y, tile_x = find_tile(step, first + i)
        y = tile_y * step.m * step.stride - step.padding
        x = tile_x * step.m * step.stride - step.padding
        plane = step.source + block * step.source_stride + image * step.height * row
        inside = y >= 0 and x >= 0 and y + extent <= step.height and x + extent <= step.width
        if inside:
            source = plane + y * row + x * BLOCK
            call_input_transform(step.transform, source, row, target + i * BLOCK, product)
            continue
        for dy in range(extent):
            for dx in range(extent):
                at = scratch + (dy * extent + dx) * BLOCK
                if 0 <= y + dy < step.height and 0 <= x + dx < step.width:
                    copy_block(plane + (y + dy) * row + (x + dx) * BLOCK, at)
                else:
                    zero_block(at)
        call_input_transform(step.transform, scratch, extent * BLOCK, target + i * BLOCK, product)


@compiled
def multiply_products(step: Any, panel: int, rows: int, inputs: int, sums: int) -> None:
    """Multiply the transformed tiles with one panel of transformed weights.

    Args:
        step: the record.
        panel: which panel.
        rows: tiles, rounded up to whole tiles of the matrix kernel.
        inputs: transformed inputs: (blocks, products², padded tiles) blocks of channels.
        sums: where to write: (2, products², padded tiles).
    """
    squares = step.products * step.products
    product = step.padded_tiles * BLOCK
    run = squares * product
    panel_bytes = step.blocks * LANES * PANEL * BLOCK
    base = step.weights + panel * step.distinct * panel_bytes
    for z in range(squares):
        position = read_int(step.order + z * 16)
        b = base + read_int(step.order + z * 16 + 8) * panel_bytes
        ahead = base + read_int(step.order + z * 16 + 24) * panel_bytes
        for i in range(0, rows, ROWS):
            at = position * product + i * BLOCK
            multiply_raw(
                inputs + at, 1, 0, step.blocks, run, LANES // UNROLL, b, sums + at, run, ahead
            )
            # The next panel is fetched in two halves, by the first two tiles.
            ahead = ahead + panel_bytes // 2 if i == 0 else b


@compiled
def transform_outputs(
    step: Any, block: int, first: int, count: int, sums: int, scratch: int
) -> None:
    """Transform the sums of some tiles back into pixels of one block of filters.

    Where `pools` is set these are pooled first, two by two; the map's sides are even then.
    """
    product = step.padded_tiles * BLOCK
    row = step.out_width * BLOCK
    plane = step.target + block * step.target_stride
    other = step.residual + block * step.residual_stride if step.residual != 0 else 0
    bias = step.bias + block * BLOCK
    slope = np.float32(step.slope)
    for i in range(count):
        image, tile_y, tile_x = find_tile(step, first + i)
        y = tile_y * step.m
        x = tile_x * step.m
        offset = (image * step.out_height + y) * row + x * BLOCK
        if step.pools == 1:
            line = step.m * BLOCK
            call_output_transform(
                step.back, sums + i * BLOCK, product, scratch, line, bias, 0, 0, slope
            )
            # Half as many rows, half as long.
            corner = plane + (image * step.out_height + y) // 2 * row // 2 + x // 2 * BLOCK
            columns = min(step.m, step.out_width - x) // 2
            for dy in range(min(step.m, step.out_height - y) // 2):
                maximum_of_pairs(scratch + 2 * dy * line, line, corner + dy * row // 2, columns)
            continue
        if y + step.m <= step.out_height and x + step.m <= step.out_width:
            residual = other + offset if other != 0 else 0
            call_output_transform(
                step.back, sums + i * BLOCK, product, plane + offset, row, bias, residual, row,
                slope,
            )  # fmt: skip
            continue
        call_output_transform(
            step.back, sums + i * BLOCK, product, scratch, step.m * BLOCK, bias, 0, 0, slope
        )
        for dy in range(min(step.m, step.out_height - y)):
            for dx in range(min(step.m, step.out_width - x)):
                at = scratch + (dy * step.m + dx) * BLOCK
                pixel = offset + dy * row + dx * BLOCK
                if other != 0:
                    add_block(at, other + pixel, plane + pixel)
                else:
                    copy_block(at, plane + pixel)


@compiled
def finish_panel(
    step: Any, panel: int, first: int, count: int, inputs: int, sums: int, scratch: int
) -> None:
    """Take one panel of filters through the products and back to pixels."""
    rows = (count + ROWS - 1) // ROWS * ROWS
    multiply_products(step, panel, rows, inputs, sums)
    squares = step.products * step.products
    half = step.half == 1 and panel == step.panels - 1
    for n in range(1 if half else PANEL):
        at = sums + n * squares * step.padded_tiles * BLOCK
        transform_outputs(step, panel * PANEL + n, first, count, at, scratch)


@operation(*_FIELDS, "jobs")
def winograd_fused_job(steps: Any, index: int, scratch: int) -> None:
    """A block of tiles through all three stages."""
    step = carray(steps, 1)[0]
    rows = (step.tiles + ROWS - 1) // ROWS
    first = index * rows // step.jobs * ROWS
    count = min(step.tiles, (index + 1) * rows // step.jobs * ROWS) - first
    squares = step.products * step.products
    inputs = scratch + EDGE_BYTES
    run = squares * step.padded_tiles * BLOCK
    sums = inputs + step.blocks * run
    for block in range(step.blocks):
        transform_inputs(step, block, first, count, inputs + block * run, scratch)
    for panel in range(step.panels):
        finish_panel(step, panel, first, count, inputs, sums, scratch)


@operation(*_FIELDS, "inputs")
def winograd_input_job(steps: Any, index: int, scratch: int) -> None:
    """The first stage: all tiles of one block of channels, into memory that the jobs share."""
    step = carray(steps, 1)[0]
    run = step.products * step.products * step.padded_tiles * BLOCK
    transform_inputs(step, index, 0, step.tiles, step.inputs + index * run, scratch)


@operation(*_FIELDS, "inputs")
def winograd_output_job(steps: Any, index: int, scratch: int) -> None:
    """The other stages: all tiles of one panel of filters."""
    step = carray(steps, 1)[0]
    sums = scratch + EDGE_BYTES
    finish_panel(step, index, 0, step.tiles, step.inputs, sums, scratch)
