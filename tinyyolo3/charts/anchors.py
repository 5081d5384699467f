"""The clusters that anchors stand for: boxes by width and height, and the anchors as they are."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyyolo3.arrays import FloatArray, IntArray
from tinyyolo3.charts.canvas import (
    HUES,
    INK,
    LINE,
    MUTED,
    PALE,
    SMALL_PT,
    TEXT_PT,
    letters,
    name_axes,
    new_figure,
    save_figure,
    style_axes,
    write_title,
)
from tinyyolo3.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: More points than this are a blot, and slow to draw: so many are taken, evenly.
_MOST_POINTS = 20_000


def draw_anchors(
    path: str | Path,
    sizes_px: FloatArray,
    clusters: IntArray,
    anchors_px: FloatArray,
    *,
    input_px: tuple[int, int],
    title: str,
    subtitle: str = "",
) -> None:
    """Draw boxes' widths and heights, coloured by their anchor, and the anchors themselves.

    Args:
        path: the PNG to write.
        sizes_px: (N, 2) widths and heights in pixels of the network's input. Of more than 20,000,
            so many are drawn, evenly taken from all.
        clusters: (N,) the anchor of each box, from 0.
        anchors_px: (K, 2) widths and heights in pixels of the network's input, K at least 1.
        input_px: width and height of the network's input.
        title: what was clustered.
        subtitle: what else must be known, in one line.

    Raises:
        InputError: the arrays do not fit together.
        OutputError: matplotlib is missing, or the file cannot be written.
    """
    sizes, anchors = np.asarray(sizes_px, np.float64), np.asarray(anchors_px, np.float64)
    _check(sizes, np.asarray(clusters), anchors)
    figure = new_figure(path, 10.8, 5.6)
    write_title(figure, title, subtitle)
    grid = figure.add_gridspec(
        1, 3, left=0.065, right=0.985, top=0.83, bottom=0.1, width_ratios=(1, 1, 0.32), wspace=0.1
    )
    colours = [HUES[number % len(HUES)] for number in range(len(anchors))]
    _draw_scatter(figure.add_subplot(grid[0]), sizes, np.asarray(clusters), anchors, colours)
    shares = np.bincount(clusters, minlength=len(anchors)) / max(len(sizes), 1)
    _draw_rectangles(figure.add_subplot(grid[1]), anchors, colours, input_px)
    _list_anchors(figure.add_subplot(grid[2]), anchors, shares, colours)
    save_figure(figure, path)


def _check(sizes_px: FloatArray, clusters: IntArray, anchors_px: FloatArray) -> None:
    for name, array in (("sizes_px", sizes_px), ("anchors_px", anchors_px)):
        if array.ndim != 2 or array.shape[1] != 2 or not (array > 0).all():  # NaN is not
            raise InputError(f"expected {name} of shape (N, 2), positive, found {array.shape}")
    if not len(anchors_px):
        raise InputError("expected at least one anchor, found none")
    if clusters.shape != sizes_px.shape[:1]:
        raise InputError(f"expected a cluster for each of {len(sizes_px)} boxes")
    if len(clusters) and not set(np.unique(clusters)) <= set(range(len(anchors_px))):
        raise InputError(
            f"expected clusters from 0 to {len(anchors_px) - 1}, "
            f"found {clusters.min()} to {clusters.max()}"
        )


def _draw_scatter(
    axes: "Axes",
    sizes_px: FloatArray,
    clusters: IntArray,
    anchors_px: FloatArray,
    colours: list[str],
) -> None:
    step = -(-len(sizes_px) // _MOST_POINTS) or 1
    sizes, owners = sizes_px[::step], clusters[::step]
    small = float(np.clip(30_000 / max(len(sizes), 1), 1.5, 14))
    axes.scatter(
        *sizes.T, s=small, c=[colours[owner] for owner in owners],
        alpha=0.35, linewidths=0, rasterized=True,
    )  # fmt: skip
    style_axes(axes)
    both = np.concatenate([sizes, anchors_px])
    for axis in "xy":
        _scale(axes, axis, float(both.min()), float(both.max()))
    axes.set_aspect("equal")
    axes.set_anchor("NW")
    axes.scatter(*anchors_px.T, s=110, c=colours, edgecolors="white", linewidths=1.4, zorder=3)
    for number, anchor in enumerate(anchors_px):
        axes.annotate(
            str(number), anchor, ha="center", va="center_baseline", zorder=4,
            weight="bold", **letters(SMALL_PT, "white"),
        )  # fmt: skip
    axes.set_title("boxes by their anchor", loc="left", pad=5, **letters(TEXT_PT, INK))
    name_axes(axes, "width, px", "height, px")


def _scale(axes: "Axes", axis: str, low: float, high: float) -> None:
    """Make an axis logarithmic, from a power of two to another, written at it as they are."""
    ticks = 2.0 ** np.arange(np.floor(np.log2(low)), np.ceil(np.log2(high)) + 1)
    getattr(axes, f"set_{axis}scale")("log")
    getattr(axes, f"set_{axis}ticks")(
        ticks, [f"{tick:g}" for tick in ticks], **letters(SMALL_PT, MUTED)
    )
    getattr(axes, f"set_{axis}ticks")([], minor=True)
    getattr(axes, f"set_{axis}lim")(ticks[0] / 1.05, ticks[-1] * 1.05)


def _draw_rectangles(
    axes: "Axes",
    anchors_px: FloatArray,
    colours: list[str],
    input_px: tuple[int, int],
) -> None:
    """Draw the anchors to scale, one inside the other in the middle of the network's input."""
    from matplotlib.patches import Rectangle

    width, height = input_px
    axes.add_patch(Rectangle((0, 0), width, height, facecolor=PALE, edgecolor=LINE, linewidth=0.8))
    order = np.argsort(-anchors_px.prod(axis=1), kind="stable")
    for number in order:
        w, h = anchors_px[number]
        corner = ((width - w) / 2, (height - h) / 2)
        for look in (
            {"facecolor": colours[number], "alpha": 0.07, "linewidth": 0},
            {"facecolor": "none", "edgecolor": colours[number], "linewidth": 1.4},
        ):
            axes.add_patch(Rectangle(corner, w, h, **look))
    side = max(width, height, *anchors_px.max(axis=0))
    axes.set_xlim(min(0.0, (width - side) / 2), max(width, (width + side) / 2))
    axes.set_ylim(max(height, (height + side) / 2), min(0.0, (height - side) / 2))
    axes.set_aspect("equal")
    axes.set_anchor("NW")
    axes.set_axis_off()
    axes.set_title(
        f"anchors to scale, in {width} × {height} px", loc="left", pad=5, **letters(TEXT_PT, INK)
    )


def _list_anchors(
    axes: "Axes", anchors_px: FloatArray, shares: FloatArray, colours: list[str]
) -> None:
    """Write each anchor's size and the share of all boxes that are its."""
    axes.set_axis_off()
    axes.set_title("share of boxes", loc="right", pad=5, **letters(TEXT_PT, INK))
    for number, (anchor, share) in enumerate(zip(anchors_px, shares, strict=True)):
        # Sixteen lines and fewer keep their distance; more share the panel's height.
        y = 0.98 - number / max(16, len(anchors_px))
        size = f"{anchor[0]:.3g} × {anchor[1]:.3g}"
        for x, cell, side in ((0.04, str(number), "left"), (0.7, size, "right")):
            axes.text(x, y, cell, ha=side, va="top", **letters(SMALL_PT, colours[number]))
        axes.text(1, y, f"{share:.1%}", ha="right", va="top", **letters(SMALL_PT, INK))
