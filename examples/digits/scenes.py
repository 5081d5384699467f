"""Scenes: photographed sheets of 256 × 256 pixels with handwritten digits, and where they are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from digits.camera import compress, photograph
from digits.clutter import Box, draw_clutter, is_free
from digits.paper import draw_ink, draw_paper
from digits.strokes import Rng
from digits.writer import WRITTEN, Ink, Style, Writer, draw_style, log_uniform, write_digit
from tinyyolo3.arrays import ByteArray, FloatArray

#: Side of a scene, px.
SIZE = 256
#: Most digits in one.
MOST_DIGITS = 24
#: Heights of digits, px: of a scene's, and of single ones that are unlike its others.
_HEIGHTS = (19, 130)
_OTHER_HEIGHTS = (19, 140)
_LEAST_HEIGHT, _MOST_HEIGHT = 18, 165
#: The grey of Darknet's letterbox.
_BAR = (128, 128, 128)


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and what is on it.

    Attributes:
        picture: (H, W, 3) uint8, RGB.
        boxes_xyxy_px: (N, 4) float64: left, top, right, bottom of each digit's ink.
        digits: (N,) int64, which they are.
    """

    picture: ByteArray
    boxes_xyxy_px: NDArray[np.float64]
    digits: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Placed:
    """A written digit's place on a sheet.

    Attributes:
        ink: the digit.
        x: left edge of its ink, px.
        y: upper edge, px.
        height: of its ink, px.
    """

    ink: Ink
    x: float
    y: float
    height: float

    @property
    def box(self) -> Box:
        """Left, top, right, bottom."""
        return self.x, self.y, self.x + self.height * self.ink.aspect, self.y + self.height


def draw_scene(rng: Rng, writer: Writer) -> Scene:
    """Draw a scene.

    Args:
        rng: decides all: an equal generator draws an equal scene.
        writer: writes the digits.
    """
    paper = draw_paper(rng, SIZE)
    ink = draw_ink(rng, paper)
    one_hand = rng.random() < 0.75
    style = draw_style(rng, writer, steady=True) if one_hand else None
    height = log_uniform(rng, *_HEIGHTS)
    layout = _rows if rng.random() < 0.5 else _scatter
    placed = list(layout(rng, writer, style, height))
    boxes = [one.box for one in placed]
    draw_clutter(rng, paper.picture, ink, boxes)
    sheet = np.asarray(paper.picture).astype(np.float32)
    for one in placed:
        lay_ink(rng, sheet, one, ink if one_hand else draw_ink(rng, paper))
    picture = photograph(rng, sheet, min((one.height for one in placed), default=30))
    if rng.random() < 0.1:
        _draw_bars(rng, picture, boxes)
    return Scene(
        np.asarray(compress(rng, picture)),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array([one.ink.digit for one in placed], np.int64),
    )


def _rows(rng: Rng, writer: Writer, style: Style | None, height: float) -> Iterator[Placed]:
    """Yield the digits of numbers in lines."""
    height = min(height, 90)
    taken: list[Box] = []
    y = rng.uniform(3, SIZE * 0.4)
    while y + height < SIZE - 2 and len(taken) < MOST_DIGITS - 4:
        x = rng.uniform(2, SIZE * 0.4)
        while x < SIZE - height * 0.7 and len(taken) < MOST_DIGITS:
            ink = write_digit(rng, writer, style or draw_style(rng, writer, steady=False))
            own = height * rng.uniform(0.82, 1.15)
            one = Placed(ink, x, y + rng.normal(0, 0.06) * height, own)
            if _fits(one.box, taken, 1):
                yield one
                taken.append(one.box)
            x = one.box[2] + max(1.5, height * rng.uniform(0.04, 0.4))
            if rng.random() < 0.2:  # the next number
                x += height * rng.uniform(0.5, 1.5)
            if rng.random() < 0.1:
                break
        y += height * rng.uniform(1.2, 2.2)


def _scatter(rng: Rng, writer: Writer, style: Style | None, height: float) -> Iterator[Placed]:
    """Yield digits anywhere, of more or less different sizes; now and then none."""
    taken: list[Box] = []
    for _ in range(int(rng.integers(0, 15))):
        ink = write_digit(rng, writer, style or draw_style(rng, writer, steady=False))
        alike = rng.random() < 0.4
        own = height * rng.uniform(0.6, 1.6) if alike else log_uniform(rng, *_OTHER_HEIGHTS)
        own = min(max(own, _LEAST_HEIGHT), _MOST_HEIGHT)
        room_x, room_y = SIZE - own * ink.aspect - 3, SIZE - own - 3
        if min(room_x, room_y) <= 0:
            continue
        for _ in range(12):
            one = Placed(ink, 1.5 + rng.uniform(0, room_x), 1.5 + rng.uniform(0, room_y), own)
            if _fits(one.box, taken, max(1.5, 0.05 * own)):
                yield one
                taken.append(one.box)
                break


def _fits(box: Box, taken: list[Box], margin: float) -> bool:
    inside = min(box) >= 1 and max(box) <= SIZE - 1
    return inside and is_free(box, taken, margin)


def lay_ink(rng: Rng, sheet: FloatArray, one: Placed, colour: FloatArray) -> None:
    """Lay a digit's ink of a colour (3,) onto a sheet (256, 256, 3) float32."""
    mask, left, top = _scaled(one)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + mask.shape[1], SIZE), min(top + mask.shape[0], SIZE)
    alpha = mask[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32)
    alpha *= np.float32(rng.uniform(0.75, 1) / 255)
    if rng.random() < 0.25:  # a pencil, or a pen running dry
        alpha *= 1 - np.float32(0.35) * rng.random(alpha.shape, dtype=np.float32)
    part = sheet[y0:y1, x0:x1]
    part += (colour.astype(np.float32) - part) * alpha[..., None]


def _scaled(one: Placed) -> tuple[ByteArray, int, int]:
    """Return a digit's ink at its size on the sheet, and the left and top of that picture, px.

    The ink's box lies where it is wanted to a fraction of a pixel.
    """
    left, top, right, bottom = one.box
    x0, y0 = math.floor(left - 2), math.floor(top - 2)
    x1, y1 = math.ceil(right + 2), math.ceil(bottom + 2)
    ink_left, ink_top, _, ink_bottom = one.ink.box_xyxy_px
    scale = (ink_bottom - ink_top) / one.height
    source = [
        ink_left + (x0 - left) * scale,
        ink_top + (y0 - top) * scale,
        ink_left + (x1 - left) * scale,
        ink_top + (y1 - top) * scale,
    ]
    alpha = one.ink.alpha
    beyond = max(0.0, -min(source), max(source) - WRITTEN)
    if beyond > 0:
        margin = math.ceil(beyond)
        alpha = np.pad(alpha, margin)
        source = [edge + margin for edge in source]
    x_from, y_from, x_to, y_to = source
    scaled = Image.fromarray(alpha).resize(
        (x1 - x0, y1 - y0), Image.Resampling.BILINEAR, (x_from, y_from, x_to, y_to)
    )
    return np.asarray(scaled), x0, y0


def _draw_bars(rng: Rng, picture: Image.Image, digits: list[Box]) -> None:
    """Draw the bars of a letterbox above and below all digits."""
    upper = min((box[1] for box in digits), default=80)
    lower = max((box[3] for box in digits), default=170)
    draw = ImageDraw.Draw(picture)
    if upper > 12:
        draw.rectangle((0, 0, SIZE, rng.uniform(0, upper - 3)), fill=_BAR)
    if lower < SIZE - 12:
        draw.rectangle((0, rng.uniform(lower + 3, SIZE), SIZE, SIZE), fill=_BAR)
