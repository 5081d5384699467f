"""Suppression: against Darknet's do_nms_sort, its defining properties, compiled == reference."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.boxes import diou_matrix_cxcywh, iou_matrix_cxcywh, nms_numba, nms_reference
from tinyyolo3.errors import InputError

VERSIONS = [nms_reference, nms_numba]
THRESHOLDS = [0.0, 0.25, 0.5, 0.75, 1.0]
halves = st.integers(0, 6).map(lambda k: k / 2)
#: Boxes and confidences from small grids: equal boxes, zero areas and equal scores are common.
grid_rows = st.lists(
    st.tuples(
        halves, halves, halves, halves, st.sampled_from([0, 0.25, 0.5, 1]), st.integers(0, 2)
    ),
    max_size=14,
)
odd = st.sampled_from([0.0, 1.0, 2.0, 1e30, np.inf, -np.inf, np.nan])
odd_rows = st.lists(
    st.tuples(odd, odd, odd, odd, st.sampled_from([0.5, -1, np.inf, np.nan]), st.integers(0, 1)),
    max_size=10,
)
options = st.fixed_dictionaries(
    {
        "iou_threshold": st.sampled_from(THRESHOLDS),
        "kind": st.sampled_from(["greedy", "diou"]),
        "class_agnostic": st.booleans(),
        "beta": st.sampled_from([0.6, 1.0]),
    }
)


def arrays(rows, dtype=np.float32):
    table = np.array(rows, np.float64).reshape(-1, 6)
    return table[:, :4].astype(dtype), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64)


@st.composite
def distinct(draw):
    """Draw random overlapping boxes whose confidences all differ."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 60))
    boxes = rng.uniform(0.2, 0.8, (count, 4)).astype(np.float32)
    confidence = ((rng.permutation(count) + 1) / (count + 1)).astype(np.float32)
    return boxes, confidence, rng.integers(0, 3, count), rng


def overlaps(boxes, option):
    if option["kind"] == "greedy":
        return iou_matrix_cxcywh(boxes, boxes)
    return diou_matrix_cxcywh(boxes, boxes, option["beta"])


def iou_above(a, b, threshold):
    """Compare box_iou with a threshold in rational numbers."""
    ax, ay, aw, ah = (Fraction(float(v)) for v in a)
    bx, by, bw, bh = (Fraction(float(v)) for v in b)
    width = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
    height = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
    if width <= 0 or height <= 0:
        return False
    return width * height > Fraction(threshold) * (aw * ah + bw * bh - width * height)


def do_nms_sort(boxes, prob, threshold):
    """Transcribe box.c's do_nms_sort: boxes (N, 4), prob (N, classes), zeroed where suppressed.

    The sort is stable, where Darknet's qsort leaves equal probabilities to chance.
    """
    detections = [(index, box, list(prob[index])) for index, box in enumerate(boxes)]
    for k in range(prob.shape[1]):
        detections.sort(key=lambda d: (-d[2][k], d[0]))
        for i, (_, a, prob_a) in enumerate(detections):
            if prob_a[k] == 0:
                continue
            for _, b, prob_b in detections[i + 1 :]:
                if iou_above(a, b, threshold):
                    prob_b[k] = 0
    return np.array([row for _, _, row in sorted(detections, key=lambda d: d[0])])


@pytest.mark.parametrize("nms", VERSIONS)
@given(st.data(), st.sampled_from(THRESHOLDS))
@settings(max_examples=60, deadline=None)
def test_rows_per_class_agree_with_darknets_do_nms_sort(nms, data, threshold):
    score = st.sampled_from([0, 0, 0.25, 0.5, 1])
    row = st.tuples(halves, halves, halves, halves, score, score, score)
    table = np.array(data.draw(st.lists(row, min_size=1, max_size=10)))
    boxes, prob = table[:, :4].astype(np.float32), table[:, 4:].astype(np.float32)
    expected = do_nms_sort(boxes, prob, threshold)
    box, label = np.indices(prob.shape).reshape(2, -1)
    keep = nms(boxes[box], prob.ravel(), label, iou_threshold=threshold)
    kept = np.zeros(prob.shape, bool)
    kept[box[keep], label[keep]] = True
    np.testing.assert_array_equal(kept, expected > 0)


@given(st.one_of(grid_rows, odd_rows), options, st.sampled_from([np.float32, np.float64]))
@settings(max_examples=60, deadline=None)
def test_numba_equals_reference_on_ties_and_odd_numbers(rows, option, dtype):
    boxes, confidence, class_id = arrays(rows, dtype)
    expected = nms_reference(boxes, confidence, class_id, **option)
    got = nms_numba(boxes, confidence, class_id, **option)
    assert got.dtype == expected.dtype == np.intp
    np.testing.assert_array_equal(got, expected)


@given(distinct(), options)
@settings(max_examples=40, deadline=None)
def test_numba_equals_reference_on_many_overlaps(rows, option):
    boxes, confidence, class_id, _ = rows
    np.testing.assert_array_equal(
        nms_numba(boxes, confidence, class_id, **option),
        nms_reference(boxes, confidence, class_id, **option),
    )


@pytest.mark.parametrize("nms", VERSIONS)
@given(grid_rows, options)
@settings(max_examples=60, deadline=None)
def test_survivors_are_apart_and_the_rest_has_a_surviving_suppressor(nms, rows, option):
    boxes, confidence, class_id = arrays(rows)
    keep = nms(boxes, confidence, class_id, **option)
    assert len(set(keep)) == len(keep)
    assert (confidence[keep] > 0).all()
    above = overlaps(boxes, option) > option["iou_threshold"]
    comparable = option["class_agnostic"] | (class_id[:, None] == class_id)
    suppresses = above & comparable
    assert not (suppresses[np.ix_(keep, keep)] & ~np.eye(len(keep), dtype=bool)).any()
    for row in set(np.flatnonzero(confidence > 0)) - set(keep):
        before = [k for k in keep if (-confidence[k], k) < (-confidence[row], row)]
        assert suppresses[before, row].any()


@pytest.mark.parametrize("nms", VERSIONS)
@given(grid_rows, options)
@settings(max_examples=40, deadline=None)
def test_order_is_confidence_descending_then_row(nms, rows, option):
    boxes, confidence, class_id = arrays(rows)
    keep = nms(boxes, confidence, class_id, **option)
    order = [(-confidence[k], k) for k in keep]
    assert order == sorted(order)


@pytest.mark.parametrize("nms", VERSIONS)
@given(distinct(), options)
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_changes_nothing(nms, rows, option):
    boxes, confidence, class_id, rng = rows
    shuffle = rng.permutation(len(boxes))
    keep = nms(boxes, confidence, class_id, **option)
    moved = nms(boxes[shuffle], confidence[shuffle], class_id[shuffle], **option)
    np.testing.assert_array_equal(shuffle[moved], keep)


@pytest.mark.parametrize("nms", VERSIONS)
@given(st.one_of(grid_rows, odd_rows), options)
@settings(max_examples=40, deadline=None)
def test_suppressing_the_survivors_again_keeps_them_all(nms, rows, option):
    boxes, confidence, class_id = arrays(rows)
    keep = nms(boxes, confidence, class_id, **option)
    again = nms(boxes[keep], confidence[keep], class_id[keep], **option)
    np.testing.assert_array_equal(again, np.arange(len(keep)))


@pytest.mark.parametrize("nms", VERSIONS)
def test_darknet_an_overlap_equal_to_the_threshold_suppresses_nothing(nms):
    boxes = np.array([[1, 1, 2, 2], [1, 1, 2, 1]], np.float32)  # IoU exactly 1/2
    confidence, class_id = np.array([0.9, 0.8], np.float32), np.zeros(2, int)
    assert list(nms(boxes, confidence, class_id, iou_threshold=0.5)) == [0, 1]
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert list(nms(boxes, confidence, class_id, iou_threshold=below)) == [0]


@pytest.mark.parametrize("nms", VERSIONS)
def test_darknet_the_threshold_is_rounded_to_float32(nms):
    boxes = np.array([[5, 5, 10, 10], [5, 5, 10, 3]], np.float32)  # IoU float32(0.3) > 0.3
    confidence, class_id = np.array([0.9, 0.8], np.float32), np.zeros(2, int)
    assert float(iou_matrix_cxcywh(boxes, boxes)[0, 1]) > 0.3
    assert list(nms(boxes, confidence, class_id, iou_threshold=0.3)) == [0, 1]


@pytest.mark.parametrize("nms", VERSIONS)
def test_classes_are_apart_unless_agnostic(nms):
    boxes = np.ones((3, 4), np.float32)
    confidence, class_id = np.array([0.5, 0.7, 0.6], np.float32), np.array([7, -2, 7])
    assert list(nms(boxes, confidence, class_id, iou_threshold=0.45)) == [1, 2]
    assert list(nms(boxes, confidence, class_id, iou_threshold=0.45, class_agnostic=True)) == [1]


@pytest.mark.parametrize("nms", VERSIONS)
def test_diou_spares_a_box_whose_centre_is_apart(nms):
    boxes = np.array([[2, 2, 4, 4], [3, 2, 4, 4], [2, 2, 4, 3]], np.float32)  # IoU .6 and .75
    rows = boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, int)
    assert list(nms(*rows, iou_threshold=0.55)) == [0]
    assert list(nms(*rows, iou_threshold=0.55, kind="diou", beta=0.6)) == [0, 1]
    assert list(nms(*rows, iou_threshold=0.55, kind="diou", beta=4.0)) == [0]


@pytest.mark.parametrize("nms", VERSIONS)
def test_rows_without_a_positive_confidence_never_survive_nor_suppress(nms):
    boxes = np.ones((5, 4), np.float32)
    confidence = np.array([np.nan, 0, -1, 0.1, -np.inf], np.float32)
    assert list(nms(boxes, confidence, np.zeros(5, int), iou_threshold=0.45)) == [3]


@pytest.mark.parametrize("nms", VERSIONS)
@pytest.mark.parametrize("side", range(4))
def test_a_box_with_a_nan_suppresses_nothing_and_survives(nms, side):
    boxes = np.ones((3, 4), np.float32)
    boxes[1, side] = np.nan
    rows = boxes, np.array([0.5, 0.9, 0.4], np.float32), np.zeros(3, int)
    for kind in ("greedy", "diou"):
        assert list(nms(*rows, iou_threshold=0.0, kind=kind)) == [1, 0]


@pytest.mark.parametrize("nms", VERSIONS)
def test_no_rows_give_no_rows(nms):
    none = np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, int)
    keep = nms(*none, iou_threshold=0.45)
    assert keep.shape == (0,)
    assert keep.dtype == np.intp


def test_ten_thousand_rows_of_one_class_agree_with_the_reference():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0.1, 0.9, (10_000, 4)).astype(np.float32)
    boxes[:, 2:] *= 0.3
    rows = boxes, rng.random(10_000).astype(np.float32), np.zeros(10_000, int)
    keep = nms_numba(*rows, iou_threshold=0.45)
    assert 100 < len(keep) < 5_000
    np.testing.assert_array_equal(keep, nms_reference(*rows, iou_threshold=0.45))


@pytest.mark.parametrize("nms", VERSIONS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iou_threshold": 1.5}, "iou_threshold must be"),
        ({"iou_threshold": -0.1}, "iou_threshold must be"),
        ({"iou_threshold": np.nan}, "iou_threshold must be"),
        ({"iou_threshold": True}, "iou_threshold must be"),
        ({"iou_threshold": "0.5"}, "iou_threshold must be"),
        ({"kind": "soft"}, "kind must be"),
        ({"beta": -1.0}, "beta must be"),
        ({"beta": np.nan}, "beta must be"),
        ({"boxes_cxcywh_unit": np.zeros((2, 5), np.float32)}, "shape \\(K, 4\\)"),
        ({"boxes_cxcywh_unit": np.zeros((2, 4), int)}, "float32 or float64"),
        ({"confidence": np.zeros(3, np.float32)}, "confidence must be"),
        ({"confidence": np.zeros(2, int)}, "confidence must be"),
        ({"class_id": np.zeros((2, 1), int)}, "class_id must be"),
        ({"class_id": np.zeros(2)}, "class_id must be"),
    ],
)
def test_rows_and_options_out_of_range_are_refused(nms, change, message):
    good = {
        "boxes_cxcywh_unit": np.zeros((2, 4), np.float32),
        "confidence": np.zeros(2, np.float32),
        "class_id": np.zeros(2, int),
        "iou_threshold": 0.45,
    }
    nms(**good)
    with pytest.raises(InputError, match=message):
        nms(**{**good, **change})
