"""How large the boxes of a data set are: small multiples of one scale, and width against height."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyyolo3.arrays import FloatArray, IntArray
from tinyyolo3.charts.canvas import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    SMALL_PT,
    TEXT_PT,
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

#: Shapes that are drawn as lines through width against height.
_SHAPES = ((1 / 4, "1 : 4"), (1.0, "1 : 1"), (4.0, "4 : 1"))


def draw_box_sizes(
    path: str | Path,
    edges_px: FloatArray,
    histograms: Mapping[str, IntArray],
    width_by_height: IntArray,
    *,
    title: str,
    subtitle: str = "",
) -> None:
    """Draw the histograms of boxes' sizes, and a map of their widths and heights together.

    It is drawn from counts, so that a set of any size can be counted as it is read.

    Args:
        path: the PNG to write.
        edges_px: (B + 1,) the bins' edges in pixels, positive, in geometric progression: a bin is
            drawn as wide as any other, on an axis that is logarithmic.
        histograms: for each quantity, by what it is called, (B,) counts.
        width_by_height: (B, B) counts of boxes by width (rows) and height (columns).
        title: what was counted.
        subtitle: what else must be known, in one line.

    Raises:
        InputError: the counts do not fit the edges.
        OutputError: matplotlib is missing, or the file cannot be written.
    """
    bins = len(edges_px) - 1
    shapes = {name: np.shape(counts) for name, counts in histograms.items()}
    if bins < 1 or any(shape != (bins,) for shape in shapes.values()):
        raise InputError(f"expected counts of shape ({bins},) for the edges given, found {shapes}")
    if np.shape(width_by_height) != (bins, bins):
        raise InputError(
            f"expected width_by_height of shape ({bins}, {bins}), found {np.shape(width_by_height)}"
        )
    figure = new_figure(path, 9.6, 5.6)
    write_title(figure, title, subtitle)
    grid = figure.add_gridspec(
        len(histograms), 2, left=0.07, right=0.955, top=0.83, bottom=0.1,
        width_ratios=(1.05, 1), wspace=0.2, hspace=0.5,
    )  # fmt: skip
    panels = [figure.add_subplot(grid[row, 0]) for row in range(len(histograms))]
    for axes, (name, counts) in zip(panels, histograms.items(), strict=True):
        _draw_histogram(axes, name, np.asarray(counts), edges_px)
    name_axes(panels[-1], "px")
    _draw_map(figure.add_subplot(grid[:, 1]), edges_px, np.asarray(width_by_height))
    save_figure(figure, path)


def _draw_histogram(axes: "Axes", name: str, counts: IntArray, edges_px: FloatArray) -> None:
    total = int(counts.sum())
    shares = 100 * counts / max(total, 1)
    axes.stairs(shares, edges_px, fill=True, color=BLUE, alpha=0.85, linewidth=0)
    style_axes(axes, grid="y")
    _scale(axes, edges_px, "x")
    axes.set_ylim(0, 1.15 * shares.max() or 100)
    axes.yaxis.set_major_locator(_percent_locator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_title(writable(name), loc="left", pad=5, **letters(TEXT_PT, INK))
    if total:
        median = _median(counts, edges_px)
        axes.axvline(median, color=ORANGE, linewidth=1.2)
        axes.set_title(f"median {median:.0f} px", loc="right", pad=5, **letters(SMALL_PT, ORANGE))


def _draw_map(axes: "Axes", edges_px: FloatArray, counts: IntArray) -> None:
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    colours = LinearSegmentedColormap.from_list("", ["#ffffff", "#9ecae9", BLUE, "#08306b"])
    # By the square root: the rare sizes are those that anchors miss, and should be seen.
    norm = PowerNorm(0.5, 0, max(int(counts.max()), 1))
    axes.pcolormesh(edges_px, edges_px, counts.T, cmap=colours, norm=norm, rasterized=True)
    style_axes(axes, grid="none")
    _scale(axes, edges_px, "x")
    _scale(axes, edges_px, "y")
    axes.set_aspect("equal")
    axes.set_anchor("NE")
    axes.set_title("width and height together", loc="left", pad=5, **letters(TEXT_PT, INK))
    for ratio, shape in _SHAPES:
        low, high = edges_px[0] * max(1, ratio), edges_px[-1] * min(1, ratio)
        ends = np.array([low, high])
        axes.plot(ends, ends / ratio, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2.5)))
        axes.annotate(
            shape, (high, high / ratio), (2, 2), textcoords="offset points",
            ha="left", va="bottom", annotation_clip=False, **letters(SMALL_PT, MUTED),
        )  # fmt: skip
    name_axes(axes, "width, px", "height, px")


def _scale(axes: "Axes", edges_px: FloatArray, axis: str) -> None:
    """Make an axis logarithmic, with powers of two written at it as they are."""
    low, high = float(edges_px[0]), float(edges_px[-1])
    ticks = 2.0 ** np.arange(np.ceil(np.log2(low) - 1e-9), np.floor(np.log2(high) + 1e-9) + 1)
    getattr(axes, f"set_{axis}scale")("log")
    getattr(axes, f"set_{axis}lim")(low, high)
    getattr(axes, f"set_{axis}ticks")(
        ticks, [f"{tick:g}" for tick in ticks], **letters(SMALL_PT, MUTED)
    )
    getattr(axes, f"set_{axis}ticks")([], minor=True)


def _median(counts: IntArray, edges_px: FloatArray) -> float:
    """Return the median, geometrically between the edges of the bin it lies in."""
    so_far = np.cumsum(counts)
    half = so_far[-1] / 2
    place = int(np.searchsorted(so_far, half))
    before = so_far[place] - counts[place]
    part = (half - before) / counts[place]
    return float(edges_px[place] * (edges_px[place + 1] / edges_px[place]) ** part)


def _percent_locator() -> object:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, steps=[1, 2, 5, 10])
