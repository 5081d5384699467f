"""How a training goes: loss and its parts, learning rate and average precision over iterations."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.charts.canvas import (
    BLUE,
    HUES,
    INK,
    MUTED,
    SMALL_PT,
    letters,
    name_axes,
    new_figure,
    save_figure,
    style_axes,
    writable,
    write_title,
)
from tinyyolo3.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: A line is drawn of the means of so many stretches: more would be a band.
_MOST_POINTS = 400
_PANEL_INCH = (2.6, 1.1, 1.8)  # loss, rate, precision


def draw_training(
    path: str | Path,
    iterations: FloatArray,
    loss: FloatArray,
    parts: Mapping[str, FloatArray],
    rates: FloatArray,
    *,
    measured_at: FloatArray | None = None,
    measures: Mapping[str, FloatArray] | None = None,
    title: str,
    subtitle: str = "",
) -> None:
    """Draw loss, rate and, if any was measured, precision, one above the other.

    Args:
        path: the PNG to write.
        iterations: (N,) at least one, rising.
        loss: (N,) of each iteration; what is no positive number leaves a gap.
        parts: what the loss is made of, by what it is called, (N,) each.
        rates: (N,) the learning rates.
        measured_at: (V,) after which iterations precision was measured; None for never.
        measures: average precisions by what they are called, (V,) each, 0 to 1.
        title: what was trained.
        subtitle: what else must be known, in one line.

    Raises:
        InputError: the arrays do not fit together.
        OutputError: matplotlib is missing, or the file cannot be written.
    """
    lines = {"loss": loss, "rates": rates, **parts}
    lengths = {name: np.shape(values) for name, values in lines.items()}
    if not len(iterations) or any(shape != (len(iterations),) for shape in lengths.values()):
        raise InputError(f"expected {len(iterations)} values of each, at least one, not {lengths}")
    measured = measured_at is not None and measures is not None and len(measured_at) > 0
    panels = _PANEL_INCH if measured else _PANEL_INCH[:2]
    width, height = 8.0, 1.4 + sum(panels) + 0.35 * (len(panels) - 1)
    figure = new_figure(path, width, height)
    write_title(figure, title, subtitle)
    grid = figure.add_gridspec(
        len(panels), 1, left=0.75 / width, right=1 - 0.3 / width, top=1 - 0.85 / height,
        bottom=0.55 / height, height_ratios=panels, hspace=0.35 * len(panels) / sum(panels),
    )  # fmt: skip
    axes = [figure.add_subplot(grid[row, 0]) for row in range(len(panels))]
    _draw_loss(axes[0], iterations, loss, parts)
    axes[1].plot(iterations, rates, color=BLUE, linewidth=1.2)
    axes[1].set_ylim(bottom=0)
    _set_ticks(axes[1].yaxis, _even(*axes[1].get_ylim(), most=4))
    name_axes(axes[1], "", "learning rate")
    if measured and measured_at is not None and measures is not None:
        _draw_measures(axes[2], measured_at, measures)
    for panel in axes:
        style_axes(panel)
        # One iteration alone is drawn in the middle.
        margin = 0.5 if len(iterations) == 1 else 0
        panel.set_xlim(iterations[0] - margin, iterations[-1] + margin)
        _set_ticks(panel.xaxis, _even(*panel.get_xlim(), most=9, integer=True))
    figure.align_ylabels(axes)
    name_axes(axes[-1], "iteration", axes[-1].get_ylabel())
    save_figure(figure, path)


def _draw_loss(
    axes: "Axes", iterations: FloatArray, loss: FloatArray, parts: Mapping[str, FloatArray]
) -> None:
    lines = [("loss", loss, INK, 2.0)]
    lines += [
        (name, values, colour, 1.1)
        for (name, values), colour in zip(parts.items(), HUES, strict=False)
    ]
    for name, values, colour, line in lines:
        at, means = _means(iterations, np.where(np.isfinite(values) & (values > 0), values, np.nan))
        marker = "o" if len(at) == 1 else None
        axes.plot(at, means, color=colour, linewidth=line, marker=marker, label=writable(name))
    axes.set_yscale("log")
    _set_ticks(axes.yaxis, _steps_of_decades(*axes.get_ylim()))
    name_axes(axes, "", "loss")
    _write_legend(axes)


def _draw_measures(axes: "Axes", at: FloatArray, measures: Mapping[str, FloatArray]) -> None:
    for (name, values), colour in zip(measures.items(), HUES, strict=False):
        label = f"{np.nanmax(values):.3f}  {writable(name)}, at best"
        axes.plot(at, values, color=colour, linewidth=1.4, marker="o", markersize=3, label=label)
    axes.set_ylim(0, 1.02)
    _set_ticks(axes.yaxis, np.linspace(0, 1, 6))
    name_axes(axes, "", "average precision")
    _write_legend(axes, "lower right")


def _means(iterations: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the means of equal stretches; a stretch without any number is left out."""
    count = min(_MOST_POINTS, len(values))
    at, means = [], []
    for stretch in np.array_split(np.arange(len(values)), count):
        own = values[stretch]
        if not np.isnan(own).all():
            at.append(iterations[stretch].mean())
            means.append(np.nanmean(own))
    return np.array(at), np.array(means)


def _even(low: float, high: float, *, most: int, integer: bool = False) -> FloatArray:
    """Return round numbers at equal distances from one limit to the other."""
    from matplotlib.ticker import MaxNLocator

    values = np.asarray(MaxNLocator(most, integer=integer).tick_values(low, high))
    return values[(values >= low) & (values <= high)]


def _steps_of_decades(low: float, high: float) -> FloatArray:
    """Return 1, 2 and 5 of each decade between the limits, or of many decades 1 alone."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    values = np.outer(decades, (1, 2, 5) if len(decades) < 5 else (1,)).ravel()
    return values[(values >= low) & (values <= high)]


def _set_ticks(axis: "Axis", values: FloatArray) -> None:
    """Put ticks and their numbers at these values, and nowhere else."""
    axis.set_ticks(values, [f"{value:g}" for value in values], **letters(SMALL_PT, MUTED))
    axis.set_ticks([], minor=True)


def _write_legend(axes: "Axes", place: str = "upper right") -> None:
    legend = axes.legend(loc=place, frameon=False, handlelength=1.4, labelspacing=0.3)
    for text in legend.get_texts():
        text.set(**letters(SMALL_PT, MUTED))
