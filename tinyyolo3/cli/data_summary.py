"""What ``tinyyolo3 data check`` prints of a whole set: classes, sizes of boxes, and the verdict."""

from collections import Counter
from typing import TYPE_CHECKING

from tinyyolo3.cli.tables import format_table

if TYPE_CHECKING:
    from tinyyolo3.data.check import FindingKind, Summary

#: Characters of the histogram's longest bar.
_BAR = 24
#: Columns of numbers, which stand at the right.
_RIGHT = frozenset({"class", "boxes", "pictures", "width", "height"})


def class_table(summary: "Summary") -> list[str]:
    """Return the lines of boxes and pictures per class."""
    rows = [
        (str(class_id), name, f"{boxes:,}", f"{pictures:,}")
        for class_id, (name, boxes, pictures) in enumerate(
            zip(summary.dataset.names, summary.boxes, summary.pictures_with, strict=True)
        )
    ]
    return format_table(("class", "name", "boxes", "pictures"), rows, right=_RIGHT)


def size_table(summary: "Summary") -> list[str]:
    """Return the histogram of box widths and heights, an octave a line."""
    from tinyyolo3.data.sizes import BINS_PER_OCTAVE

    sizes = summary.sizes
    if not sizes.total:
        return ["no boxes to measure"]
    widths, heights = (
        counts.reshape(-1, BINS_PER_OCTAVE).sum(axis=1) for counts in (sizes.widths, sizes.heights)
    )
    most = max(widths.max(), heights.max())
    filled = (widths + heights).nonzero()[0]
    rows = []
    for octave in range(filled[0], filled[-1] + 1):
        cells = [f"{2**octave} to {2 ** (octave + 1)}" if octave else "under 2"]
        for counts in (widths, heights):
            bar = "#" * round(_BAR * counts[octave] / most)
            cells += [f"{counts[octave] / sizes.total:.1%}", f"{bar:<{_BAR}}"]
        rows.append(cells)
    heads = ("box size, px", "width", " " * _BAR, "height", "")
    return format_table(heads, rows, right=_RIGHT)


def describe_summary(summary: "Summary") -> list[str]:
    """Return what was counted, and the verdict."""
    width, height = summary.sizes.input_px
    boxes = int(summary.boxes.sum())
    boxes_line = (
        f"{count_of(boxes, 'box', 'boxes')} in {count_of(len(summary.boxes), 'class', 'classes')}"
    )
    if summary.crowds:
        boxes_line += f", {count_of(summary.crowds, 'crowd')}"
    if summary.difficults:
        boxes_line += f", {summary.difficults:,} difficult"
    lines = [
        f"sizes as a network of {width} x {height} sees them, the picture stretched to its input",
        f"{count_of(summary.pictures, 'picture')}, {summary.empty:,} without boxes",
        boxes_line,
    ]
    if summary.remarks:
        lines.append(f"harmless: {_list_kinds(summary.remarks)}")
    if summary.problems:
        total = count_of(summary.problems.total(), "problem")
        lines.append(f"{total}: {_list_kinds(summary.problems)}")
    else:
        lines.append("no problems")
    return lines


def _list_kinds(found: "Counter[FindingKind]") -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in found.most_common())


def count_of(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 box``, ``2,000 boxes``."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
