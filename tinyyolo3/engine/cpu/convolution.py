"""Convolutions as matrix products: 1 × 1 directly, any other window after im2col.

A 1 × 1 convolution *is* a matrix product over pixels, and a blocked map already lies as the matrix
kernel reads it: nothing is moved. For a larger window each output pixel's inputs are first copied
side by side (im2col), for some dozens of pixels at a time so that they stay in the second-level
cache (`im2col_multiply_job`), or, where the weights are what fills the cache, for all of them
(`im2col_job`, then `multiply_job`), so that each weight is read once.

Groups are merged by the packing until they fill whole blocks, with zeros between them.
Reference: `tinyyolo3.layers.convolution.reference.conv_forward_reference`.
"""

from typing import Any

import numpy as np

from tinyyolo3.engine.cpu.arithmetic import HALF_BLOCK, HAS_BFLOAT16, round_block
from tinyyolo3.engine.cpu.microkernel import (
    PANEL,
    ROWS,
    TILE_BYTES,
)
from tinyyolo3.engine.cpu.program import call_panel, operation
from tinyyolo3.engine.cpu.vectors import BLOCK, carray, copy_block, zero_block, zero_half_block
from tinyyolo3.parallel import compiled

#: The product's fields: B, C, epilogue.
_PRODUCT = (
    "kernel", "half_kernel", "tile_rows", "pixel_bytes", "steps", "panels", "half", "weights",
    "panel_bytes", "target", "target_stride", "bias", "residual", "residual_stride", "slope",
)  # fmt: skip


@compiled
def multiply_rows(
    step: Any,
    a: int,
    runs: int,
    run_stride: int,
    first: int,
    rows: int,
    panel: int,
    far: bool,
    scratch: int,
) -> None:
    """Multiply some pixels with one panel, tile by tile.

    Args:
        step: the record, with the product's fields.
        a: the address of the first pixel's first run,
        runs: how many runs there are,
        run_stride: and their distance in bytes.
        first: the first pixel's index in C,
        rows: and how many pixels.
        panel: which panel of B.
        far: whether the pixels come from beyond the second-level cache.
        scratch: memory for one tile.
    """
    b = step.weights + panel * step.panel_bytes
    block = panel * PANEL
    c = step.target + block * step.target_stride + first * BLOCK
    bias = step.bias + block * BLOCK
    residual = 0
    if step.residual != 0:
        residual = step.residual + block * step.residual_stride + first * BLOCK
    half = step.half == 1 and panel == step.panels - 1
    kernel = step.half_kernel if half else step.kernel
    slope = np.float32(step.slope)
    if rows >= step.tile_rows:
        call_panel(
            kernel, a, 1, 0, runs, run_stride, step.steps, b, c, step.target_stride, bias, residual,
            step.residual_stride, rows, 1 if far else 0, slope,
        )  # fmt: skip
        return
    # A map of fewer pixels than a tile has is computed in scratch memory, whatever lies behind its
    # pixels being computed too, and copied.
    call_panel(
        kernel, a, 1, 0, runs, run_stride, step.steps, b, scratch, ROWS * BLOCK, bias, residual,
        step.residual_stride, step.tile_rows, 0, slope,
    )  # fmt: skip
    for n in range(1 if half else PANEL):
        for i in range(rows):
            copy_block(scratch + (n * ROWS + i) * BLOCK, c + n * step.target_stride + i * BLOCK)


@operation(
    "source", "run_stride", "runs", "rounded", "pixels", "chunk", "panels_per_job", "by_chunk",
    "far", *_PRODUCT,
)  # fmt: skip
def multiply_job(steps: Any, index: int, scratch: int) -> None:
    """One chunk of pixels times some panels: a 1 × 1 convolution, or what im2col has spread out.

    A float32 map for a bfloat16 product is rounded in scratch memory first, unless im2col has done
    so already (`rounded`).
    """
    step = carray(steps, 1)[0]
    chunks = (step.pixels + step.chunk - 1) // step.chunk
    groups = (step.panels + step.panels_per_job - 1) // step.panels_per_job
    chunk, group = index % chunks, index // chunks
    if step.by_chunk == 1:
        chunk, group = index // groups, index % groups
    first = chunk * step.chunk
    rows = min(step.chunk, step.pixels - first)
    panel = group * step.panels_per_job
    a = step.source + first * step.pixel_bytes
    stride = step.run_stride
    if step.rounded == 0 and step.pixel_bytes == HALF_BLOCK:
        a, stride = scratch + TILE_BYTES, max(rows, ROWS) * HALF_BLOCK
        for run in range(step.runs):
            line = step.source + run * step.run_stride + first * BLOCK
            for i in range(rows):
                place_block(line + i * BLOCK, a + run * stride + i * HALF_BLOCK, HALF_BLOCK)
    for p in range(panel, min(step.panels, panel + step.panels_per_job)):
        # The job's other panels find the pixels nearer by.
        far = step.far == 1 and p == panel
        multiply_rows(step, a, step.runs, stride, first, rows, p, far, scratch)


@compiled
def place_block(source: int, target: int, pixel_bytes: int) -> None:
    """Copy one pixel's block, rounded to bfloat16 where `pixel_bytes` says so."""
    if HAS_BFLOAT16:  # a constant: elsewhere the instruction must not even be compiled
        if pixel_bytes == HALF_BLOCK:
            round_block(source, target)
        else:
            copy_block(source, target)
    else:
        copy_block(source, target)


#: Where a window's pixels lie in the map.
_WINDOW = (
    "source", "source_stride", "blocks", "height", "width", "out_height", "out_width", "size",
    "stride_y", "stride_x", "dilation", "padding", "pixels", "chunk",
)  # fmt: skip


@compiled
def gather_window(
    step: Any, block: int, tap_y: int, tap_x: int, first: int, rows: int, target: int
) -> None:
    """Copy one position of the window for some output pixels: one block each, zero outside."""
    line = first // step.out_width
    x = first - line * step.out_width
    # Several pictures' maps may lie one after the other.
    image = line // step.out_height
    y = line - image * step.out_height
    image_bytes = step.height * step.width * BLOCK
    plane = step.source + block * step.source_stride + image * image_bytes
    pixel_bytes = step.pixel_bytes
    shift_y = tap_y * step.dilation - step.padding
    shift_x = tap_x * step.dilation - step.padding
    for _ in range(rows):
        in_y = y * step.stride_y + shift_y
        in_x = x * step.stride_x + shift_x
        if 0 <= in_y < step.height and 0 <= in_x < step.width:
            place_block(plane + (in_y * step.width + in_x) * BLOCK, target, pixel_bytes)
        elif pixel_bytes == BLOCK:
            zero_block(target)
        else:
            zero_half_block(target)
        target += pixel_bytes
        x += 1
        if x == step.out_width:
            x = 0
            y += 1
            if y == step.out_height:
                y = 0
                plane += image_bytes


@operation(*_WINDOW, "pixel_bytes", "target")
def im2col_job(steps: Any, index: int, _scratch: int) -> None:
    """One position of the window in one block, for all pixels."""
    step = carray(steps, 1)[0]
    block = index // (step.size * step.size)
    tap = index - block * step.size * step.size
    tap_y = tap // step.size
    target = step.target + index * step.pixels * step.pixel_bytes
    gather_window(step, block, tap_y, tap - tap_y * step.size, 0, step.pixels, target)


@operation(*_WINDOW, "panels_per_job", *_PRODUCT)
def im2col_multiply_job(steps: Any, index: int, scratch: int) -> None:
    """One chunk of output pixels: im2col into scratch memory, then all its panels."""
    step = carray(steps, 1)[0]
    chunks = (step.pixels + step.chunk - 1) // step.chunk
    first = (index % chunks) * step.chunk
    rows = min(step.chunk, step.pixels - first)
    panel = (index // chunks) * step.panels_per_job
    # Behind the tile that `multiply_rows` may need; a full tile reads at least ROWS pixels.
    columns = scratch + TILE_BYTES
    stride = max(rows, ROWS) * step.pixel_bytes
    run = columns
    for block in range(step.blocks):
        for tap_y in range(step.size):
            for tap_x in range(step.size):
                gather_window(step, block, tap_y, tap_x, first, rows, run)
                run += stride
    runs = step.blocks * step.size * step.size
    for p in range(panel, min(step.panels, panel + step.panels_per_job)):
        multiply_rows(step, columns, runs, stride, first, rows, p, False, scratch)
