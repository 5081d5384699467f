"""What digits are written on, and the colour of what they are written with."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from digits.strokes import Rng
from digits.writer import log_uniform, smooth_field
from tinyyolo3.arrays import FloatArray

#: How often paper is darker than the ink, and how often it has lines.
_DARK, _RULED = 0.12, 0.38
#: Least distance of ink from the paper, in grey levels: less, and nobody could read it.
_LEAST_CONTRAST = 75
_MARGIN_LINE = (200, 90, 90)


@dataclass(frozen=True, eq=False)
class Paper:
    """A sheet before anything is written on it.

    Attributes:
        picture: RGB.
        colour: (3,) float64, what most of it has, 0 to 255.
        dark: whether ink is lighter than it.
    """

    picture: Image.Image
    colour: FloatArray
    dark: bool


def draw_paper(rng: Rng, size_px: int) -> Paper:
    """Draw a square sheet: rough or smooth, clean or stained, plain, ruled or squared."""
    dark = rng.random() < _DARK
    colour = _colour(rng, dark)
    sheet = np.empty((size_px, size_px, 3), np.float32)
    sheet[:] = np.clip(colour, 0, 255)
    if rng.random() < 0.75:
        sheet += _grain(rng, size_px)[..., None]
    if rng.random() < 0.3:
        stains = smooth_field(rng, int(rng.integers(12, 40)), size_px)
        sheet += (stains * rng.uniform(2, 14))[..., None]
    picture = to_picture(sheet)
    if rng.random() < _RULED:
        _rule(rng, picture, colour, dark)
    return Paper(picture, colour, dark)


def draw_ink(rng: Rng, paper: Paper) -> FloatArray:
    """Draw a colour (3,), 0 to 255, of ink that can be read on a paper."""
    contrast = rng.uniform(_LEAST_CONTRAST, 235)
    brightness = float(paper.colour.mean())
    if paper.dark:
        lighter: FloatArray = np.clip(paper.colour + contrast, 0, 255)
        return lighter
    contrast = max(min(contrast, brightness - 2), min(45, brightness * 0.6))
    colour: FloatArray = paper.colour - contrast
    kind = rng.random()
    for share, tint, strongest in _TINTS:
        if kind < share:
            colour = colour.mean() + np.array(tint) * rng.uniform(10, strongest)
            break
    readable: FloatArray = np.clip(colour, 0, 255)
    return readable


#: Blue, red and green pens: the share of inks up to here, the tint, and its greatest strength.
_TINTS = (
    (0.35, (-1.0, -0.3, 1.2), 70),
    (0.50, (1.3, -0.5, -0.5), 70),
    (0.57, (-0.6, 0.9, -0.5), 50),
)


def to_picture(values: FloatArray) -> Image.Image:
    """Return an RGB picture of values (H, W, 3), cut to 0 to 255."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _colour(rng: Rng, dark: bool) -> FloatArray:
    kind = rng.random()
    if dark:
        brightness, tint = rng.uniform(5, 90), rng.uniform(-25, 25, 3)
    elif kind < 0.5:  # white
        brightness, tint = rng.uniform(190, 253), rng.uniform(-8, 8, 3)
    elif kind < 0.75:  # yellowed
        brightness, tint = rng.uniform(170, 245), np.array([8, 0, -rng.uniform(5, 50)])
    else:
        brightness, tint = rng.uniform(110, 230), rng.uniform(-30, 30, 3)
    colour: FloatArray = tint + brightness
    return colour


def _grain(rng: Rng, size_px: int) -> FloatArray:
    """Return (size, size) of noise whose grains have one to four pixels."""
    grain = int(rng.integers(1, 5))
    side = -(-size_px // grain)
    noise = rng.standard_normal((side, side), dtype=np.float32)
    if grain > 1:
        enlarged = Image.fromarray(noise).resize((size_px, size_px), Image.Resampling.BILINEAR)
        noise = np.asarray(enlarged)
    return noise * np.float32(rng.uniform(0.5, 7))


def _rule(rng: Rng, picture: Image.Image, colour: FloatArray, dark: bool) -> None:
    draw, size = ImageDraw.Draw(picture), picture.width
    step, slope = log_uniform(rng, 9, 60), math.tan(math.radians(rng.normal(0, 3)))
    fade = rng.uniform(0.5, 0.93)
    shade = colour + (1 - fade) * 160 if dark else colour * fade
    line = as_rgb(shade + rng.uniform(-30, 30, 3))
    width, first = 1 if rng.random() < 0.8 else 2, rng.uniform(0, step) - step
    places = [first + step * n for n in range(int(size / step) + 3)]
    for y in places:
        draw.line((0, y, size, y + size * slope), fill=line, width=width)
    if rng.random() < 0.45:
        for x in places:
            draw.line((x, 0, x - size * slope, size), fill=line, width=width)
    if rng.random() < 0.3:
        x = rng.uniform(10, 70)
        draw.line((x, 0, x - size * slope, size), fill=_MARGIN_LINE, width=width)


def as_rgb(colour: FloatArray) -> tuple[int, int, int]:
    """Return a colour (3,) as Pillow takes it, cut to 0 to 255."""
    red, green, blue = (int(value) for value in np.clip(colour, 0, 255))
    return red, green, blue
