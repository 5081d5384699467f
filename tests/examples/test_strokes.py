"""Digits drawn from rules have the shape of their digit."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from digits.glyphs import count_shape
from digits.pages import TEMPLATES
from digits.pen import arc, bezier, catmull_rom, draw_strokes
from digits.strokes import draw_digit_strokes

#: A 0 may not quite close, bars and feet not touch, and the end of a loop leave a slit.
PIECES = 2
HOLES = ((0, 1), (0,), (0, 1), (0,), (0, 1), (0,), (0, 1, 2), (0,), (1, 2), (0, 1))


@pytest.mark.parametrize("digit", range(10))
def test_drawn_digits_have_the_right_holes(digit: int) -> None:
    rng = np.random.default_rng(digit)
    found = []
    for _ in range(40):
        canvas = Image.new("L", (360, 480))
        strokes = [stroke * 300 + (70, 80) for stroke in draw_digit_strokes(digit, rng)]
        draw_strokes(ImageDraw.Draw(canvas), strokes, 14, 255)
        pieces, holes = count_shape(np.asarray(canvas) > 0)
        assert pieces <= PIECES
        found.append(holes)
    assert np.mean([holes in HOLES[digit] for holes in found]) > 0.9
    # What the digit is known by is there most often.
    assert np.median(found) == {0: 1, 4: np.median(found), 6: 1, 8: 2, 9: 1}.get(digit, 0)


@pytest.mark.parametrize("digit", range(10))
def test_drawn_digits_fill_their_height(digit: int) -> None:
    rng = np.random.default_rng(digit)
    for _ in range(40):
        points = np.vstack(draw_digit_strokes(digit, rng))
        assert np.isfinite(points).all()
        height, width = np.ptp(points[:, 1]), np.ptp(points[:, 0])
        assert 0.9 <= height <= 1.2
        assert width <= height


def test_the_flag_of_a_one_is_steeper_than_the_bar_of_a_seven() -> None:
    rng = np.random.default_rng(0)
    firsts = [draw_digit_strokes(1, rng)[0] for _ in range(60)]
    # Without a flag, the first stroke is the stem.
    slopes = [slope(stroke) for stroke in firsts if np.ptp(stroke[:, 1]) < 0.6]
    bars = [max(draw_digit_strokes(7, rng), key=lambda s: np.ptp(s[:, 0])) for _ in range(60)]
    assert len(slopes) > 15
    assert min(slopes) > 0.5
    assert max(abs(slope(bar)) for bar in bars if np.ptp(bar[:, 1]) < 0.3) < 0.3


def slope(stroke: np.ndarray) -> float:
    (x0, y0), (x1, y1) = stroke[0], stroke[-1]
    return (y0 - y1) / (x1 - x0)


def test_templates_of_the_pages_have_the_right_holes() -> None:
    for digit, forms in enumerate(TEMPLATES):
        assert len(forms) >= 2
        for form in forms:
            canvas = Image.new("L", (400, 400))
            curves = [catmull_rom(np.array(stroke, float)) * 18 + 60 for stroke in form]
            draw_strokes(ImageDraw.Draw(canvas), curves, 12, 255)
            pieces, holes = count_shape(np.asarray(canvas) > 0)
            assert pieces == 1
            assert holes in HOLES[digit]


def test_an_arc_begins_and_ends_at_its_angles() -> None:
    points = arc((10, 20), (4, 8), 0, 90)
    assert points[0] == pytest.approx([14, 20])
    assert points[-1] == pytest.approx([10, 28])


def test_a_bezier_curve_begins_and_ends_at_its_outer_controls() -> None:
    points = bezier((0, 0), (1, 2), (2, 0))
    assert points[0] == pytest.approx([0, 0])
    assert points[-1] == pytest.approx([2, 0])
    assert points[:, 1].max() == pytest.approx(1, abs=0.02)


def test_a_catmull_rom_curve_passes_all_points() -> None:
    points = np.array([[0, 0], [3, 1], [4, 5], [2, 7.0]])
    curve = catmull_rom(points)
    for point in points:
        assert np.abs(curve - point).sum(axis=1).min() < 1e-12


def test_a_pen_leaves_a_line_of_its_width() -> None:
    canvas = Image.new("L", (60, 40))
    draw_strokes(ImageDraw.Draw(canvas), [np.array([[10.0, 20.0], [50.0, 20.0]])], 9, 255)
    ink = np.asarray(canvas) > 0
    assert set(ink[:, 15:46].sum(axis=0)) <= {9, 10}
    assert ink[20, 6]
    assert not ink[20, 3]
