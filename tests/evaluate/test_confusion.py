"""The confusion matrix against its pairing told in words, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth
from tinyyolo3.evaluate.confusion import Confusion, confusion_matrix, pair_by_overlap

NAMES = ("cat", "dog")
BACKGROUND = len(NAMES)


def matrix(objects, detections, *, difficult=(), crowds=(), **options) -> np.ndarray:
    """Objects as (picture, class, left), detections as (picture, class, score, left)."""
    there = np.array(objects, np.float64).reshape(-1, 3)
    seen = np.array(detections, np.float64).reshape(-1, 4)

    def boxes(left: np.ndarray) -> np.ndarray:
        return np.stack([left, 0 * left, 0 * left + 10, 0 * left + 10], axis=1)

    flags = np.zeros((2, len(there)), np.bool_)
    flags[0, list(difficult)] = True
    flags[1, list(crowds)] = True
    truth = GroundTruth(
        source="set",
        image_ids=(1, 2, 3),
        names=NAMES,
        category_ids=(1, 2),
        image=there[:, 0].astype(np.int64),
        category=there[:, 1].astype(np.int64),
        boxes_xywh_px=boxes(there[:, 2]),
        areas_px2=np.full(len(there), 100.0),
        crowds=flags[1],
        difficults=flags[0],
    )
    found = FoundBoxes(
        seen[:, 0].astype(np.int64), seen[:, 1].astype(np.int64), boxes(seen[:, 3]), seen[:, 2]
    )
    return confusion_matrix(truth, found, **options).counts


def test_right_taken_for_another_missed_and_imagined():
    counts = matrix(
        [(0, 0, 0), (0, 1, 100), (2, 1, 0)],
        [(0, 0, 0.9, 0), (0, 0, 0.8, 101), (1, 1, 0.7, 0)],
    )
    expected = np.zeros((3, 3), int)
    expected[0, 0] = 1  # the cat
    expected[1, 0] = 1  # a dog taken for a cat
    expected[1, BACKGROUND] = 1  # a dog missed
    expected[BACKGROUND, 1] = 1  # a dog where there is nothing
    assert counts.tolist() == expected.tolist()


def test_detections_at_the_confidence_or_below_do_not_count():
    counts = matrix([(0, 0, 0)], [(0, 0, 0.25, 0)])
    assert counts[0].tolist() == [0, 0, 1]
    assert matrix([(0, 0, 0)], [(0, 0, 0.25, 0)], confidence=0.2)[0].tolist() == [1, 0, 0]


def test_second_detection_of_a_box_is_background():
    counts = matrix([(0, 0, 0)], [(0, 0, 0.3, 0), (0, 1, 0.9, 1)])
    assert counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]  # overlap decides, not confidence


def test_difficult_objects_and_their_detections_do_not_count():
    assert not matrix([(0, 0, 0)], [(0, 1, 0.9, 0)], difficult=[0]).any()
    assert not matrix([(0, 0, 0)], [], difficult=[0]).any()


def test_crowds_are_left_out():
    assert matrix([(0, 0, 0)], [(0, 0, 0.9, 0)], crowds=[0]).tolist()[BACKGROUND] == [1, 0, 0]


def test_nothing_at_all_is_all_zeros():
    assert not matrix([], []).any()


@given(
    st.integers(0, 6),
    st.integers(0, 6),
    st.randoms(use_true_random=False),
    st.sampled_from([0.0, 0.3, 0.7]),
)
@settings(max_examples=200, deadline=None)
def test_pairs_are_those_of_the_words(detections, boxes, random, threshold):
    """Each detection keeps its best box, then each box its best detection."""
    values = [random.random() for _ in range(detections * boxes)]
    iou = np.array(values).reshape(detections, boxes)
    expected = [-1] * detections
    favourites = {
        d: max(range(boxes), key=lambda g: iou[d, g])
        for d in range(detections)
        if boxes and iou[d].max() > threshold
    }
    for box in range(boxes):
        suitors = [d for d, favourite in favourites.items() if favourite == box]
        if suitors:
            expected[max(suitors, key=lambda d: iou[d, box])] = box
    assert pair_by_overlap(iou, threshold).tolist() == expected


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 30)), max_size=10),
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 1),
            st.sampled_from([0.1, 0.3, 0.9]),
            st.integers(0, 30),
        ),
        max_size=10,
    ),
)
@settings(max_examples=100, deadline=None)
def test_every_object_and_every_detection_counts_once(objects, detections):
    counts = matrix(objects, detections)
    of_objects = [sum(c == k for _, c, _ in objects) for k in range(BACKGROUND)]
    of_detections = [sum(c == k and s > 0.25 for _, c, s, _ in detections) for k in range(2)]
    assert counts[:BACKGROUND].sum(axis=1).tolist() == of_objects
    assert counts[:, :BACKGROUND].sum(axis=0).tolist() == of_detections
    assert counts.min() >= 0
    assert counts[BACKGROUND, BACKGROUND] == 0


@pytest.mark.parametrize("option", ["confidence", "iou_threshold"])
def test_threshold_out_of_range_is_refused(option):
    with pytest.raises(InputError, match=option):
        matrix([], [], **{option: 2})


def test_classes_without_objects_and_detections_can_be_left_out():
    counts = np.zeros((5, 5), np.int64)
    counts[1, 4], counts[4, 3] = 2, 1  # class 1 was missed, class 3 imagined
    seen = Confusion(("a", "b", "c", "d"), counts, 0.25, 0.45).seen()
    assert seen.names == ("b", "d")
    assert seen.counts.tolist() == [[0, 0, 2], [0, 0, 0], [0, 1, 0]]
    nothing = Confusion(("a",), np.zeros((2, 2), np.int64), 0.25, 0.45)
    assert nothing.seen() is nothing
