"""Boxes and their nearest anchors: the reference by other means, the compiled loop by it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.anchors.assign import BLOCK, GRAIN, assign_numba, assign_reference
from tinyyolo3.boxes.iou import iou_matrix_cxcywh
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.tolerances import GRADIENT, repeated_summation, summation


@st.composite
def cases(draw, most: int = 3 * BLOCK):
    """Sizes, weights and anchors; some sizes are anchors, or share a side with one."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, anchors = draw(st.integers(1, most)), draw(st.integers(1, 12))
    sizes = np.exp(random.normal(4, draw(st.sampled_from([0.01, 1, 4])), (count, 2)))
    if draw(st.booleans()):
        sizes = np.ceil(sizes)
    chosen = sizes[random.integers(count, size=anchors)]
    chosen[random.random(chosen.shape) < 0.3] = 7.0
    return sizes, random.integers(1, 5, count).astype(float), chosen


@given(cases(most=200))
@settings(deadline=None)
def test_the_reference_is_the_iou_of_centred_boxes(case) -> None:
    sizes, weights, anchors = case
    centred = [np.column_stack([np.zeros_like(a), a]) for a in (sizes, anchors)]
    expected = iou_matrix_cxcywh(*centred)
    found = assign_reference(sizes, weights, anchors)
    own = expected[np.arange(len(sizes)), found.nearest]
    np.testing.assert_allclose(own, expected.max(axis=1), rtol=summation(1, 8, np.float64))
    np.testing.assert_allclose(found.iou, own, rtol=summation(1, 8, np.float64))
    for k in range(len(anchors)):
        mine = found.nearest == k
        assert found.boxes[k] == weights[mine].sum()
        assert found.size_sums[k] == pytest.approx(weights[mine] @ sizes[mine])
        assert found.iou_sums[k] == pytest.approx(weights[mine] @ own[mine])


def test_of_equal_anchors_the_first_is_taken() -> None:
    sizes, anchors = np.full((3, 2), 8.0), np.array([[8.0, 4], [8, 8], [8, 8], [8, 16]])
    for assign in (assign_reference, assign_numba):
        assert assign(sizes, np.ones(3), anchors).nearest.tolist() == [1, 1, 1]
        assert assign(sizes, np.ones(3), anchors[[0, 3]]).nearest.tolist() == [0, 0, 0]


@given(cases())
@settings(deadline=None)
def test_compiled_as_the_reference(case) -> None:
    sizes, weights, _ = case
    expected, found = assign_reference(*case), assign_numba(*case)
    np.testing.assert_array_equal(found.nearest, expected.nearest)
    np.testing.assert_array_equal(found.iou, expected.iou)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    for name in ("size_sums", "iou_sums"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (np.abs(a - b) <= repeated_summation(b, len(sizes), np.float64)).all(), name
    # Each term of a slope is at most its weight: both shares of the union are at most 1.
    allowed = repeated_summation(expected.boxes[:, None], len(sizes), np.float64)
    assert (np.abs(found.slopes - expected.slopes) <= allowed).all()
    assert found.mean_iou == pytest.approx(weights @ expected.iou / weights.sum())


def test_slopes_are_the_derivatives() -> None:
    random = np.random.default_rng(3)
    sizes, weights = np.exp(random.normal(4, 1, (500, 2))), random.integers(1, 4, 500).astype(float)
    anchors, step = np.exp(random.normal(4, 1, (5, 2))), 1e-7
    slopes = assign_reference(sizes, weights, anchors).slopes
    for place in np.ndindex(anchors.shape):
        both = []
        for sign in (1, -1):
            moved = anchors.copy()
            moved[place] *= np.exp(sign * step)
            both.append(assign_reference(sizes, weights, moved).iou_sums.sum())
        numeric = (both[0] - both[1]) / (2 * step)
        assert abs(numeric - slopes[place]) < GRADIENT * np.abs(slopes).max(), place


def test_a_size_equal_to_its_anchor_has_no_slope() -> None:
    sizes = np.array([[10.0, 20.0]])
    for assign in (assign_reference, assign_numba):
        assert not assign(sizes, np.ones(1), sizes).slopes.any()
        slopes = assign(sizes, np.ones(1), np.array([[10.0, 10.0]])).slopes[0]
        assert slopes[0] == 0
        assert slopes[1] == 0.5  # IoU is half, and all of the box is outside of what is common


def test_the_number_of_threads_does_not_show() -> None:
    random = np.random.default_rng(4)
    count = 4 * GRAIN * BLOCK + 77  # enough for four threads
    case = (
        np.exp(random.normal(4, 1, (count, 2))),
        random.random(count),
        np.exp(random.normal(4, 1, (9, 2))),
    )
    results = []
    for threads in (1, 2, 4):
        with thread_limit(threads):
            results.append(assign_numba(*case))
    for other in results[1:]:
        for name in ("nearest", "iou", "boxes", "size_sums", "iou_sums", "slopes"):
            np.testing.assert_array_equal(getattr(other, name), getattr(results[0], name), name)
