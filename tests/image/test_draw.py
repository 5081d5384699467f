"""Drawing: lines where the boxes are, labels that can be read, and no input that breaks it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tinyyolo3.errors import InputError
from tinyyolo3.image.draw import class_colour, draw_detections, text_colour


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def draw(image: np.ndarray, boxes: list, labels: list[str], ids: list[int] | None = None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    ids = list(range(len(boxes))) if ids is None else ids
    return np.asarray(draw_detections(image, boxes, labels, ids))


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is true, the last two exclusive."""
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def label_extent(image: np.ndarray, boxes: list, labels: list[str], index: int):
    """Where one label is: what changes when its text becomes empty, its colour being unique."""
    colour = class_colour(index)
    with_label = (draw(image, boxes, labels) == colour).all(axis=2)
    without = (draw(image, boxes, [""] * len(labels)) == colour).all(axis=2)
    return extent(with_label & ~without)


def linear_light(colour: tuple[int, int, int]) -> list[float]:
    """sRGB without its transfer curve (IEC 61966-2-1)."""
    return [
        c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4
        for c in colour
    ]


def luminance(colour: tuple[int, int, int]) -> float:
    """Relative luminance, as WCAG 2.1 defines it."""
    return float(np.dot([0.2126, 0.7152, 0.0722], linear_light(colour)))


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def cielab(colour: tuple[int, int, int]) -> np.ndarray:
    """CIE 1976 L*a*b* of an sRGB colour under D65, where distance is difference to the eye."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(matrix @ np.array(linear_light(colour)) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_class_colours_are_stable_and_differ_to_the_eye():
    assert class_colour(0) == (255, 38, 38)
    colours = [class_colour(i) for i in range(80)]
    assert colours == [class_colour(i) for i in range(80)]
    assert all(0 <= c <= 255 for colour in colours for c in colour)
    places = [cielab(colour) for colour in colours]
    apart = [[np.linalg.norm(one - other) for other in places] for one in places]
    apart = np.array(apart) + np.diag([np.inf] * 80)
    assert apart.min() > 6
    assert apart[:20, :20].min() > 18


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_text_is_black_or_white_whichever_contrasts_more(background):
    chosen = text_colour(background)
    assert chosen in {(0, 0, 0), (255, 255, 255)}
    other = tuple(255 - c for c in chosen)
    assert contrast(chosen, background) >= contrast(other, background)


def test_the_line_runs_just_outside_the_box_in_its_colour():
    image = black(200, 300)
    drawn = draw(image, [[100, 50, 180, 120]], [""], [7])
    line = (drawn == class_colour(7)).all(axis=2)
    width = 1  # the area's square root is 245: one pixel, rounded up
    expected = np.zeros((200, 300), bool)
    expected[50 - width : 120 + width, 100 - width : 180 + width] = True
    expected[50:120, 100:180] = False
    assert np.array_equal(line, expected)
    assert not drawn[~expected].any()
    assert not image.any()


def test_a_box_that_leaves_the_picture_is_drawn_along_its_border():
    drawn = draw(black(40, 60), [[-1e30, -np.inf, np.inf, 20]], [""], [0])
    line = (drawn == class_colour(0)).all(axis=2)
    assert line[0].all()
    assert line[:21, 0].all()
    assert line[:21, -1].all()
    assert line[20].all()
    assert not line[21:].any()


def test_corners_may_come_in_any_order():
    image = black(50, 50)
    one, other = ([[10, 12, 30, 40]], [[30, 40, 10, 12]])
    assert np.array_equal(draw(image, one, ["a"]), draw(image, other, ["a"]))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "box",
    [[NAN, 1, 2, 3], [-9, 1, -1, 9], [1, -9, 9, -1], [70, 1, 90, 5], [1, 50, 5, 60], [INF] * 4],
)
def test_nan_boxes_and_boxes_outside_leave_no_trace(box):
    image = black(50, 60)
    assert np.array_equal(draw(image, [box], ["label"]), image)


def test_the_first_box_and_label_are_on_top():
    image = black(60, 60)
    box = [10, 20, 50, 50]
    drawn = draw(image, [box, box], ["", ""])
    assert (drawn == class_colour(0)).all(axis=2).any()
    assert not (drawn == class_colour(1)).all(axis=2).any()
    crowd = [f"label {i}" for i in range(30)]
    alone = draw(image, [box], crowd[:1])
    label = (draw(image, [box], [""]) != alone).any(axis=2)
    assert np.array_equal(draw(image, [box] * 30, crowd)[label], alone[label])


def test_label_stands_on_its_box_or_inside_at_the_top_of_the_picture():
    image, labels = black(400, 400), ["person 0.98"]
    left, top, _, bottom = label_extent(image, [[100, 100, 300, 300]], labels, 0)
    assert (left, bottom) == (98, 98)  # on the outer edge of a line of two pixels
    assert top > 70
    left, top, _, bottom = label_extent(image, [[100, 3, 300, 300]], labels, 0)
    assert bottom < 40
    assert left in (100, 98)
    assert top >= 1


def test_label_of_a_small_box_does_not_hide_it():
    image = black(400, 400)
    for box in ([200, 2, 212, 14], [200, 200, 212, 212], [386, 386, 398, 398], [2, 386, 14, 398]):
        x1, y1, x2, y2 = box
        drawn = draw(image, [box, box, box], ["kite 0.9", "bird 0.5", "person 0.4"])
        assert not drawn[y1:y2, x1:x2].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 380), st.integers(0, 280), st.integers(1, 300), st.integers(1, 300))
def test_labels_lie_whole_inside_the_picture(left, top, width, height):
    image = black(300, 400)
    box, text = [left, top, left + width, top + height], ["traffic light 0.51"]
    x1, y1, x2, y2 = label_extent(image, [box], text, 0)
    home = label_extent(image, [[100, 100, 300, 200]], text, 0)
    # Where label and line share a colour and meet, up to a line's width is counted as line.
    assert (x2 - x1) == pytest.approx(home[2] - home[0], abs=4)
    assert (y2 - y1) == pytest.approx(home[3] - home[1], abs=4)


def test_label_of_a_narrow_picture_is_moved_along_its_box_not_away():
    image, box = black(300, 100), [45, 200, 55, 210]
    left, _, right, bottom = label_extent(image, [box], ["person 0.9"], 0)
    assert bottom == 199
    assert left >= 0
    assert right <= 100


@pytest.mark.parametrize("box", [[100, 100, 300, 300], [100, 20, 300, 398], [0, 0, 400, 400]])
def test_labels_of_one_place_do_not_cover_each_other(box):
    image, boxes = black(400, 400), [box] * 4
    labels = ["person 0.98", "dog 0.52", "horse 0.40", "cow 0.31"]
    extents = [label_extent(image, boxes, labels, i) for i in range(4)]
    for one, other in itertools.combinations(extents, 2):
        apart_x = one[2] <= other[0] or other[2] <= one[0]
        apart_y = one[3] <= other[1] or other[3] <= one[1]
        assert apart_x or apart_y
    heights = [bottom - top for _, top, _, bottom in extents]
    assert max(heights) - min(heights) <= 4  # a line of two pixels above and below


def test_an_empty_label_takes_no_room():
    box = [100, 100, 300, 300]
    *_, bottom = label_extent(black(400, 400), [box, box], [" \n", "dog 0.5"], 1)
    assert bottom == 98


def test_an_endless_label_is_cut():
    """Pillow refuses to set more than a million characters."""
    assert draw(black(30, 30), [[5, 5, 20, 20]], ["x" * 2_000_000]).any()


@pytest.mark.parametrize("scale", [1, 4, 12])
def test_lines_and_letters_grow_with_the_picture(scale):
    side = 320 * scale
    image, boxes = black(side, side), [[side // 4, side // 4, side // 2, side // 2]]
    _, top, _, bottom = label_extent(image, boxes, ["dog 0.93"], 0)
    assert 0.02 * side < bottom - top < 0.06 * side
    line = (draw(image, boxes, [""], [0])[side // 3] != 0).any(axis=1)
    assert 0.003 * side < line.sum() / 2 < 0.008 * side


def test_text_is_set_in_its_colour_on_the_label():
    boxes, side = [[50, 100, 800, 900]], 1000  # large enough for strokes of pure colour
    left, top, right, bottom = label_extent(black(side, side), boxes, ["dog"], 0)
    label = draw(black(side, side) + 77, boxes, ["dog"], [0])[top:bottom, left:right]
    assert (label == class_colour(0)).all(axis=2).mean() > 0.3
    assert (label == text_colour(class_colour(0))).all(axis=2).mean() > 0.02
    assert not (label == 77).all(axis=2).any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.tuples(*[st.floats(width=32)] * 4),
            st.text(max_size=200),
            st.integers(-5, 10**9),
        ),
        max_size=6,
    ),
    st.integers(1, 90),
    st.integers(1, 90),
)
def test_nothing_breaks_it_and_the_input_stays(found, height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = image.copy()
    boxes = np.array([box for box, _, _ in found], np.float32).reshape(-1, 4)
    picture = draw_detections(image, boxes, [text for _, text, _ in found], [i for *_, i in found])
    assert isinstance(picture, Image.Image)
    assert picture.size == (width, height)
    assert picture.mode == "RGB"
    assert np.array_equal(image, before)


def test_no_boxes_give_a_copy_that_can_be_drawn_on():
    image = black(8, 9)
    picture = draw_detections(image, np.empty((0, 4), np.float32), [], [])
    picture.putpixel((0, 0), (1, 2, 3))
    assert not image.any()


@pytest.mark.parametrize(
    ("image", "boxes", "labels", "ids", "complaint"),
    [
        (np.zeros((4, 4, 3)), np.zeros((1, 4)), ["a"], [0], "float64"),
        (np.zeros((4, 4), np.uint8), np.zeros((1, 4)), ["a"], [0], r"\(4, 4\)"),
        (black(4, 0), np.zeros((1, 4)), ["a"], [0], "not empty"),
        (black(4, 4), np.zeros(4), ["a"], [0], r"\(N, 4\); found \(4,\)"),
        (black(4, 4), np.zeros((1, 4)), [], [0], r"boxes \(1\); found 0 and 1"),
        (black(4, 4), np.zeros((1, 4)), ["a"], [0, 1], "found 1 and 2"),
    ],
)
def test_wrong_arguments_are_refused(image, boxes, labels, ids, complaint):
    with pytest.raises(InputError, match=complaint):
        draw_detections(image, boxes, labels, ids)
