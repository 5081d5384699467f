"""Which class is taken for which: blue where it is right, orange where it is not."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyyolo3.arrays import FloatArray, IntArray
from tinyyolo3.charts.canvas import (
    BLUE,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PALE,
    SMALL_PT,
    TEXT_PT,
    letters,
    new_figure,
    require_matplotlib,
    save_figure,
    shorten,
    width_inch,
    writable,
    write_title,
)
from tinyyolo3.errors import InputError, OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: A cell's side in inches: with room for a number, and without, where there are many.
_ROOMY_INCH, _TIGHT_INCH = 0.46, 0.155
#: So many rows have numbers in their cells.
_MOST_NUMBERED = 26
#: Of more rows cells shrink to keep the picture in this, and names go; of still more nothing is
#: left to see.
_LARGEST_INCH, MOST_CLASSES = 40.0, 1999
#: Shares are coloured by their square root: a few in a hundred are what one looks for.
_GAMMA = 0.5
_CORNER, _BACKGROUND = "object ↓ detected as →", "background"
_KEY = "1 of the row: blue is right, orange wrong"


def draw_confusion_matrix(
    path: str | Path,
    counts: IntArray,
    names: Sequence[str],
    *,
    title: str,
    subtitle: str = "",
) -> None:
    """Draw how often objects of each class were detected as each class.

    A cell's colour is its share of its row, the objects of one class; its number, where there is
    room for numbers, the count.

    Args:
        path: the PNG to write.
        counts: (C + 1, C + 1) objects of the row's class that were detected as the column's.
            The last row is background, for detections of nothing; the last column is for objects
            that were missed.
        names: (C,) the classes' names.
        title: what was evaluated.
        subtitle: what else must be known, in one line.

    Raises:
        InputError: the counts do not fit the names, or are negative.
        OutputError: matplotlib is missing, the file cannot be written, or there are more than
            `MOST_CLASSES` classes.
    """
    counts = np.asarray(counts)
    rows = len(names) + 1
    if counts.shape != (rows, rows) or (counts < 0).any():
        raise InputError(
            f"expected counts of shape ({rows}, {rows}) for {len(names)} classes, from 0, "
            f"found {counts.shape}"
        )
    if len(names) > MOST_CLASSES:
        raise OutputError(
            f"{path}: a confusion matrix of {len(names):,} classes is too large to draw "
            f"({MOST_CLASSES:,} at most)"
        )
    require_matplotlib(path)
    labels = [writable(shorten(name)) for name in names]
    numbered = rows <= _MOST_NUMBERED
    side = min(rows * (_ROOMY_INCH if numbered else _TIGHT_INCH), _LARGEST_INCH)
    size_pt = TEXT_PT if numbered else SMALL_PT
    margin = max(width_inch(label, size_pt) for label in [*labels, _BACKGROUND])
    totals = [f"{total:,}" for total in counts.sum(axis=1)]
    beside = 0.3 + max(width_inch(total, SMALL_PT) for total in totals)
    left, top = max(margin, width_inch(_CORNER, SMALL_PT)) + 0.35, margin + 0.95
    width = left + max(side + beside, 1.5 + width_inch(_KEY, SMALL_PT) + 0.2)
    height = top + side + 0.6
    figure = new_figure(path, width, height)
    write_title(figure, title, subtitle)
    axes = figure.add_axes((left / width, 0.6 / height, side / width, side / height))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = np.eye(rows, dtype=bool)[..., None]
    pixels = np.where(right, _paint(shares, BLUE), _paint(shares, ORANGE))
    axes.imshow(pixels, interpolation="nearest")
    if side < _LARGEST_INCH:
        _write_labels(axes, labels, totals)
    else:
        axes.set_axis_off()
    if numbered:
        _write_counts(axes, counts, shares)
    _write_key(figure.add_axes((left / width, 0.25 / height, 1.5 / width, 0.1 / height)))
    save_figure(figure, path)


def _write_labels(axes: "Axes", labels: Sequence[str], totals: Sequence[str]) -> None:
    """Name rows and columns; at the right, how many objects a row has."""
    rows = len(totals)
    places = np.arange(rows)
    size = TEXT_PT if rows <= _MOST_NUMBERED else SMALL_PT
    axes.set_xticks(places, [*labels, "missed"], rotation=90, **letters(size, INK))
    axes.set_yticks(places, [*labels, _BACKGROUND], **letters(size, INK))
    axes.tick_params(
        length=0, pad=3, top=True, labeltop=True, bottom=False, labelbottom=False, left=False
    )
    axes.set_xticks(places[1:] - 0.5, minor=True)
    axes.set_yticks(places[1:] - 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(visible=True, which="minor", color=PALE, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color(LINE)
    # Objects that were found apart from those that were missed and those that were none.
    axes.axhline(rows - 1.5, color=MUTED, linewidth=0.8)
    axes.axvline(rows - 1.5, color=MUTED, linewidth=0.8)
    for row, total in enumerate(totals):
        axes.text(
            rows - 0.25, row, total, ha="left", va="center_baseline",
            **letters(SMALL_PT, MUTED),
        )  # fmt: skip
    for place, note, side, shift in ((rows - 0.25, "n", "left", 0), (-0.5, _CORNER, "right", -4)):
        axes.annotate(
            note, (place, -0.5), (shift, 4), textcoords="offset points", ha=side, va="bottom",
            annotation_clip=False, **letters(SMALL_PT, MUTED),
        )  # fmt: skip


def _write_counts(axes: "Axes", counts: IntArray, shares: FloatArray) -> None:
    for row, column in np.argwhere(counts):
        ink = "white" if shares[row, column] > 0.35 else INK
        axes.text(
            column, row, _short(int(counts[row, column])), ha="center", va="center_baseline",
            **letters(SMALL_PT, ink),
        )  # fmt: skip


def _short(count: int) -> str:
    """Return a count in at most five characters: 9999, 12.3k, 4.5M."""
    if count < 10_000:
        return str(count)
    if count < 999_500:
        return f"{count / 1e3:.3g}k"
    return f"{count / 1e6:.3g}M"


def _write_key(axes: "Axes") -> None:
    """Say which colour is which share."""
    shares = np.linspace(0, 1, 101)[None]
    both = np.concatenate([_paint(shares, hue) for hue in (BLUE, ORANGE)])
    axes.imshow(both, aspect="auto", interpolation="nearest", extent=(0, 1, 0, 1))
    axes.set_axis_off()
    for place, note, side in (
        (-0.03, "0", "right"),
        (1.03, _KEY, "left"),
    ):
        axes.text(place, 0.5, note, ha=side, va="center_baseline", **letters(SMALL_PT, MUTED))


def _paint(shares: FloatArray, hue: str) -> FloatArray:
    """Return RGB (..., 3): white for nothing, and nearer to the hue the larger the share."""
    from matplotlib.colors import to_rgb

    colours: FloatArray = 1 - shares[..., None] ** _GAMMA * (1 - np.array(to_rgb(hue)))
    return colours
