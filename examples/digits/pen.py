"""Lines that a pen follows: arcs, curves, and the ink that a round pen leaves along them."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

from tinyyolo3.arrays import FloatArray

#: Points along one arc or one piece of a curve.
_STEPS = 12


def arc(
    centre: tuple[float, float], radii: tuple[float, float], start_deg: float, end_deg: float
) -> FloatArray:
    """Return points (N, 2) along an ellipse; 0° is right of the centre, 90° below it."""
    steps = max(3, round(abs(end_deg - start_deg) / 360 * 3 * _STEPS))
    angle = np.radians(np.linspace(start_deg, end_deg, steps))
    points: FloatArray = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radii + centre
    return points


def line(*points: tuple[float, float]) -> FloatArray:
    """Return straight lines through points as an array (N, 2)."""
    return np.array(points, np.float64)


def bezier(*controls: tuple[float, float]) -> FloatArray:
    """Return points (12, 2) along the Bézier curve of three or four controls."""
    t = np.linspace(0, 1, _STEPS)[:, None]
    degree = len(controls) - 1
    weights = (math.comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1))
    points: FloatArray = np.hstack(list(weights)) @ np.array(controls, np.float64)
    return points


def catmull_rom(points: FloatArray) -> FloatArray:
    """Return points (M, 2) along a smooth curve through points (N, 2).

    Source: E. Catmull and R. Rom, A class of local interpolating splines, 1974; with a half as its
    tension. Two points stay a straight line.
    """
    if len(points) == 2:
        return points
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, _STEPS, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        cubic = (3 * b - a - 3 * c + d) * t**3
        pieces.append((2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + cubic) / 2)
    return np.vstack([*pieces, points[-1:]])


def draw_strokes(
    draw: ImageDraw.ImageDraw,
    strokes: Sequence[FloatArray],
    width: float,
    fill: int | tuple[int, int, int],
) -> None:
    """Draw lines with a round pen: discs so close to each other that the edges are smooth.

    Args:
        draw: of the picture.
        strokes: each (N, 2), x and y in px.
        width: of the pen, px.
        fill: its colour.
    """
    r = width / 2
    for stroke in strokes:
        for x, y in _evenly(stroke, max(1.0, r / 3)).tolist():
            draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _evenly(points: FloatArray, spacing: float) -> FloatArray:
    """Return points along a line's pieces, no further apart than `spacing`, with both its ends."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    wanted = np.linspace(0, along[-1], 2 + int(along[-1] / spacing))
    return np.stack([np.interp(wanted, along, points[:, axis]) for axis in (0, 1)], axis=1)
