"""The first layer: a 3 × 3 convolution straight from the picture.

A picture has 3 channels. Blocked, 13 of 16 lanes would be padding, and five sixths of the products
zeros. The matrix kernel does not mind where its single numbers come from: here a tile's rows are
neighbouring *columns of a plain picture*, and the runs of the sum are its channels and window rows,
three numbers each. All that is needed is a border of zeros around the picture (`pad_picture_job`).
Reference: `tinyyolo3.layers.convolution.reference.conv_forward_reference`.
"""

from typing import Any

import numpy as np

from tinyyolo3.engine.cpu.microkernel import PANEL, with_epilogue
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
    "source", "row_bytes", "plane_bytes", "channels", "out_width", "panels", "half", "weights",
    "panel_bytes", "target", "target_stride", "bias", "slope",
)  # fmt: skip


@compiled
def _panel_addresses(step: Any, panel: int, row: int) -> tuple[int, int, int]:
    b = step.weights + panel * step.panel_bytes
    c = step.target + panel * PANEL * step.target_stride + row * step.out_width * BLOCK
    return b, c, step.bias + panel * PANEL * BLOCK


@operation(*_FIELDS)
def first_layer_job(steps: Any, index: int, _scratch: int) -> None:
    """One output row, at a stride of 1."""
    step = carray(steps, 1)[0]
    a = step.source + index * step.row_bytes
    slope = np.float32(step.slope)
    for panel in range(step.panels):
        b, c, bias = _panel_addresses(step, panel, index)
        if step.half == 1 and panel == step.panels - 1:
            _half_1(
                a, step.channels, step.plane_bytes, SIZE, step.row_bytes, 1, b, c,
                step.target_stride, bias, 0, 0, step.out_width, slope,
            )  # fmt: skip
        else:
            _full_1(
                a, step.channels, step.plane_bytes, SIZE, step.row_bytes, 1, b, c,
                step.target_stride, bias, 0, 0, step.out_width, slope,
            )  # fmt: skip


@operation(*_FIELDS)
def first_layer_stride_2_job(steps: Any, index: int, _scratch: int) -> None:
    """One output row, at a stride of 2."""
    step = carray(steps, 1)[0]
    a = step.source + 2 * index * step.row_bytes
    slope = np.float32(step.slope)
    for panel in range(step.panels):
        b, c, bias = _panel_addresses(step, panel, index)
        if step.half == 1 and panel == step.panels - 1:
            _half_2(
                a, step.channels, step.plane_bytes, SIZE, step.row_bytes, 1, b, c,
                step.target_stride, bias, 0, 0, step.out_width, slope,
            )  # fmt: skip
        else:
            _full_2(
                a, step.channels, step.plane_bytes, SIZE, step.row_bytes, 1, b, c,
                step.target_stride, bias, 0, 0, step.out_width, slope,
            )  # fmt: skip
