"""Precision over recall: a panel for each IoU, its classes thin and their mean thick."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.charts.canvas import (
    HUES,
    INK,
    MUTED,
    SMALL_PT,
    TEXT_PT,
    letters,
    name_axes,
    new_figure,
    save_figure,
    shorten,
    style_axes,
    writable,
    write_title,
)
from tinyyolo3.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: So many classes have a colour and a name each; of more, the best and the worst.
_FEW = 8
_NAMED = 3
_COLUMNS = 3
_PANEL_INCH = 3.1
#: In characters: two columns of names fit under a panel.
_LONGEST_NAME = 16
_CROWD = "#a9c3d6"


def draw_precision_recall(
    path: str | Path,
    recall: FloatArray,
    precision: FloatArray,
    average_precision: FloatArray,
    *,
    iou_thresholds: Sequence[float],
    names: Sequence[str],
    title: str,
    subtitle: str = "",
) -> None:
    """Draw each class's precision over recall, and the mean of the classes.

    Args:
        path: the PNG to write.
        recall: (R,) the recalls at which precision is given, rising, 0 to 1.
        precision: (T, C, R) for each IoU threshold and class, 0 to 1; NaN where a class has no
            objects, which then has no line and no part in the mean.
        average_precision: (T, C) what the legend says, by whichever rule it was computed; NaN where
            there is none.
        iou_thresholds: (T,) a panel each, at least one.
        names: (C,) the classes' names.
        title: what was evaluated.
        subtitle: what else must be known, in one line.

    Raises:
        InputError: the arrays do not fit together.
        OutputError: matplotlib is missing, or the file cannot be written.
    """
    recall, precision = np.asarray(recall, np.float64), np.asarray(precision, np.float64)
    scores = np.asarray(average_precision, np.float64)
    expected = (len(iou_thresholds), len(names), len(recall))
    if precision.shape != expected or scores.shape != expected[:2] or 0 in expected[::2]:
        raise InputError(
            f"expected precision of shape (thresholds, classes, recalls) = {expected} and "
            f"average_precision of {expected[:2]}, found {precision.shape} and {scores.shape}"
        )
    columns = min(len(iou_thresholds), _COLUMNS)
    rows = math.ceil(len(iou_thresholds) / columns)
    lines = 2 + (_NAMED if len(names) > _FEW else len(names) // 2)
    below = 0.55 + 0.145 * lines  # the axis' name, and the legend
    right = 0.62 + columns * (_PANEL_INCH + 0.45) - 0.45
    width = max(right + 0.25, 5.6)  # room for the title
    height = 1.0 + rows * (_PANEL_INCH + below + 0.3)
    figure = new_figure(path, width, height)
    write_title(figure, title, subtitle)
    grid = figure.add_gridspec(
        rows, columns, left=0.62 / width, right=right / width, top=1 - 1.0 / height,
        bottom=(below + 0.1) / height, wspace=0.45 / _PANEL_INCH,
        hspace=(below + 0.3) / _PANEL_INCH,
    )  # fmt: skip
    for panel, threshold in enumerate(iou_thresholds):
        axes = figure.add_subplot(grid[panel // columns, panel % columns])
        _draw_panel(axes, recall, precision[panel], scores[panel], names)
        axes.set_title(f"IoU {threshold:.2f}", loc="left", pad=6, **letters(TEXT_PT, INK))
        name_axes(axes, "recall", "precision" if panel % columns == 0 else "")
    save_figure(figure, path)


def _draw_panel(
    axes: "Axes",
    recall: FloatArray,
    precision: FloatArray,
    average_precision: FloatArray,
    names: Sequence[str],
) -> None:
    present = np.flatnonzero(~np.isnan(precision).any(axis=1))
    ranked = present[np.argsort(-average_precision[present], kind="stable")]
    if len(ranked) > _FEW:
        named = [*ranked[:_NAMED], *ranked[-_NAMED:]]
        colours = [*HUES[:_NAMED], *HUES[_NAMED : 2 * _NAMED]]
        axes.plot(recall, precision[ranked].T, color=_CROWD, linewidth=0.6, alpha=0.6)
    else:
        named, colours = list(ranked), list(HUES)
    for number, colour in zip(named, colours, strict=False):
        label = (
            f"{average_precision[number]:.3f}  {writable(shorten(names[number], _LONGEST_NAME))}"
        )
        axes.plot(recall, precision[number], color=colour, linewidth=1.1, label=label)
    if len(present):
        mean = precision[present].mean(axis=0)
        label = f"{average_precision[present].mean():.3f}  mean of {len(present)}"
        axes.plot(recall, mean, color=INK, linewidth=2.4, label=label)
    style_axes(axes)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    ticks = np.linspace(0, 1, 6)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks.round(1)], **letters(SMALL_PT, MUTED))
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks.round(1)], **letters(SMALL_PT, MUTED))
    _write_legend(axes)


def _write_legend(axes: "Axes") -> None:
    """List AP and names under a panel: the mean first, then the best, then the worst."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        axes.text(
            0.5, 0.5, "no class has objects", ha="center", va="center", **letters(TEXT_PT, MUTED)
        )
        return
    legend = axes.legend(
        [handles[-1], *handles[:-1]], [labels[-1], *labels[:-1]],
        loc="upper left", bbox_to_anchor=(0, -0.135), ncols=2, title="AP", alignment="left",
        handlelength=1.4, labelspacing=0.3, columnspacing=1.2, frameon=False, borderpad=0,
        borderaxespad=0,
    )  # fmt: skip
    for line in (*legend.get_texts(), legend.get_title()):
        line.set(**letters(SMALL_PT, MUTED))
