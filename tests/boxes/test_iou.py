"""IoU and DIoU: against exact fractions, between compiled and reference, and at the edges."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.boxes.iou import (
    diou_matrix_cxcywh,
    diou_scalar,
    iou_matrix_cxcywh,
    iou_scalar,
    sides_of_boxes,
)
from tinyyolo3.errors import InputError
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT32, ELEMENTARY_FLOAT64

quarters = st.integers(0, 12).map(lambda k: k / 4)
boxes = st.lists(st.tuples(quarters, quarters, quarters, quarters), min_size=1, max_size=6)


def iou_exact(a, b):
    """Take box_iou in rational numbers."""
    ax, ay, aw, ah = map(Fraction, a)
    bx, by, bw, bh = map(Fraction, b)
    width = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
    height = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
    if width <= 0 or height <= 0:
        return Fraction(0)
    return width * height / (aw * ah + bw * bh - width * height)


def diou_exact(a, b, beta):
    """Take box_diounms in rational numbers, but for the power."""
    ax, ay, aw, ah = map(Fraction, a)
    bx, by, bw, bh = map(Fraction, b)
    width = max(ax + aw / 2, bx + bw / 2) - min(ax - aw / 2, bx - bw / 2)
    height = max(ay + ah / 2, by + bh / 2) - min(ay - ah / 2, by - bh / 2)
    diagonal = width**2 + height**2
    if diagonal == 0:
        return float(iou_exact(a, b))
    return float(iou_exact(a, b)) - float(((ax - bx) ** 2 + (ay - by) ** 2) / diagonal) ** beta


@given(boxes, boxes)
@settings(max_examples=50, deadline=None)
def test_iou_matrix_is_the_fraction_rounded_once(a, b):
    expected = [[float(iou_exact(p, q)) for q in b] for p in a]
    np.testing.assert_array_equal(iou_matrix_cxcywh(np.array(a), np.array(b)), expected)
    single = iou_matrix_cxcywh(np.array(a, np.float32), np.array(b, np.float32))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, np.array(expected, np.float32))


@given(boxes, boxes, st.sampled_from([0.0, 0.6, 1.0, 2.0]))
@settings(max_examples=50, deadline=None)
def test_diou_matrix_is_the_formula(a, b, beta):
    expected = [[diou_exact(p, q, beta) for q in b] for p in a]
    got = diou_matrix_cxcywh(np.array(a), np.array(b), beta)
    np.testing.assert_allclose(got, expected, rtol=0, atol=ELEMENTARY_FLOAT64)
    single = diou_matrix_cxcywh(np.array(a, np.float32), np.array(b, np.float32), beta)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=ELEMENTARY_FLOAT32)


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=30, deadline=None)
def test_compiled_pairs_give_the_matrix_bits(seed, dtype):
    rng = np.random.default_rng(seed)
    some = rng.random((9, 4)).astype(dtype)
    sides = sides_of_boxes(some)
    matrix, weakened = iou_matrix_cxcywh(some, some), diou_matrix_cxcywh(some, some, 0.6)
    np.testing.assert_array_equal([iou_scalar(sides, 2, j) for j in range(9)], matrix[2])
    got = [diou_scalar(sides, 2, j, matrix[2, j], 0.6) for j in range(9)]
    exact = dtype == np.float32  # float64 shows the last bit of two libraries' pow
    np.testing.assert_allclose(got, weakened[2], rtol=0, atol=0 if exact else ELEMENTARY_FLOAT64)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_iou_is_symmetric_and_a_box_is_its_own_equal(seed):
    some = np.random.default_rng(seed).random((6, 4)) + 0.01
    matrix = iou_matrix_cxcywh(some, some)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix.diagonal(), 1, rtol=0, atol=1e3 * ELEMENTARY_FLOAT64)
    assert ((matrix >= 0) & (matrix <= 1 + 1e3 * ELEMENTARY_FLOAT64)).all()


def test_darknet_a_zero_union_or_intersection_is_no_overlap():
    point, line, square = [1, 1, 0, 0], [1, 1, 0, 2], [1, 1, 2, 2]
    some = np.array([point, point, line, square], np.float64)
    expected = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(iou_matrix_cxcywh(some, some), expected)
    sides = sides_of_boxes(some)
    assert [iou_scalar(sides, 0, j) for j in range(4)] == [0, 0, 0, 0]


def test_darknet_diou_of_one_point_with_itself_is_its_iou():
    point = np.array([[1.0, 1, 0, 0]])
    assert diou_matrix_cxcywh(point, point, 0.0) == 0  # a zero distance to the power 0 would be 1
    assert diou_scalar(sides_of_boxes(point), 0, 0, np.float64(0), 0.0) == 0


def test_a_nan_or_an_infinity_never_overlaps_and_never_warns():
    odd = [[np.nan if k == side else 1.0 for k in range(4)] for side in range(4)]
    odd += [[np.inf if k == side else 1.0 for k in range(4)] for side in range(4)]
    odd += [[np.inf, 1, np.inf, 1], [-np.inf, np.inf, np.inf, np.inf], [1e38] * 4]
    every = np.array([*odd, [1, 1, 1, 1]], np.float32)
    assert not (iou_matrix_cxcywh(every, every)[: len(odd)] > 0).any()
    diou_matrix_cxcywh(every, every, 0.6)
    sides = sides_of_boxes(every)
    for i in range(len(odd)):
        assert not any(iou_scalar(sides, i, j) > 0 for j in range(len(every)))


def test_what_are_no_boxes_is_refused():
    good = np.zeros((1, 4))
    with pytest.raises(InputError, match=r"shape \(K, 4\)"):
        iou_matrix_cxcywh(np.zeros((2, 5)), good)
    with pytest.raises(InputError, match="float32 or float64"):
        diou_matrix_cxcywh(good, np.zeros((1, 4), np.int64), 0.6)
