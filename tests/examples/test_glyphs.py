"""Enlarged digits keep their shape, whatever pen they are written with."""

import numpy as np
import pytest

from digits.glyphs import CANVAS, HOLES, Glyph, count_shape, prepare_glyph, thin
from digits.handwriting import handwriting


@pytest.fixture(scope="module")
def glyphs() -> list[Glyph]:
    pictures, digits = handwriting()
    return [prepare_glyph(pictures[n], int(digits[n])) for n in range(60)]


def test_a_ring_is_thinned_to_a_ring_one_pixel_wide() -> None:
    y, x = np.mgrid[:40, :40] - 19.5
    distance = np.hypot(y, x)
    line = thin((distance > 7) & (distance < 15))
    assert count_shape(line) == (1, 1)
    assert np.abs(distance[line] - 11).max() < 1.6
    # No square of four is left, as an 8-connected line one pixel wide has none.
    assert not (line[1:, 1:] & line[1:, :-1] & line[:-1, 1:] & line[:-1, :-1]).any()


def test_a_bar_is_thinned_to_its_middle() -> None:
    bar = np.zeros((20, 40), np.bool_)
    bar[6:13, 5:35] = True
    rows, columns = np.nonzero(thin(bar))
    assert set(rows[4:-4]) == {9}
    assert np.ptp(columns) > 20


def test_pieces_and_holes_are_counted() -> None:
    eight = np.zeros((12, 9), np.bool_)
    eight[1:6, 2:6], eight[6:11, 2:6] = True, True
    eight[2:4, 3:5] = eight[7:9, 3:5] = False
    assert count_shape(eight) == (1, 2)
    eight[0, 8] = True
    assert count_shape(eight) == (2, 2)


def test_legible_digits_have_their_holes_with_every_pen(glyphs: list[Glyph]) -> None:
    legible = [glyph for glyph in glyphs if glyph.legible]
    assert len(legible) > 45
    for glyph in legible:
        pieces, holes = count_shape(glyph.pen(1.5) > 0.5)
        assert pieces == 1
        assert holes in HOLES[glyph.digit]
        assert count_shape(glyph.pen(glyph.widest) > 0.5)[1] == holes
        for level in glyph.levels:
            assert count_shape(glyph.cut(level, 10) > 0.5)[1] in HOLES[glyph.digit]


def test_a_wider_pen_leaves_more_ink(glyphs: list[Glyph]) -> None:
    for glyph in glyphs:
        assert glyph.pen(1.5).sum() < glyph.pen(2.5).sum() < glyph.pen(4.0).sum()


def test_ink_lies_between_zero_and_one_and_off_the_border(glyphs: list[Glyph]) -> None:
    for glyph in glyphs:
        for ink in (glyph.pen(2), glyph.cut(glyph.levels[0], 5), glyph.blurred(1.4)):
            assert ink.shape == (CANVAS, CANVAS)
            assert (ink.min(), ink.max()) == (0, 1) or ink.max() > 0.9
            assert not ink[0].any()
            assert not ink[:, -1].any()
