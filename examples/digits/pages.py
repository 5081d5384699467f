"""Pages of 1000 × 700 pixels, written with a pen: what the model should read, never trained on.

Digits are drawn from templates of their own: points that a hand passes, joined by smooth curves,
two or three forms of each digit. Nothing of it is in the scenes that are trained on, neither
templates nor curves nor the way the sheet is drawn (`digits.strokes` has arcs and rules instead).
So these pages tell whether the model reads handwriting or only its scenes.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from digits.camera import shadow_edge
from digits.clutter import Box
from digits.paper import to_picture
from digits.pen import catmull_rom, draw_strokes
from digits.scenes import Scene
from digits.strokes import Rng
from digits.writer import log_uniform
from tinyyolo3.arrays import FloatArray

#: Width and height, px; and how many times larger a page is drawn.
PAGE_PX = (1000, 700)
DRAWN_SCALE = 2
#: Heights of a page's digits, px, and the pen's width in digit heights.
_HEIGHTS, _PEN_WIDTHS = (60, 190), (0.05, 0.13)
#: Most that a template's points are off, of its units.
_UNSTEADINESS = 0.03
_INKS = ((28, 34, 60), (20, 40, 150), (40, 40, 42), (150, 26, 30), (24, 84, 60))
_SHEETS = ((246, 246, 242), (250, 244, 225), (225, 228, 232), (250, 250, 252))
_LINES, _SQUARES = (168, 190, 222), (200, 214, 226)

Template = tuple[tuple[tuple[float, float], ...], ...]

#: Of each digit its forms: strokes of points, x from 0 to 10 and y from 0, above, to 16.
TEMPLATES: tuple[tuple[Template, ...], ...] = (
    (
        (((5.2, 0.2), (1.6, 2.4), (0.4, 8.2), (2.6, 14.8), (5.8, 15.8), (9.2, 11.4), (9.4, 5.2),
          (7.4, 1.0), (4.8, 0.2)),),
        (((6.0, 0.6), (2.4, 1.4), (0.4, 7.2), (1.8, 13.8), (4.8, 16.0), (8.8, 13.0), (9.8, 6.8),
          (7.8, 1.4), (5.2, 0.3)),),
    ),
    (
        (((5.2, 0.0), (5.0, 8.0), (4.8, 16.0)),),
        (((2.2, 3.4), (4.0, 2.0), (5.6, 0.0)), ((5.6, 0.0), (5.4, 8.0), (5.2, 16.0))),
        (((2.0, 3.2), (5.2, 0.0)), ((5.2, 0.0), (5.1, 15.8)), ((2.2, 15.9), (8.2, 15.7))),
    ),
    (
        (((0.8, 3.6), (2.8, 0.5), (6.8, 0.4), (8.6, 3.8), (6.4, 8.6), (0.8, 15.4)),
         ((0.8, 15.4), (5.0, 15.2), (9.6, 15.6))),
        (((1.0, 2.8), (4.2, 0.0), (8.2, 2.2), (7.6, 6.4), (4.0, 11.2), (0.8, 15.0), (2.4, 13.6),
          (5.2, 15.0), (9.4, 15.2)),),
    ),
    (
        (((1.0, 1.8), (4.8, 0.0), (8.4, 2.4), (7.6, 6.0), (4.2, 7.4)),
         ((4.2, 7.4), (8.2, 8.6), (9.2, 12.0), (6.2, 15.6), (0.6, 14.4))),
        (((0.8, 0.6), (8.8, 0.3)), ((8.8, 0.3), (4.6, 6.2)),
         ((4.6, 6.2), (8.4, 8.0), (9.0, 12.2), (5.4, 15.8), (0.6, 14.0))),
    ),
    (
        (((6.2, 0.0), (0.6, 10.2)), ((0.6, 10.2), (9.8, 10.0)), ((7.0, 5.2), (6.8, 16.0))),
        (((1.6, 0.4), (1.0, 8.2)), ((1.0, 8.2), (9.2, 7.8)), ((8.0, 0.6), (7.4, 16.0))),
        (((7.2, 0.2), (0.4, 11.0)), ((0.4, 11.0), (9.6, 10.8)), ((7.2, 0.2), (7.0, 16.0))),
    ),
    (
        (((9.0, 0.2), (2.0, 0.5)), ((2.0, 0.5), (1.6, 6.6)),
         ((1.6, 6.6), (5.8, 5.8), (9.2, 9.6), (8.0, 14.0), (4.2, 16.0), (0.4, 14.2))),
        (((8.6, 0.6), (2.4, 0.4), (1.8, 6.2), (5.4, 5.6), (8.8, 8.8), (8.4, 13.4), (4.6, 15.8),
          (0.6, 15.0)),),
    ),
    (
        (((7.4, 0.2), (3.2, 4.2), (0.7, 10.2), (2.5, 15.2), (6.2, 15.4), (8.8, 12.0), (6.6, 8.6),
          (3.0, 9.4), (1.0, 12.2)),),
        (((6.0, 0.0), (1.6, 7.0), (1.1, 13.0), (4.6, 16.0), (8.6, 13.4), (7.6, 9.4), (4.0, 9.0),
          (1.2, 12.0)),),
    ),
    (
        (((0.5, 0.6), (9.4, 0.3)), ((9.4, 0.3), (5.6, 8.0), (3.6, 16.0))),
        (((0.6, 0.4), (9.2, 0.4)), ((9.2, 0.4), (5.2, 8.0), (3.4, 16.0)),
         ((2.8, 8.2), (8.4, 7.6))),
        (((0.6, 2.6), (0.8, 0.4)), ((0.8, 0.4), (9.2, 0.6)), ((9.2, 0.6), (4.6, 16.0))),
    ),
    (
        (((7.6, 2.0), (4.4, 0.0), (1.6, 2.6), (4.0, 6.6), (8.4, 11.0), (7.0, 15.0), (3.6, 15.8),
          (1.0, 12.2), (4.4, 7.6), (8.0, 4.0), (7.6, 2.0)),),
        (((4.8, 7.2), (1.8, 4.0), (4.6, 0.0), (7.8, 3.6), (4.8, 7.2)),
         ((4.8, 7.2), (0.8, 11.6), (4.8, 16.0), (9.0, 11.6), (4.8, 7.2))),
    ),
    (
        (((8.6, 3.0), (5.0, 0.0), (1.0, 2.6), (1.6, 7.0), (5.0, 8.0), (8.6, 3.4)),
         ((8.6, 3.0), (8.2, 9.0), (7.0, 16.0))),
        (((8.8, 2.6), (5.2, 0.2), (1.2, 3.0), (3.0, 7.6), (7.0, 6.6), (8.8, 2.6), (8.4, 10.0),
          (5.6, 15.0), (2.0, 15.2)),),
    ),
)  # fmt: skip


def draw_page(rng: Rng, kind: int) -> Scene:
    """Draw a page.

    Args:
        rng: decides all else: an equal generator draws an equal page.
        kind: the sheet: its colour by the remainder of 4; plain, ruled or squared by that of 3.
    """
    width, height = PAGE_PX
    sheet = _SHEETS[kind % len(_SHEETS)]
    page = Image.new("RGB", (width * DRAWN_SCALE, height * DRAWN_SCALE), sheet)
    draw = ImageDraw.Draw(page)
    rule_page(rng, draw, kind % 3)
    ink = _INKS[int(rng.integers(len(_INKS)))]
    size = log_uniform(rng, *_HEIGHTS)
    pen = size * rng.uniform(*_PEN_WIDTHS)
    boxes: list[Box] = []
    digits: list[int] = []
    y = rng.uniform(25, 70)
    while y + size * 1.15 < height - 15:
        x = rng.uniform(30, 140)
        while x + size < width - 20:
            digit, at = int(rng.integers(10)), (x, y + rng.normal(0, 0.05) * size)
            own = size * rng.uniform(0.88, 1.12)
            boxes.append(write_with_pen(rng, draw, digit, at, own, pen, ink))
            digits.append(digit)
            x = boxes[-1][2] + size * rng.uniform(0.12, 0.5)
            if rng.random() < 0.15:  # the next number
                x += size
        y += size * rng.uniform(1.35, 1.9)
    picture = _photograph(rng, page.resize(PAGE_PX, Image.Resampling.LANCZOS))
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    return Scene(np.asarray(picture), corners, np.array(digits, np.int64))


def rule_page(rng: Rng, draw: ImageDraw.ImageDraw, lines: int) -> None:
    """Draw no lines (0), ruled ones (1) or squares (2) on a page that is drawn twice as large."""
    width, height = (DRAWN_SCALE * side for side in PAGE_PX)
    if lines == 1:
        for y in range(60 * DRAWN_SCALE, height, 44 * DRAWN_SCALE):
            end = y + rng.normal(0, 2) * DRAWN_SCALE
            draw.line((0, y, width, end), fill=_LINES, width=3)
    if lines == 2:
        for y in range(0, height, 28 * DRAWN_SCALE):
            draw.line((0, y, width, y), fill=_SQUARES, width=2)
        for x in range(0, width, 28 * DRAWN_SCALE):
            draw.line((x, 0, x, height), fill=_SQUARES, width=2)


def write_with_pen(
    rng: Rng,
    draw: ImageDraw.ImageDraw,
    digit: int,
    at: tuple[float, float],
    height: float,
    pen: float,
    ink: tuple[int, int, int],
) -> Box:
    """Write a digit from its templates.

    Args:
        rng: decides its form and how it is written.
        draw: of a page that is drawn twice as large.
        digit: which.
        at: about where its left and upper edges are, px of the page.
        height: of the digit, px of the page.
        pen: the pen's width, px of the page.
        ink: its colour.

    Returns:
        Left, top, right and bottom of its ink, px of the page.
    """
    forms = TEMPLATES[digit]
    form = forms[int(rng.integers(len(forms)))]
    # Where strokes share a point, a hand joins them: they are off by the same.
    points = sorted({point for stroke in form for point in stroke})
    off = {point: rng.normal(0, _UNSTEADINESS, 2) for point in points}
    wide = height * rng.uniform(0.5, 0.68)
    shear, turn = rng.normal(0.06, 0.08), rng.normal(0, 0.06)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    strokes = []
    for stroke in form:
        # Templates count in tenths of the width and sixteenths of the height.
        units = np.array([np.array(point) / 10 + off[point] for point in stroke])
        curve = catmull_rom(units) * (wide, height / 1.6)
        curve[:, 0] -= shear * (curve[:, 1] - height / 2)
        strokes.append(curve @ rotation.T + at)
    own_pen = pen * rng.uniform(0.9, 1.1)
    draw_strokes(draw, [stroke * DRAWN_SCALE for stroke in strokes], own_pen * DRAWN_SCALE, ink)
    along: FloatArray = np.vstack(strokes)
    left, top = (along.min(axis=0) - own_pen / 2).tolist()
    right, bottom = (along.max(axis=0) + own_pen / 2).tolist()
    return left, top, right, bottom


def _photograph(rng: Rng, page: Image.Image) -> Image.Image:
    values = np.asarray(page).astype(np.float32)
    corners = Image.fromarray(rng.uniform(-1, 1, (3, 3)).astype(np.float32))
    light = np.asarray(corners.resize(PAGE_PX, Image.Resampling.BICUBIC))
    values *= (np.float32(0.86) + np.float32(0.14) * light)[..., None]
    if rng.random() < 0.5:
        values *= shadow_edge(rng, PAGE_PX, 200, 18, 0.28)
    values *= (np.array([1.02, 1, 0.93]) ** rng.uniform(-1, 1)).astype(np.float32)
    values += 4 * rng.standard_normal(values.shape, dtype=np.float32)
    return to_picture(values).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.4)))
