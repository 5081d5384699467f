"""Tables of text: aligned columns, and shapes as Darknet prints them at start-up."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyyolo3.engine.cpu.report import StepReport
    from tinyyolo3.layers.shapes import Shape


def format_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[str]
) -> list[str]:
    """Return a line of heads, then one per row, in columns as wide as their widest cell.

    Args:
        heads: the columns' names.
        rows: a cell for each column.
        right: the heads of columns that stand at the right, those of numbers.
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            f"{cell:>{width}}" if head in right else f"{cell:<{width}}"
            for head, cell, width in zip(heads, cells, widths, strict=True)
        ).rstrip()
        for cells in (heads, *rows)
    ]


def shapes_column(
    inputs: "Sequence[Shape]", outputs: "Sequence[Shape]", arrow: str
) -> tuple[str, list[str]]:
    """Return the head and the cells of a column of ``input → output``, their parts aligned."""
    before, after = _align_shapes(inputs), _align_shapes(outputs)
    width = max(map(len, before))
    head = f"{'input':<{width}} {' ' * len(arrow)} output"
    return head, [f"{a} {arrow} {b}" for a, b in zip(before, after, strict=True)]


def _align_shapes(shapes: "Sequence[Shape]") -> list[str]:
    """Return shapes as Darknet prints them, ``416 x 416 x   3``, their numbers aligned."""
    whc = [(width, height, channels) for channels, height, width in shapes]
    widths = [max(len(str(side)) for side in sides) for sides in zip(*whc, strict=True)]
    return [
        " x ".join(f"{side:{width}}" for side, width in zip(sides, widths, strict=True))
        for sides in whc
    ]


def layers_text(step: "StepReport") -> str:
    """Return the layers that a step computes: ``3``, ``3+4`` for a shortcut added in one go."""
    return "+".join(map(str, step.layers)) or "input"


def find_arrow() -> str:
    """Return an arrow that standard output's encoding has."""
    try:
        "→".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return "->"
    return "→"
