"""The first layer: a 3 × 3 convolution straight from the picture.

A picture has 3 channels. Blocked, 13 of 16 lanes would be padding, and five sixths of the products
zeros. The matrix kernel does not mind where its single numbers come from: here a tile's rows are
neighbouring *columns of a plain picture*, and the runs of the sum are its channels and window rows,
three numbers each. All that is needed is a border of zeros around the picture: a job copies the few
rows that it reads into scratch memory, with zeros around them. That costs next to nothing, since it
has to fetch them anyway and finds them in its first-level cache afterwards. They come from far
away, though: while a job multiplies, the next one's rows are prefetched, a cache line with each run
of the sum. All at once, that took as long as it saved.

The map of a first layer is the largest of all. Where nobody reads it but a pooling that halves it,
two of its rows at a time are computed in scratch memory and pooled there: a quarter of it is
written, and nothing read again.
Reference: `tinyyolo3.layers.convolution.reference.conv_forward_reference`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from tinyyolo3.engine.cpu.microkernel import PANEL, ROWS, each_tile, store_tile, tile_sums
from tinyyolo3.engine.cpu.pooling import maximum_of_pairs
from tinyyolo3.engine.cpu.program import LINE, operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    Emit,
    as_floats,
    carray,
    integer,
    kernel,
    leaky,
    load,
    prefetch,
    shift,
    splat,
)
from tinyyolo3.parallel import compiled

#: The window's side.
SIZE = 3
#: Output rows of a job: few, so that what they see fits into the first-level cache, but enough that
#: few lines of the picture are fetched twice.
JOB_ROWS = 4


def emit_row(vectors: int, stride: int) -> Emit:
    """Return the emitter for a row of output pixels of one panel, `microkernel.ROWS` or more.

    ``f(a, channels, plane_bytes, line_bytes, b, c, c_stride, bias, width, ahead, ahead_plane,
    slope)``: `a` is the first pixel that the window sees in the first of so many channels; the
    lines of the picture from `ahead` on, and those of the next channels `ahead_plane` bytes further
    on, are prefetched: as many as a row is farther down the picture than the one before it.

    Args:
        vectors: of B's panel.
        stride: of both axes.
    """
    # A tile's share of the lines that are new to a row. With AVX-512 and a stride of 2 these are
    # three cache lines and a quarter: one with each row of the window. With 1 it is one at most.
    tile_bytes, apart = 4 * stride * stride * ROWS, 8 * LINE if stride > 1 else 0

    def emit(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
        a, channels, plane, line, b, c, c_stride, bias, width, ahead, ahead_plane, slope = arguments
        biases = [load(builder, shift(builder, bias, n * BLOCK)) for n in range(vectors)]
        slopes = splat(builder, slope)

        def tile(index: Any, first: Any) -> None:
            own = builder.add(ahead, builder.mul(index, integer(tile_bytes)))

            def prefetch_line(channel: Any, row: Any, _a_at: Any) -> None:
                place = builder.add(own, builder.mul(channel, ahead_plane))
                prefetch(builder, builder.add(place, builder.mul(row, integer(apart))))

            at = builder.add(a, builder.mul(first, integer(4 * stride)))
            product = [at, channels, plane, integer(SIZE), line, integer(1), b]
            sums = tile_sums(
                builder, product, biases * ROWS, vectors=vectors, unroll=SIZE,
                pixel_bytes=4 * stride, each_run=prefetch_line,
            )  # fmt: skip
            values = [leaky(builder, value, slopes) for value in sums]
            target = builder.add(c, builder.mul(first, integer(BLOCK)))
            store_tile(builder, values, target, c_stride, vectors)

        each_tile(builder, width, tile)

    return emit


def _kernel(vectors: int, stride: int) -> Any:
    return kernel(f"tinyyolo3_first_{vectors}_{stride}", emit_row(vectors, stride), 11, 1)


_full_1, _half_1, _full_2, _half_2 = _kernel(2, 1), _kernel(1, 1), _kernel(2, 2), _kernel(1, 2)


_FIELDS = (
    "source", "channels", "height", "width", "padding", "stride", "row_bytes", "plane_bytes",
    "out_height", "out_width", "panels", "half", "weights", "panel_bytes", "target",
    "target_stride", "bias", "slope",
)  # fmt: skip


def picture_lines(rows: int, stride: int) -> int:
    """Return how many lines of a picture so many output rows see."""
    return (rows - 1) * stride + SIZE


@compiled
def _copy_lines(step: Any, first: int, rows: int, scratch: int) -> None:
    """Copy the lines of the picture that some output rows see, with zeros around it."""
    top = first * step.stride - step.padding
    padded = step.width + 2 * step.padding
    for channel in range(step.channels):
        plane = step.source + 4 * channel * step.height * step.width
        for y in range(top, top + (rows - 1) * step.stride + SIZE):
            row = scratch + channel * step.plane_bytes + (y - top) * step.row_bytes
            target = carray(as_floats(row), padded)
            if y < 0 or y >= step.height:
                target[:] = 0
                continue
            target[: step.padding] = 0
            target[step.padding + step.width :] = 0
            source = carray(as_floats(plane + 4 * y * step.width), step.width)
            inner = target[step.padding : step.padding + step.width]
            for x in range(step.width):
                inner[x] = source[x]


@compiled
def _convolve_row(
    step: Any, scratch: int, first: int, n: int, panel: int, target: int, target_stride: int
) -> None:
    """Compute one output row of one panel.

    Args:
        step: the record.
        scratch: the address of the lines that the job's rows see.
        first: the job's first row.
        n: which of the job's rows.
        panel: which panel.
        target: where to; the panel's vectors are written
        target_stride: so many bytes apart.
    """
    a = scratch + n * step.stride * step.row_bytes
    # The next job's rows see these lines, and a few of this one's.
    below = (first + JOB_ROWS + n) * step.stride - step.padding + SIZE - step.stride
    ahead, ahead_plane = step.source + 4 * below * step.width, 4 * step.height * step.width
    b = step.weights + panel * step.panel_bytes
    bias = step.bias + panel * PANEL * BLOCK
    half = step.half == 1 and panel == step.panels - 1
    plane, line, slope = step.plane_bytes, step.row_bytes, np.float32(step.slope)
    channels, width = step.channels, step.out_width
    if step.stride == 1 and half:
        _half_1(
            a, channels, plane, line, b, target, target_stride, bias, width, ahead, ahead_plane,
            slope,
        )  # fmt: skip
    elif step.stride == 1:
        _full_1(
            a, channels, plane, line, b, target, target_stride, bias, width, ahead, ahead_plane,
            slope,
        )  # fmt: skip
    elif half:
        _half_2(
            a, channels, plane, line, b, target, target_stride, bias, width, ahead, ahead_plane,
            slope,
        )  # fmt: skip
    else:
        _full_2(
            a, channels, plane, line, b, target, target_stride, bias, width, ahead, ahead_plane,
            slope,
        )  # fmt: skip


@operation(*_FIELDS)
def first_layer_job(steps: Any, index: int, scratch: int) -> None:
    """`JOB_ROWS` output rows."""
    step = carray(steps, 1)[0]
    first = index * JOB_ROWS
    rows = min(JOB_ROWS, step.out_height - first)
    _copy_lines(step, first, rows, scratch)
    for panel in range(step.panels):
        for n in range(rows):
            place = panel * PANEL * step.target_stride + (first + n) * step.out_width * BLOCK
            target = step.target + place
            _convolve_row(step, scratch, first, n, panel, target, step.target_stride)


@operation(*_FIELDS)
def first_layer_pool_job(steps: Any, index: int, scratch: int) -> None:
    """The same of a map that is pooled: of each 2 × 2 pixels the maximum.

    `out_height` and `out_width` are the convolution's own, and even, as is `JOB_ROWS`.
    """
    step = carray(steps, 1)[0]
    first = index * JOB_ROWS
    rows = min(JOB_ROWS, step.out_height - first)
    _copy_lines(step, first, rows, scratch)
    lines = scratch + step.channels * step.plane_bytes
    row_bytes = step.out_width * BLOCK
    for panel in range(step.panels):
        half = step.half == 1 and panel == step.panels - 1
        for pair in range(0, rows, 2):
            for n in range(2):
                target = lines + n * row_bytes
                _convolve_row(step, scratch, first, pair + n, panel, target, 2 * row_bytes)
            for n in range(1 if half else PANEL):
                target = step.target + (panel * PANEL + n) * step.target_stride
                maximum_of_pairs(
                    lines + n * 2 * row_bytes, row_bytes,
                    target + (first + pair) // 2 * (row_bytes // 2), step.out_width // 2,
                )  # fmt: skip
