"""Scenes and pages: made again they are the same, and boxes lie tight around ink."""

import numpy as np
import pytest

from digits.clutter import is_free
from digits.glyphs import CANVAS, Glyph
from digits.pages import PAGE_PX, draw_page
from digits.scenes import MOST_DIGITS, SIZE, Placed, Scene, draw_scene, lay_ink
from digits.writer import BLURRED, STROKES, Style, Writer, draw_style, make_writer, write_digit


@pytest.fixture(scope="module")
def writer() -> Writer:
    return make_writer(range(60), strokes=0.3)


@pytest.fixture(scope="module")
def scenes(writer: Writer) -> list[Scene]:
    return [draw_scene(np.random.default_rng([1, n]), writer) for n in range(40)]


def test_an_equal_generator_draws_an_equal_scene(writer: Writer, scenes: list[Scene]) -> None:
    for n in (39, 3):
        again = draw_scene(np.random.default_rng([1, n]), writer)
        for name in ("picture", "boxes_xyxy_px", "digits"):
            assert np.array_equal(getattr(again, name), getattr(scenes[n], name)), name
    assert not np.array_equal(scenes[0].picture, scenes[1].picture)


def test_scenes_are_pictures_with_labels(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.picture.shape == (SIZE, SIZE, 3)
        assert scene.picture.dtype == np.uint8
        assert scene.boxes_xyxy_px.shape == (len(scene.digits), 4)
        assert len(scene.digits) <= MOST_DIGITS
        sizes = scene.boxes_xyxy_px[:, 2:] - scene.boxes_xyxy_px[:, :2]
        assert (sizes > 2).all()
        assert (scene.boxes_xyxy_px >= 1).all()
        assert (scene.boxes_xyxy_px <= SIZE - 1).all()
    assert set(np.concatenate([scene.digits for scene in scenes])) == set(range(10))
    assert any(len(scene.digits) == 0 for scene in scenes)


def test_digits_of_a_scene_do_not_overlap(scenes: list[Scene]) -> None:
    for scene in scenes:
        boxes = [tuple(box) for box in scene.boxes_xyxy_px]
        assert all(is_free(box, boxes[:n], 0) for n, box in enumerate(boxes))


def test_a_written_digit_lies_tight_in_its_box(writer: Writer) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        ink = write_digit(rng, writer, draw_style(rng, writer, steady=True))
        left, top, right, bottom = ink.box_xyxy_px
        solid = ink.alpha > 0.4 * 255
        inside = solid[top:bottom, left:right]
        assert inside.sum() == solid.sum()
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_a_written_digit_is_the_one_that_its_label_says() -> None:
    # Each digit's only glyph is a block, the wider the greater the digit.
    glyphs = []
    for digit in range(10):
        grey = np.zeros((CANVAS, CANVAS), np.uint8)
        grey[18:78, 45 - 4 * digit : 51 + 4 * digit] = 255
        glyphs.append((Glyph(digit, grey, grey, (0.4, 0.5), 0.0, False),))
    rng, aspects = np.random.default_rng(0), [[] for _ in range(10)]
    for _ in range(400):
        ink = write_digit(rng, Writer(tuple(glyphs)), Style(BLURRED, 2.0, 0.0, 0.0, 0.0))
        aspects[ink.digit].append(ink.aspect)
    means = [np.mean(of_digit) for of_digit in aspects]
    assert means == sorted(means)
    assert np.diff(means).min() > 0.05


def test_ink_on_a_sheet_lies_tight_in_its_box(writer: Writer) -> None:
    rng = np.random.default_rng(0)
    crisp = Style(STROKES, 3.0, 0.0, 0.0, 0.0)
    for height in (20.0, 33.3, 150.0):
        for _ in range(10):
            place = rng.uniform(20, 60, 2)
            one = Placed(write_digit(rng, writer, crisp), *place, height)
            sheet = np.full((SIZE, SIZE, 3), 255, np.float32)
            lay_ink(rng, sheet, one, np.zeros(3))
            # A pixel of the sheet, and one of the digit's own, which is enlarged.
            tight_px = 1 + height / 60
            assert_tight(sheet[..., 0] < 255 * 0.8, np.array([one.box]), tight_px)


def test_pages_again_are_the_same_and_have_labels() -> None:
    page, again = (draw_page(np.random.default_rng([3, 1]), 1) for _ in range(2))
    assert page.picture.shape == (PAGE_PX[1], PAGE_PX[0], 3)
    assert np.array_equal(page.picture, again.picture)
    assert np.array_equal(page.boxes_xyxy_px, again.boxes_xyxy_px)
    assert len(page.digits) == len(page.boxes_xyxy_px) > 8
    assert not np.array_equal(page.picture, draw_page(np.random.default_rng([3, 2]), 1).picture)


def test_ink_on_a_page_lies_tight_in_its_box() -> None:
    for n in (1, 3):
        page = draw_page(np.random.default_rng([4, n]), 0)
        grey = page.picture.astype(float).mean(axis=2)
        # Light varies over the page: ink is darker than the paper around it, in or out of shadow.
        paper = grey.reshape(14, 50, 20, 50).max(axis=(1, 3)).repeat(50, axis=0).repeat(50, axis=1)
        assert_tight(grey < 0.6 * paper, page.boxes_xyxy_px, tight_px=2.5)


def assert_tight(ink: np.ndarray, boxes_xyxy_px: np.ndarray, tight_px: float) -> None:
    """Check that all ink lies in boxes, and that each box has ink at all its edges."""
    outside = ink.copy()
    for left, top, right, bottom in boxes_xyxy_px:
        rows = slice(int(max(top - tight_px, 0)), int(np.ceil(bottom + tight_px)))
        columns = slice(int(max(left - tight_px, 0)), int(np.ceil(right + tight_px)))
        outside[rows, columns] = False
        y, x = np.nonzero(ink[rows, columns])
        assert y.min() + rows.start <= top + tight_px
        assert x.min() + columns.start <= left + tight_px
        assert y.max() + rows.start + 1 >= bottom - tight_px
        assert x.max() + columns.start + 1 >= right - tight_px
    assert not outside.any()
