"""The first layer: a 3 × 3 convolution straight from the picture.

A picture has 3 channels. Blocked, 13 of 16 lanes would be padding, and five sixths of the products
zeros. The matrix kernel does not mind where its single numbers come from: here a tile's rows are
neighbouring *columns of a plain picture*, and the runs of the sum are its channels and window rows,
three numbers each. All that is needed is a border of zeros around the picture (`pad_picture_job`).

The map of a first layer is the largest of all. Where nobody reads it but a pooling that halves it,
two of its rows at a time are computed in scratch memory and pooled there: a quarter of it is
written, and nothing read again.
Reference: `tinyyolo3.layers.convolution.reference.conv_forward_reference`.
"""

from typing import Any

import numpy as np

from tinyyolo3.engine.cpu.microkernel import PANEL, with_epilogue
from tinyyolo3.engine.cpu.pooling import maximum_of_pairs
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import BLOCK, as_floats, carray, kernel
from tinyyolo3.parallel import compiled

#: The window's side.
SIZE = 3


def _kernel(vectors: int, stride: int) -> Any:
    emit = with_epilogue(vectors, unroll=SIZE, pixel_bytes=4 * stride)
    return kernel(f"tinyyolo3_first_{vectors}_{stride}", emit, 13, 1)


_full_1, _half_1, _full_2, _half_2 = _kernel(2, 1), _kernel(1, 1), _kernel(2, 2), _kernel(1, 2)


@operation("source", "height", "width", "padding", "target", "row_bytes", "plane_bytes")
def pad_picture_job(steps: Any, index: int, _scratch: int) -> None:
    """One row of one channel, with the zeros around it."""
    step = carray(steps, 1)[0]
    rows = step.height + 2 * step.padding
    channel = index // rows
    y = index - channel * rows - step.padding
    row = step.target + channel * step.plane_bytes + (y + step.padding) * step.row_bytes
    target = carray(as_floats(row), step.width + 2 * step.padding)
    if y < 0 or y >= step.height:
        target[:] = 0
        return
    for x in range(step.padding):
        target[x] = 0
        target[step.width + step.padding + x] = 0
    source = carray(
        as_floats(step.source + 4 * (channel * step.height + y) * step.width), step.width
    )
    inner = target[step.padding : step.padding + step.width]
    for x in range(step.width):
        inner[x] = source[x]


_FIELDS = (
    "source", "row_bytes", "plane_bytes", "channels", "stride", "out_width", "panels", "half",
    "weights", "panel_bytes", "target", "target_stride", "bias", "slope",
)  # fmt: skip


@compiled
def _convolve_row(step: Any, row: int, panel: int, target: int, target_stride: int) -> None:
    """Compute one output row of one panel; its vectors are written `target_stride` bytes apart."""
    a = step.source + row * step.stride * step.row_bytes
    b = step.weights + panel * step.panel_bytes
    bias = step.bias + panel * PANEL * BLOCK
    half = step.half == 1 and panel == step.panels - 1
    plane, line, slope = step.plane_bytes, step.row_bytes, np.float32(step.slope)
    channels, width = step.channels, step.out_width
    if step.stride == 1 and half:
        _half_1(
            a, channels, plane, SIZE, line, 1, b, target, target_stride, bias, 0, 0, width, slope
        )
    elif step.stride == 1:
        _full_1(
            a, channels, plane, SIZE, line, 1, b, target, target_stride, bias, 0, 0, width, slope
        )
    elif half:
        _half_2(
            a, channels, plane, SIZE, line, 1, b, target, target_stride, bias, 0, 0, width, slope
        )
    else:
        _full_2(
            a, channels, plane, SIZE, line, 1, b, target, target_stride, bias, 0, 0, width, slope
        )


@operation(*_FIELDS)
def first_layer_job(steps: Any, index: int, _scratch: int) -> None:
    """One output row."""
    step = carray(steps, 1)[0]
    for panel in range(step.panels):
        target = step.target + panel * PANEL * step.target_stride + index * step.out_width * BLOCK
        _convolve_row(step, index, panel, target, step.target_stride)


@operation(*_FIELDS)
def first_layer_pool_job(steps: Any, index: int, scratch: int) -> None:
    """Two rows, and of each 2 × 2 of their pixels the maximum: one row of the pooled map.

    `out_width` is the convolution's own, and even.
    """
    step = carray(steps, 1)[0]
    row_bytes = step.out_width * BLOCK
    for panel in range(step.panels):
        for n in range(2):
            _convolve_row(step, 2 * index + n, panel, scratch + n * row_bytes, 2 * row_bytes)
        half = step.half == 1 and panel == step.panels - 1
        for n in range(1 if half else PANEL):
            target = step.target + (panel * PANEL + n) * step.target_stride
            maximum_of_pairs(
                scratch + n * 2 * row_bytes, row_bytes, target + index * row_bytes // 2,
                step.out_width // 2,
            )  # fmt: skip
