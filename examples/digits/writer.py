"""One digit, written: whose it is, with what, how it leans and how the hand shook."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from digits.glyphs import CANVAS, Glyph, prepare_glyph
from digits.handwriting import handwriting
from digits.pen import draw_strokes
from digits.strokes import Rng, draw_digit_strokes
from tinyyolo3.arrays import ByteArray, FloatArray

#: How handwritten digits become ink, and how often: with a pen along their middle line, cut at a
#: level, or as blurry as they are.
PEN, CUT, BLURRED, STROKES = "pen", "cut", "blurred", "strokes"
_SHARES = ((PEN, 0.55), (CUT, 0.30), (BLURRED, 0.15))
#: Side of a written digit's picture, px: a little more than a glyph's, as it is turned and bent.
WRITTEN = 112
#: Digits are bent by moving the corners of squares of this many pixels.
_BENDING = 28
#: A pixel with so much ink belongs to the digit's box: half of an edge, and what an eye still takes
#: for ink of a blurry one.
_INK_LEVEL = 0.4
#: Digits of strokes: height on the canvas and enlargement while they are drawn.
_STROKE_HEIGHT, _STROKE_SCALE = 66, 2
#: The widest pen for strokes, px on the canvas: more would fill an 8.
_WIDEST_STROKE = 5.5
#: Of the two digits that people write most differently, so many more are drawn by strokes.
_OFTEN_MISREAD = (1, 7)
_MORE_OFTEN_STROKES = 0.2


@dataclass(frozen=True)
class Writer:
    """Where a scene's digits come from.

    Attributes:
        glyphs: of each digit from 0 to 9, the handwritten ones.
        strokes: the share of digits that are drawn by rules instead
            (`digits.strokes`); 0 for handwriting alone.
    """

    glyphs: tuple[tuple[Glyph, ...], ...]
    strokes: float = 0.0


@dataclass(frozen=True)
class Style:
    """What the digits of one hand and one pen have in common.

    Attributes:
        technique: "pen", "cut", "blurred" or "strokes", or None for one drawn for each digit.
        radius: the pen's, px on the canvas of 96.
        rotation_deg: clockwise.
        shear: sideways, px for each px of height.
        stretch: logarithm of the widening.
    """

    technique: str | None
    radius: float
    rotation_deg: float
    shear: float
    stretch: float


@dataclass(frozen=True, eq=False)
class Ink:
    """One written digit.

    Attributes:
        digit: which.
        alpha: (112, 112) uint8, 255 is ink.
        box_xyxy_px: the ink's left, top, right and bottom in `alpha`.
    """

    digit: int
    alpha: ByteArray
    box_xyxy_px: tuple[int, int, int, int]

    @property
    def aspect(self) -> float:
        """Width of the ink per height."""
        left, top, right, bottom = self.box_xyxy_px
        return (right - left) / (bottom - top)


def make_writer(positions: Iterable[int], strokes: float = 0.0) -> Writer:
    """Prepare some of the handwritten digits for writing.

    Args:
        positions: which, of `handwriting()`; at least one of each digit.
        strokes: see `Writer`.
    """
    pictures, digits = handwriting()
    by_digit: list[list[Glyph]] = [[] for _ in range(10)]
    for n in positions:
        by_digit[digits[n]].append(prepare_glyph(pictures[n], int(digits[n])))
    return Writer(tuple(map(tuple, by_digit)), strokes)


def draw_style(rng: Rng, writer: Writer, *, steady: bool) -> Style:
    """Draw somebody's style: of a whole scene, or, unless `steady`, of a single digit."""
    spread = 1.0 if steady else 1.15
    fixed = not steady or rng.random() < 0.6
    return Style(
        _technique(rng, writer) if fixed else None,
        log_uniform(rng, 1.3, 6.5),
        rng.normal(0, 8 * spread),
        rng.normal(0, 0.12 * spread),
        rng.normal(0, 0.07 * spread),
    )


def write_digit(rng: Rng, writer: Writer, style: Style) -> Ink:
    """Write a digit; which one is drawn, too."""
    while True:
        digit = int(rng.integers(10))
        technique = style.technique or _technique(rng, writer)
        if writer.strokes and digit in _OFTEN_MISREAD and rng.random() < _MORE_OFTEN_STROKES:
            technique = STROKES
        ink = _source_ink(rng, writer.glyphs[digit], digit, technique, style.radius)
        alpha = _bent(rng, ink, style)
        solid = alpha > 255 * _INK_LEVEL
        rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
        if len(rows) >= 8 and len(columns) >= 3:  # else hardly anything is left of it
            box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            left, top, right, bottom = map(int, box)
            return Ink(digit, alpha, (left, top, right, bottom))


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform: sizes double as often as they halve."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def smooth_field(rng: Rng, cells: int, size: int) -> FloatArray:
    """Return (size, size) float32, -1 to 1 or little beyond, that varies over `cells` cells."""
    corners = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(corners).resize((size, size), Image.Resampling.BICUBIC))


def _technique(rng: Rng, writer: Writer) -> str:
    if writer.strokes and rng.random() < writer.strokes:
        return STROKES
    drawn = rng.random()
    for technique, share in _SHARES:
        drawn -= share
        if drawn < 0:
            return technique
    return _SHARES[-1][0]


def _source_ink(
    rng: Rng, glyphs: Sequence[Glyph], digit: int, technique: str, radius: float
) -> FloatArray:
    """Return a digit's ink (96, 96), upright."""
    if technique == STROKES:
        return _ink_of_strokes(rng, digit, min(radius * rng.uniform(0.85, 1.18), _WIDEST_STROKE))
    glyph = glyphs[int(rng.integers(len(glyphs)))]
    if technique == PEN and glyph.legible:
        width = min(radius * rng.uniform(0.85, 1.18), glyph.widest)
        if rng.random() < 0.5:  # pressed more here, less there
            return glyph.pen(width * (1 + np.float32(0.22) * smooth_field(rng, 3, CANVAS)))
        return glyph.pen(width)
    if technique == BLURRED:
        return glyph.blurred(rng.uniform(1, 1.5))
    return glyph.cut(rng.uniform(*glyph.levels), rng.uniform(3, 10))


def _ink_of_strokes(rng: Rng, digit: int, radius: float) -> FloatArray:
    strokes = draw_digit_strokes(digit, rng)
    points = np.vstack(strokes)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    scale = _STROKE_HEIGHT * _STROKE_SCALE
    centre = CANVAS * _STROKE_SCALE / 2
    size = (CANVAS * _STROKE_SCALE, CANVAS * _STROKE_SCALE)
    canvas = Image.new("L", size)
    placed = [(stroke - middle) * scale + centre for stroke in strokes]
    draw_strokes(ImageDraw.Draw(canvas), placed, 2 * radius * _STROKE_SCALE, 255)
    return np.asarray(canvas.reduce(_STROKE_SCALE), np.float32) / 255


def _bent(rng: Rng, ink: FloatArray, style: Style) -> ByteArray:
    """Turn, shear, stretch and bend a digit's ink: (112, 112) uint8."""
    angle = math.radians(style.rotation_deg + rng.normal(0, 5))
    shear = style.shear + rng.normal(0, 0.08)
    stretch = math.exp(style.stretch + rng.normal(0, 0.045))
    bending = 3.2 * rng.random()
    shaken = rng.uniform(-bending, bending, (5, 5, 2))
    cos, sin = math.cos(angle), math.sin(angle)
    # From a place on the result back to its place on the canvas.
    turned = np.array([[stretch, 0], [0, 1 / stretch]]) @ np.array([[1, shear], [0, 1]])
    back = turned @ np.array([[cos, sin], [-sin, cos]]) / 0.95
    canvas = Image.fromarray((ink * 255).astype(np.uint8))
    bent = canvas.transform(
        (WRITTEN, WRITTEN),
        Image.Transform.MESH,
        _mesh(back, shaken),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(bent)


def _mesh(
    back: NDArray[np.float64], shaken: NDArray[np.float64]
) -> list[tuple[tuple[int, int, int, int], tuple[float, ...]]]:
    """Return Pillow's mesh: each square of the result, and where its four corners come from.

    Args:
        back: (2, 2) from offsets from the result's centre to those from the canvas's.
        shaken: (5, 5, 2) how far each corner of the squares is moved, px.
    """
    steps = np.arange(0, WRITTEN + 1, _BENDING)
    corners = np.stack(np.meshgrid(steps, steps), axis=2) - WRITTEN / 2
    sources = (corners @ back.T + CANVAS / 2 + shaken).tolist()
    mesh = []
    for row in range(len(steps) - 1):
        for column in range(len(steps) - 1):
            upper, lower = sources[row], sources[row + 1]
            # Pillow goes from the upper left corner down and on counterclockwise.
            quad = (*upper[column], *lower[column], *lower[column + 1], *upper[column + 1])
            x, y = int(steps[column]), int(steps[row])
            mesh.append(((x, y, x + _BENDING, y + _BENDING), quad))
    return mesh
