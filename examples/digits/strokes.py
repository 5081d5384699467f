"""Digits drawn from rules: further training digits, for hands that are not among the 13.

People elsewhere write a 7 without a bar, a 1 with a long flag or with a foot, a closed 4. Each
digit here has several forms, made of arcs and lines whose sizes, angles and gaps are drawn anew for
every digit. `digits.pages`, which judges the model, has templates and curves of its own.

Strokes are arrays (N, 2) of x and y in a box that is 1 high; x goes from 0 to the digit's width.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from digits.pen import arc, bezier, line
from tinyyolo3.arrays import FloatArray

Rng = np.random.Generator
Strokes = list[FloatArray]


def draw_digit_strokes(digit: int, rng: Rng) -> Strokes:
    """Return the strokes of a digit in one of its forms."""
    return _FORMS[digit](rng)


def _zero(rng: Rng) -> Strokes:
    width, start = rng.uniform(0.42, 0.78), rng.uniform(-140, -50)
    turn = (360 + rng.uniform(-14, 40)) * rng.choice((-1, 1))
    lean = rng.uniform(-0.03, 0.03)
    ring = arc((width / 2, 0.5), (width / 2, 0.5), start, start + turn)
    return [ring + np.linspace(-lean, lean, len(ring))[:, None]]


def _one(rng: Rng) -> Strokes:
    x, lean = 0.35, rng.uniform(-0.08, 0.12)
    foot = (x - lean, 1.0)
    strokes = [bezier((x, 0.0), (x + rng.uniform(-0.03, 0.03) - lean / 2, 0.5), foot)]
    form = rng.random()
    if form > 0.30:  # a flag: from a tick to half of the stem, always steeper than a 7's bar
        length = math.exp(rng.uniform(math.log(0.10), math.log(0.48)))
        steep = math.radians(rng.uniform(32, 62))
        start = (x - length * math.cos(steep), length * math.sin(steep))
        bend = (x - length * 0.45 * math.cos(steep), length * rng.uniform(0.35, 0.6))
        strokes.insert(0, bezier(start, bend, (x, 0.0)))
    if form > 0.62:  # a foot
        left, right = rng.uniform(0.10, 0.32, 2)
        tilt = rng.uniform(-0.03, 0.03)
        strokes.append(line((foot[0] - left, 1.0 + tilt), (foot[0] + right, 1.0 - tilt)))
    return strokes


def _two(rng: Rng) -> Strokes:
    width, r = rng.uniform(0.5, 0.75), rng.uniform(0.24, 0.33)
    end = rng.uniform(10, 50)
    top = arc((width / 2, r), (width / 2, r), rng.uniform(-200, -150), end)
    last = (float(top[-1, 0]), float(top[-1, 1]))
    corner = (rng.uniform(0, 0.1), rng.uniform(0.95, 1.0))
    slide = bezier(last, (last[0] - rng.uniform(0, 0.18), rng.uniform(0.62, 0.75)), corner)
    base_end = (width + rng.uniform(-0.06, 0.12), 1 + rng.uniform(-0.06, 0.04))
    if rng.random() < 0.3:  # a loop in the corner
        loop_y = rng.uniform(0.84, 0.9)
        loop = bezier(corner, (-0.12, loop_y - 0.02), (0.16, loop_y - 0.08), (0.3, 0.95))
        return [np.vstack([top, slide, loop, bezier((0.3, 0.95), (0.45, 1.02), base_end)])]
    sag = (width / 2, base_end[1] + rng.uniform(-0.07, 0.03))
    return [np.vstack([top, slide]), bezier(corner, sag, base_end)]


def _three(rng: Rng) -> Strokes:
    width, waist = rng.uniform(0.45, 0.7), rng.uniform(0.4, 0.52)
    low_r = (width * rng.uniform(0.5, 0.6), (1 - waist) / 2)
    end = rng.uniform(120, 165)
    bowl = arc((width - low_r[0], 1 - low_r[1]), low_r, rng.uniform(-110, -80), end)
    join = (float(bowl[0, 0]), float(bowl[0, 1]))
    if rng.random() < 0.3:  # a flat top
        right = (width * rng.uniform(0.85, 1.05), rng.uniform(-0.03, 0.03))
        return [np.vstack([line((rng.uniform(0, 0.08), 0.02), right), line(right, join), bowl])]
    top_r = (width * rng.uniform(0.42, 0.5), waist / 2)
    start = rng.uniform(-170, -135)
    top = arc((width * 0.52, top_r[1]), top_r, start, rng.uniform(55, 85))
    return [np.vstack([top, line(join), bowl])]


def _four(rng: Rng) -> Strokes:
    width, bar_y = rng.uniform(0.55, 0.8), rng.uniform(0.52, 0.7)
    stem_x = width * rng.uniform(0.6, 0.85)
    bar_end = (width + rng.uniform(-0.05, 0.1), bar_y + rng.uniform(-0.06, 0.02))
    lean = rng.uniform(-0.02, 0.08)
    if rng.random() < 0.45:  # closed: the stem begins where the slope does
        slope = line((stem_x, 0), (0, bar_y), bar_end)
        top = rng.uniform(-0.02, 0.06)
        return [slope, line((stem_x, top), (stem_x - lean, 1))]
    left = rng.uniform(0, width * 0.35)
    slope = bezier((left, rng.uniform(0, 0.1)), (left * 0.6, bar_y * 0.5), (0, bar_y))
    return [
        np.vstack([slope, line(bar_end)]),
        line((stem_x + lean / 2, rng.uniform(0, bar_y - 0.25)), (stem_x - lean, 1)),
    ]


def _five(rng: Rng) -> Strokes:
    width, waist = rng.uniform(0.45, 0.7), rng.uniform(0.36, 0.48)
    left = rng.uniform(0.03, 0.12)
    radius = (width * rng.uniform(0.5, 0.62), (1.04 - waist) / 2)
    start = rng.uniform(-130, -100)
    bowl = arc((width - radius[0], 1 - radius[1]), radius, start, rng.uniform(110, 160))
    gap = rng.uniform(0, 0.07) if rng.random() < 0.4 else 0.0
    bar = line((left + gap, 0.02), (width * rng.uniform(0.85, 1.15), rng.uniform(-0.05, 0.04)))
    back = line((left, 0.02), (left - rng.uniform(0, 0.06), waist + 0.02))
    if rng.random() < 0.35:  # in one go
        return [np.vstack([bar[::-1], back, bowl])]
    return [bar, np.vstack([back, bowl])]


def _six(rng: Rng) -> Strokes:
    width, loop_top = rng.uniform(0.42, 0.7), rng.uniform(0.42, 0.6)
    radius = (width / 2, (1 - loop_top) / 2)
    middle = 1 - radius[1]
    top = (width * rng.uniform(0.45, 1.05), 0.0)
    stem = bezier(top, (rng.uniform(-0.02, 0.12), rng.uniform(0.15, 0.4)), (0, middle))
    loop = arc((radius[0], middle), radius, 180, -180 - rng.uniform(-25, 45))
    return [np.vstack([stem, loop])]


def _seven(rng: Rng) -> Strokes:
    width, tilt = rng.uniform(0.48, 0.8), rng.uniform(-0.05, 0.05)
    corner = (width, tilt)
    foot = (width * rng.uniform(0.15, 0.65), 1.0)
    bow = (corner[0] - (corner[0] - foot[0]) * rng.uniform(0.35, 0.8), rng.uniform(0.35, 0.6))
    bar = line((0, rng.uniform(-0.02, 0.05)), corner)
    if rng.random() < 0.25:  # a wavy bar
        bar = bezier((0, 0.05), (width * 0.3, -0.08), (width * 0.7, 0.12), corner)
    strokes = [bar, bezier(corner, bow, foot)]
    if rng.random() < 0.25:  # a serif at the bar's beginning
        strokes.insert(0, line((float(bar[0, 0]), rng.uniform(0.1, 0.2)), (0, float(bar[0, 1]))))
    if rng.random() < 0.4:  # crossed
        y, half = rng.uniform(0.4, 0.6), rng.uniform(0.13, 0.3)
        along = (y - tilt) ** 1.1
        x = corner[0] + (foot[0] - corner[0]) * along
        strokes.append(line((x - half, y + rng.uniform(-0.02, 0.06)), (x + half, y)))
    return strokes


def _eight(rng: Rng) -> Strokes:
    width, waist = rng.uniform(0.42, 0.68), rng.uniform(0.4, 0.52)
    if rng.random() < 0.3:  # two rings
        top, low = waist / 2, (1 - waist) / 2
        narrow = width * rng.uniform(0.38, 0.5)
        start = rng.uniform(0, 360)
        return [
            arc((width / 2, top), (narrow, top), 90, 450 + rng.uniform(0, 25)),
            arc((width / 2, 1 - low), (width / 2, low), start, start + 360 + rng.uniform(0, 25)),
        ]
    start, turn = rng.uniform(-0.5, 0.7), rng.choice((-1, 1))
    t = np.linspace(start, start + 2 * math.pi + rng.uniform(-0.15, 0.3), 44)
    # The power moves the widest places to the middle of the rings.
    height = np.sign(np.cos(t)) * np.abs(np.cos(t)) ** 1.5
    y = np.where(height > 0, waist * (1 - height), waist - (1 - waist) * height)
    breadth = 1 - rng.uniform(0, 0.14) * height
    x = width / 2 * (1 + turn * np.sin(2 * t) * breadth)
    return [np.stack([x, y], axis=1)]


def _nine(rng: Rng) -> Strokes:
    width, low = rng.uniform(0.42, 0.68), rng.uniform(0.4, 0.58)
    radius = (width / 2, low / 2)
    start = rng.uniform(-50, 10)
    loop = arc((radius[0], radius[1]), radius, start, start - 360 + rng.uniform(-10, 25))
    right = (width, radius[1])
    neck = line((float(loop[-1, 0]), float(loop[-1, 1])), right)
    form = rng.random()
    if form < 0.4:  # a straight tail
        tail = line(right, (width - rng.uniform(-0.04, 0.25), 1))
    elif form < 0.75:  # a bent one
        tail = bezier(right, (width + 0.02, 0.7), (width * rng.uniform(0.2, 0.8), 1))
    else:  # a hook
        tail = bezier(right, (width, 1.02), (width * 0.6, 1.08), (0.05, rng.uniform(0.86, 0.95)))
    return [np.vstack([loop, neck, tail])]


_FORMS: Sequence[Callable[[Rng], Strokes]] = (
    _zero,
    _one,
    _two,
    _three,
    _four,
    _five,
    _six,
    _seven,
    _eight,
    _nine,
)
