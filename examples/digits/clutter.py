"""What stands on paper beside digits, and must not be taken for one."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digits.paper import as_rgb
from digits.strokes import Rng
from digits.writer import log_uniform
from tinyyolo3.arrays import FloatArray

#: Left, top, right, bottom, px.
Box = tuple[float, float, float, float]

#: No letter that a digit could be taken for: no B, D, G, I, J, L, O, Q, S, Z, b, g, i, j, l, o, ...
_LETTERS = "ACEFHKMNPRTUVWXYacdefhkmnrtuvwxyw&%?!#@=<>*ÄÑß"
_FONT_SIZES = (14, 20, 28, 40, 60)


def is_free(box: Box, taken: Sequence[Box], margin: float) -> bool:
    """Return whether a box keeps a distance in px from all that are taken."""
    left, top, right, bottom = box
    return all(
        right + margin < other[0]
        or left - margin > other[2]
        or bottom + margin < other[1]
        or top - margin > other[3]
        for other in taken
    )


def draw_clutter(rng: Rng, picture: Image.Image, ink: FloatArray, digits: Sequence[Box]) -> None:
    """Draw words, scribbles, lines, frames around digits and blots where no digit is.

    Args:
        rng: decides all.
        picture: RGB, drawn on.
        ink: (3,) its colour, 0 to 255.
        digits: where digits will be.
    """
    taken = list(digits)
    if rng.random() < 0.55:
        for _ in range(int(rng.integers(0, 5))):
            _word(rng, picture, _near(rng, ink), taken)
    draw = ImageDraw.Draw(picture)
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(0, 6))):
            _scribble(rng, draw, _near(rng, ink), taken, picture.width)
    if rng.random() < 0.25:
        for _ in range(int(rng.integers(1, 3))):
            _long_line(rng, draw, _near(rng, ink), taken, picture.width)
    if rng.random() < 0.25:
        for box in digits:
            if rng.random() < 0.5:
                _mark(rng, draw, _near(rng, ink), box)
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 7))):
            _blot(rng, draw, _near(rng, ink), taken, picture.width)


def _near(rng: Rng, ink: FloatArray) -> tuple[int, int, int]:
    return as_rgb(ink + rng.normal(0, 14, 3))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _word(rng: Rng, picture: Image.Image, fill: tuple[int, int, int], taken: list[Box]) -> None:
    font = _font(_FONT_SIZES[int(rng.integers(len(_FONT_SIZES)))])
    letters = rng.integers(len(_LETTERS), size=int(rng.integers(1, 6)))
    text = "".join(_LETTERS[n] for n in letters)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    mask = Image.new("L", (right - left + 8, bottom - top + 8))
    bold = int(rng.integers(0, 2))
    ImageDraw.Draw(mask).text((4 - left, 4 - top), text, fill=255, font=font, stroke_width=bold)
    mask = mask.rotate(rng.normal(0, 8), Image.Resampling.BILINEAR, expand=True)
    scale = log_uniform(rng, 0.5, 1.6)
    mask = mask.resize((max(4, int(mask.width * scale)), max(4, int(mask.height * scale))))
    x, y = (int(rng.integers(low, picture.width - 8)) for low in (-10, -5))
    box = (x, y, x + mask.width, y + mask.height)
    if is_free(box, taken, 2):
        picture.paste(fill, (x, y), mask)
        taken.append(box)


def _scribble(
    rng: Rng,
    draw: ImageDraw.ImageDraw,
    fill: tuple[int, int, int],
    taken: list[Box],
    size: int,
) -> None:
    """Draw a zigzag or a curl of two to six strokes."""
    length, corners = log_uniform(rng, 8, 110), int(rng.integers(2, 7))
    points = np.cumsum(rng.normal(0, length / 3, (corners, 2)), axis=0)
    points += rng.uniform(0, size, 2) - points.mean(axis=0)
    if corners >= 3:
        t = np.linspace(0, corners - 1, corners * 5)
        smooth = rng.random() < 0.6
        along = [np.interp(t, np.arange(corners), axis) for axis in points.T]
        if smooth:
            along = [np.convolve(axis, np.full(4, 0.25), "valid") for axis in along]
        points = np.stack(along, axis=1)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    width, height = right - left, bottom - top
    # A straight line that stands alone is a 1.
    one = corners == 2 and height > 1.2 * width
    box = (left, top, right, bottom)
    if max(width, height) >= 6 and not one and is_free(box, taken, 2):
        pen = int(rng.integers(1, 6))
        draw.line([(x, y) for x, y in points.tolist()], fill=fill, width=pen, joint="curve")
        taken.append(box)


def _long_line(
    rng: Rng,
    draw: ImageDraw.ImageDraw,
    fill: tuple[int, int, int],
    taken: Sequence[Box],
    size: int,
) -> None:
    y, rise = rng.uniform(0, size), rng.normal(0, 20)
    left, right = np.sort(rng.uniform(-20, size + 20, 2)).tolist()
    box = (left, min(y, y + rise), right, max(y, y + rise))
    if right - left > 50 and is_free(box, taken, 1):
        draw.line((left, y, right, y + rise), fill=fill, width=int(rng.integers(1, 5)))


def _mark(rng: Rng, draw: ImageDraw.ImageDraw, fill: tuple[int, int, int], digit: Box) -> None:
    """Underline a digit, or put it in a box."""
    left, top, right, bottom = digit
    gap, pen = rng.uniform(3, 8), int(rng.integers(1, 3))
    if rng.random() < 0.5:
        y = bottom + gap
        draw.line((left - gap, y, right + gap, y + rng.normal(0, 2)), fill=fill, width=pen)
    else:
        frame = (left - gap, top - gap, right + gap, bottom + gap)
        draw.rectangle(frame, outline=fill, width=pen)


def _blot(
    rng: Rng,
    draw: ImageDraw.ImageDraw,
    fill: tuple[int, int, int],
    taken: Sequence[Box],
    size: int,
) -> None:
    (x, y), radius = rng.uniform(0, size, 2).tolist(), log_uniform(rng, 0.7, 9)
    flat = radius * rng.uniform(0.6, 1.2)
    if is_free((x - radius, y - radius, x + radius, y + radius), taken, 2):
        draw.ellipse((x - radius, y - flat, x + radius, y + radius), fill=fill)
