"""Crisp ink from 8 × 8 grey pixels, so that digits can be written with any pen.

Enlarged, the pictures are blurry, and a model trained on blur does not read a pen. So the enlarged
grey levels are cut at a level that leaves one piece of ink with as many holes as the digit has, and
thinned to their middle line; the distance to it is kept. All points within r of the line are the
digit written with a pen of radius r.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, label

from tinyyolo3.arrays import ByteArray, FloatArray

#: Side of an enlarged digit, px: 8 for each of the original, and margins of two of those.
CANVAS = 96
_MARGIN = 2
#: How many holes a legible digit has, of each digit.
HOLES = ((1,), (0,), (0, 1), (0,), (0, 1), (0,), (1,), (0,), (2,), (1,))
#: Levels to cut at, the most promising first.
_LEVELS = (0.40, 0.44, 0.36, 0.48, 0.32, 0.52, 0.28, 0.56, 0.60, 0.24)
#: Levels for digits of which no level leaves the right shape.
_UNSURE_LEVELS = (0.38, 0.46)
#: Distances are kept in eighths of a pixel, up to 31 pixels.
_PER_PX = 8
#: Radii of pens that are tried, px.
_RADII = np.arange(1.5, 8.6, 0.5)
#: A middle line of fewer pixels is a dot.
_SHORTEST_LINE = 5


@dataclass(frozen=True, eq=False)
class Glyph:
    """One handwritten digit, enlarged.

    Attributes:
        digit: which it is.
        grey: (96, 96) uint8, smooth grey levels; 255 is ink.
        distance: (96, 96) uint8, eighths of a pixel to the middle line, at most 255.
        levels: the lowest and the highest level of `grey` / 255 to cut at.
        widest: px, the greatest radius of a pen that does not fill its holes; 0 if any does.
        legible: whether a pen along the middle line writes the digit's shape.
    """

    digit: int
    grey: ByteArray
    distance: ByteArray
    levels: tuple[float, float]
    widest: float
    legible: bool

    def pen(self, radius: float | FloatArray) -> FloatArray:
        """Return the ink (96, 96), 0 to 1, of a round pen whose radius in px may vary by place."""
        distance = self.distance.astype(np.float32) / _PER_PX
        ink: FloatArray = np.clip(radius - distance + 0.5, 0, 1)
        return ink

    def cut(self, level: float, steepness: float) -> FloatArray:
        """Return the ink (96, 96), 0 to 1, where grey exceeds a level; edges are soft."""
        grey = self.grey.astype(np.float32) / 255
        ink: FloatArray = np.clip((grey - level) * steepness + 0.5, 0, 1)
        return ink

    def blurred(self, strength: float) -> FloatArray:
        """Return the ink (96, 96), 0 to 1, as the enlarged picture has it."""
        ink: FloatArray = np.minimum(self.grey.astype(np.float32) * (strength / 255), 1)
        return ink


def prepare_glyph(picture: FloatArray, digit: int) -> Glyph:
    """Enlarge a handwritten digit and find its middle line.

    Args:
        picture: (8, 8) float32, 0 to 1.
        digit: which it is.
    """
    padded = Image.fromarray(np.pad(picture, _MARGIN))
    enlarged = np.asarray(padded.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC))
    kept = np.rint(enlarged.clip(0, 1) * 255).astype(np.uint8)
    grey = kept.astype(np.float32) / 255
    right = [level for level in _LEVELS if _has_shape(grey > level, digit)]
    line = thin(grey > (right[0] if right else np.mean(_UNSURE_LEVELS)))
    if line.sum() < _SHORTEST_LINE:
        line = grey > 0.7
    distance = np.asarray(distance_transform_edt(~line), np.float32)
    widest = _widest_pen(distance, line)
    return Glyph(
        digit,
        kept,
        np.rint(distance * _PER_PX).clip(0, 255).astype(np.uint8),
        (min(right), max(right)) if right else _UNSURE_LEVELS,
        widest,
        bool(right) and widest > 0,
    )


def count_shape(ink: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many pieces of ink there are and how many holes; diagonal neighbours hold on."""
    pieces = label(ink, np.ones((3, 3)))[1]
    return int(pieces), int(label(~ink)[1]) - 1


def _has_shape(ink: NDArray[np.bool_], digit: int) -> bool:
    pieces, holes = count_shape(ink)
    return pieces == 1 and holes in HOLES[digit]


def _widest_pen(distance: FloatArray, line: NDArray[np.bool_]) -> float:
    holes, widest = count_shape(line)[1], 0.0
    for radius in _RADII:
        if count_shape(distance <= radius + 0.7)[1] != holes:
            break
        widest = float(radius)
    return widest


def thin(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the middle line, a pixel wide, of ink that does not touch the border.

    Source: T. Y. Zhang and C. Y. Suen, A Fast Parallel Algorithm for Thinning Digital Patterns,
    1984. Whether a pixel goes is looked up by its eight neighbours.
    """
    line = ink.copy()
    while True:
        before = line.sum()
        for removable in _REMOVABLE:
            line[1:-1, 1:-1] &= ~removable[_neighbourhoods(line)]
        if line.sum() == before:
            return line


def _neighbourhoods(ink: NDArray[np.bool_]) -> ByteArray:
    """Return of each inner pixel its neighbours as bits, the upper one first, clockwise."""
    pixels = ink.view(np.uint8)
    height, width = pixels.shape
    codes = np.zeros((height - 2, width - 2), np.uint8)
    for bit, (dy, dx) in enumerate(_CLOCKWISE):
        codes |= pixels[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx] << np.uint8(bit)
    return codes


_CLOCKWISE = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def _removable_tables() -> Iterator[NDArray[np.bool_]]:
    """Yield, for both halves of a pass, which of the 256 neighbourhoods let a pixel go."""
    codes = np.arange(256)[:, None]
    bits = (codes >> np.arange(8)) & 1
    up, right, down, left = bits[:, 0], bits[:, 2], bits[:, 4], bits[:, 6]
    entries = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(axis=1)
    edge = (bits.sum(axis=1) >= 2) & (bits.sum(axis=1) <= 6) & (entries == 1)
    yield edge & (up * right * down == 0) & (right * down * left == 0)
    yield edge & (up * right * left == 0) & (up * down * left == 0)


_REMOVABLE = tuple(_removable_tables())
