"""A convolution's window, and a map's rows with the zeros around them that it sees."""

from dataclasses import dataclass
from typing import Any

from tinyyolo3.engine.cpu.vectors import BLOCK, copy_block, zero_block
from tinyyolo3.parallel import compiled


@dataclass(frozen=True)
class Window:
    """A convolution's window.

    Attributes:
        size: taps along an axis.
        stride: (stride_y, stride_x) in pixels.
        padding: rows and columns of zeros on each side, in pixels (with dilation already in it).
        dilation: pixels from tap to tap.
    """

    size: int
    stride: tuple[int, int] = (1, 1)
    padding: int = 0
    dilation: int = 1

    def fields(self) -> dict[str, int]:
        """Return a record's fields of these names."""
        return {
            "size": self.size,
            "stride_y": self.stride[0],
            "stride_x": self.stride[1],
            "dilation": self.dilation,
            "padding": self.padding,
        }


@compiled
def copy_padded(step: Any, source: int, top: int, rows: int, columns: int, target: int) -> None:
    """Copy rows of a block, `top` on, with zeros outside of the map."""
    first = step.padding
    end = min(columns, first + step.width)
    for y in range(top, top + rows):
        if y < 0 or y >= step.height:
            for x in range(columns):
                zero_block(target + x * BLOCK)
        else:
            line = source + y * step.width * BLOCK
            for x in range(min(first, columns)):
                zero_block(target + x * BLOCK)
            for x in range(first, end):
                copy_block(line + (x - first) * BLOCK, target + x * BLOCK)
            for x in range(max(first, end), columns):
                zero_block(target + x * BLOCK)
        target += columns * BLOCK
