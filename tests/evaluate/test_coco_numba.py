"""The compiled form of COCO's protocol against the one that is written to be read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.evaluate import coco_numba, evaluate_columns
from tinyyolo3.evaluate.coco_numba import curves_numba, stable_order
from tinyyolo3.evaluate.coco_reference import curves_reference
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth
from tinyyolo3.parallel import thread_limit


def random_columns(seed, images, classes, objects, detections, *, grid=None):
    """Make a set; with a grid, one full of equal scores, IoUs and areas."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        sides = np.column_stack([rng.uniform(0, 90, (count, 2)), rng.uniform(0, 120, (count, 2))])
        return sides if grid is None else np.round(sides / grid) * grid

    box = boxes(objects)
    truth = GroundTruth(
        source="made up",
        image_ids=tuple(range(images)),
        names=tuple(f"class {k}" for k in range(classes)),
        category_ids=tuple(range(1, classes + 1)),
        image=rng.integers(0, images, objects),
        category=rng.integers(0, classes, objects),
        boxes_xywh_px=box,
        areas_px2=box[:, 2] * box[:, 3] * rng.choice([0.5, 1], objects),
        crowds=rng.random(objects) < 0.1,
        difficults=np.zeros(objects, np.bool_),
    )
    near = rng.integers(0, max(objects, 1), detections)
    copied = (rng.random(detections) < 0.6) & (objects > 0)
    own = boxes(detections)
    own[copied] = np.abs(box[near[copied]] + rng.integers(-2, 3, (copied.sum(), 4)))
    image, category = rng.integers(0, images, detections), rng.integers(0, classes, detections)
    image[copied], category[copied] = truth.image[near[copied]], truth.category[near[copied]]
    scores = rng.random(detections)
    return truth, FoundBoxes(image, category, own, scores if grid is None else scores.round(1))


def assert_same(found, expected):
    for name in expected._fields:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 25),
    st.integers(0, 60),
    st.sampled_from([None, 8, 32]),
)
@settings(max_examples=60, deadline=None)
def test_small_sets(seed, images, classes, objects, detections, grid):
    one = random_columns(seed, images, classes, objects, detections, grid=grid)
    assert_same(curves_numba(*one), curves_reference(*one))


def test_a_crowded_image():
    one = random_columns(1, 1, 2, 150, 600, grid=8)
    assert_same(curves_numba(*one), curves_reference(*one))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same(threads, monkeypatch):
    monkeypatch.setattr(coco_numba, "GRAIN_PAIRS", 1)
    one = random_columns(2, 20, 3, 120, 400, grid=8)
    with thread_limit(threads):
        assert_same(curves_numba(*one), curves_reference(*one))


@given(st.lists(st.integers(0, 4), max_size=30), st.randoms())
@settings(deadline=None)
def test_a_counting_sort_keeps_the_order_of_equals(keys, random):
    rows = list(range(len(keys)))
    random.shuffle(rows)
    found = stable_order(np.array(keys, np.int64), np.array(rows, np.int64), 5)
    assert found.tolist() == sorted(rows, key=lambda row: keys[row])


def test_positions_must_be_in_the_set():
    truth, found = random_columns(3, 2, 2, 5, 5)
    for name, count in (("image", 2), ("category", 2)):
        column = getattr(found, name).copy()
        for wrong in (count, -1):
            column[3] = wrong
            with pytest.raises(InputError, match=rf"{name}\[3\] is {wrong}, not a position"):
                evaluate_columns(truth, FoundBoxes(**{**vars(found), name: column}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scores", np.nan, r"scores\[2\] is nan"),
        ("scores", np.inf, r"scores\[2\] is inf"),
        ("boxes_xywh_px", -1, r"boxes_xywh_px\[2\] is \[-1.*negative size"),
        ("boxes_xywh_px", np.nan, r"boxes_xywh_px\[2\] is \[nan.*not finite"),
    ],
)
def test_columns_hold_numbers_that_can_be(name, value, message):
    _, found = random_columns(4, 2, 2, 5, 5)
    column = getattr(found, name).copy()
    column[2] = value
    with pytest.raises(InputError, match=message):
        FoundBoxes(**{**vars(found), name: column})


def test_columns_are_of_one_length_and_the_right_kind():
    truth, found = random_columns(5, 2, 2, 5, 5)
    with pytest.raises(InputError, match=r"scores must be float64 of shape \(5,\), not .* \(4,\)"):
        FoundBoxes(**{**vars(found), "scores": found.scores[:4]})
    with pytest.raises(InputError, match=r"category must be int64 .*, not float64"):
        FoundBoxes(**{**vars(found), "category": found.category.astype(float)})
    with pytest.raises(InputError, match=r"image\[0\] is 2, not a position among 2"):
        GroundTruth(**{**vars(truth), "image": np.full(5, 2)})
    with pytest.raises(InputError, match="2 names and 1 category ids"):
        GroundTruth(**{**vars(truth), "category_ids": (1,)})
