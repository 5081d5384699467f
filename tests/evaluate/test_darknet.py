"""Darknet's ``map`` protocol against its rank-by-rank definition, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinyyolo3.errors import InputError
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth
from tinyyolo3.evaluate.darknet import Counts, DarknetSettings, evaluate_darknet_columns
from tinyyolo3.evaluate.ranking import average_precision

#: Sums of a few quotients in another order.
ROUNDING = 1e-12


def ground_truth(rows, *, pictures=3, classes=2, difficult=(), crowds=()) -> GroundTruth:
    """Objects as (picture, class, left, top, width, height)."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    marked = np.zeros((2, len(table)), np.bool_)
    marked[0, list(difficult)] = True
    marked[1, list(crowds)] = True
    return GroundTruth(
        source="set",
        image_ids=tuple(range(1, pictures + 1)),
        names=tuple(f"class {i}" for i in range(classes)),
        category_ids=tuple(range(1, classes + 1)),
        image=table[:, 0].astype(np.int64),
        category=table[:, 1].astype(np.int64),
        boxes_xywh_px=table[:, 2:].copy(),
        areas_px2=table[:, 4] * table[:, 5],
        crowds=marked[1],
        difficults=marked[0],
    )


def found_boxes(rows) -> FoundBoxes:
    """Detections as (picture, class, score, left, top, width, height)."""
    table = np.array(rows, np.float64).reshape(-1, 7)
    return FoundBoxes(
        table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 3:].copy(), table[:, 2]
    )


def iou(a, b) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = width * height if width > 0 and height > 0 else 0.0
    return shared / (a[2] * a[3] + b[2] * b[3] - shared) if shared else 0.0


def rank_by_rank(truth, found, options):
    """The protocol told as a story: one detection after the other, counters, no arrays.

    Returns:
        Per class (AP, TP, FP, sum of IoUs), and the number of ranked detections.
    """
    objects = [
        (i, int(p), int(c), box, bool(d))
        for i, (p, c, box, d, crowd) in enumerate(
            zip(
                truth.image,
                truth.category,
                truth.boxes_xywh_px.tolist(),
                truth.difficults,
                truth.crowds,
                strict=True,
            )
        )
        if not crowd
    ]
    detections = sorted(
        (
            (-score, int(p), row, int(c), box)
            for row, (score, p, c, box) in enumerate(
                zip(
                    found.scores.tolist(),
                    found.image,
                    found.category,
                    found.boxes_xywh_px.tolist(),
                    strict=True,
                )
            )
            if score > options.threshold
        ),
        key=lambda d: d[:3],
    )
    classes = len(truth.names)
    totals = [sum(c == k and not d for _, _, c, _, d in objects) for k in range(classes)]
    taken, ranked = set(), [[] for _ in range(classes)]
    counts = [[0, 0, 0.0] for _ in range(classes)]
    for negative, picture, _, category, box in detections:
        best, owner = 0.0, None
        for index, p, c, other, is_difficult in objects:
            overlap = iou(box, other)
            if (p, c) == (picture, category) and not is_difficult and overlap > best:
                best, owner = overlap, index
        if best <= options.iou_threshold:
            owner = None
        right = owner is not None and owner not in taken
        taken.add(owner)
        excused = owner is None and any(
            (p, c) == (picture, category) and d and iou(box, other) > options.iou_threshold
            for _, p, c, other, d in objects
        )
        if not excused:
            ranked[category].append(right)
        if -negative > options.confidence:
            counts[category][0 if right else 1] += 1
            counts[category][2] += best if right else 0.0
    aps = [ap_by_definition(r, t, options.points) for r, t in zip(ranked, totals, strict=True)]
    return [(ap, *c) for ap, c in zip(aps, counts, strict=True)], sum(map(len, ranked))


def ap_by_definition(right, truths, points):
    curve, hits = [], 0
    for rank, is_right in enumerate(right, 1):
        hits += is_right
        curve.append((hits / truths if truths else 0.0, hits / rank))
    if points:
        recalls = [point / (points - 1) for point in range(points)]
        best = [max((p for r, p in curve if r >= recall), default=0.0) for recall in recalls]
        return sum(best) / points
    area, last_recall, last_precision = 0.0, curve[-1][0] if curve else 0.0, 0.0
    for recall, precision in reversed(curve):
        area += (last_recall - recall) * last_precision
        last_recall, last_precision = recall, max(last_precision, precision)
    return area + last_recall * last_precision


#: The first four overlap each other by a third to all; the last has no area.
BOXES = [(0, 0, 4, 4), (0, 0, 4, 3), (1, 0, 4, 4), (0, 0, 4, 2), (9, 0, 2, 2), (2, 2, 0, 3)]


@st.composite
def sets(draw):
    """Few pictures, boxes, scores: overlaps of all degrees, duplicates and ties are the rule."""
    box = st.sampled_from(BOXES)
    pictures, classes = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    who = st.tuples(st.integers(0, pictures - 1), st.integers(0, classes - 1))
    objects = draw(st.lists(st.tuples(who, box), max_size=12))
    flags = st.sets(st.integers(0, max(len(objects) - 1, 0))) if objects else st.just(set())
    score = st.sampled_from([0.001, 0.005, 0.006, 0.25, 0.3, 0.5, 0.9])
    detections = draw(st.lists(st.tuples(who, score, box), max_size=20))
    return (
        ground_truth(
            [(*w, *box) for w, box in objects],
            pictures=pictures,
            classes=classes,
            difficult=draw(flags),
            crowds=draw(flags) if draw(st.booleans()) else (),
        ),
        found_boxes([(*w, s, *box) for w, s, box in detections]),
    )


@given(sets(), st.sampled_from([0, 2, 11, 101]), st.sampled_from([0.2, 0.5, 0.75]))
@settings(max_examples=300, deadline=None)
def test_equals_the_definition_rank_by_rank(drawn, points, iou_threshold):
    truth, found = drawn
    options = DarknetSettings(points=points, iou_threshold=iou_threshold)
    result = evaluate_darknet_columns(truth, found, options)
    expected, detections = rank_by_rank(truth, found, options)
    assert result.detections == detections
    for own, (ap, hits, misses, iou_sum) in zip(result.classes, expected, strict=True):
        assert_allclose(own.average_precision, ap, rtol=0, atol=ROUNDING)
        assert (own.counts.true_positives, own.counts.false_positives) == (hits, misses)
        assert_allclose(own.counts.iou_sum, iou_sum, rtol=0, atol=ROUNDING)
    mean = np.mean([ap for ap, *_ in expected])
    assert_allclose(result.mean_average_precision, mean, rtol=0, atol=ROUNDING)
    assert result.counts.true_positives == sum(hits for _, hits, _, _ in expected)


class TestAveragePrecision:
    #: Right, wrong, right of two: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    RIGHT = np.array([True, False, True])

    def test_area_under_the_curve(self):
        ap, recalls, precisions = average_precision(self.RIGHT, 2)
        assert_allclose(ap, 0.5 * 1 + 0.5 * 2 / 3)
        assert recalls.tolist() == [0.5, 0.5, 1]
        assert_allclose(precisions, [1, 1 / 2, 2 / 3])

    def test_eleven_points(self):
        # Recalls 0 to .5 have precision 1, those from .6 have 2/3.
        assert_allclose(average_precision(self.RIGHT, 2, 11)[0], (6 * 1 + 5 * 2 / 3) / 11)

    def test_hundred_and_one_points(self):
        assert_allclose(average_precision(self.RIGHT, 2, 101)[0], (51 * 1 + 50 * 2 / 3) / 101)

    def test_recalls_that_are_not_reached_count_as_zero(self):
        assert average_precision(self.RIGHT[:1], 4, 0)[0] == 0.25
        assert_allclose(average_precision(self.RIGHT[:1], 4, 11)[0], 3 / 11)

    @pytest.mark.parametrize("points", [0, 11, 101])
    def test_everything_found_is_one_and_nothing_is_zero(self, points):
        assert average_precision(np.ones(5, np.bool_), 5, points)[0] == 1
        assert average_precision(np.zeros(0, np.bool_), 5, points)[0] == 0
        assert average_precision(np.zeros(3, np.bool_), 0, points)[0] == 0


class TestDarknetsWays:
    def test_duplicate_is_false_though_another_box_is_free(self):
        """validate_detector_map looks at the best box alone; COCO would take the second."""
        truth = ground_truth([(0, 0, 0, 0, 10, 10), (0, 0, 2, 0, 10, 10)])
        found = found_boxes([(0, 0, 0.9, 0, 0, 10, 10), (0, 0, 0.8, 0.5, 0, 10, 10)])
        own = evaluate_darknet_columns(truth, found).classes[0].counts
        assert (own.true_positives, own.false_positives, own.false_negatives) == (1, 1, 1)

    def test_most_confident_detection_of_a_box_is_the_right_one(self):
        truth = ground_truth([(0, 0, 0, 0, 10, 10)])
        found = found_boxes([(0, 0, 0.3, 0, 0, 10, 10), (0, 0, 0.9, 0, 0, 10, 8)])
        result = evaluate_darknet_columns(truth, found)
        assert result.classes[0].average_precision == 1
        assert_allclose(result.counts.iou_sum, 0.8)

    def test_detection_of_a_box_is_not_excused_by_a_difficult_one(self):
        truth = ground_truth([(0, 0, 0, 0, 10, 10), (0, 0, 0, 0, 10, 10)], difficult=[1])
        found = found_boxes([(0, 0, 0.9, 0, 0, 10, 10), (0, 0, 0.8, 0, 0, 10, 10)])
        result = evaluate_darknet_columns(truth, found)
        assert (result.detections, result.counts.true_positives) == (2, 1)

    def test_class_without_objects_counts_in_the_mean_as_zero(self):
        truth = ground_truth([(0, 0, 0, 0, 10, 10)], classes=4)
        result = evaluate_darknet_columns(truth, found_boxes([(0, 0, 0.9, 0, 0, 10, 10)]))
        assert result.mean_average_precision == 1 / 4

    def test_false_positive_counts_in_the_average_iou_as_zero(self):
        truth = ground_truth([(0, 0, 0, 0, 10, 10)])
        found = found_boxes([(0, 0, 0.9, 0, 0, 10, 8), (0, 0, 0.8, 50, 0, 10, 10)])
        assert_allclose(evaluate_darknet_columns(truth, found).counts.average_iou, 0.8 / 2)

    def test_detection_of_a_difficult_object_is_left_out_of_the_curve_and_counts_as_false(self):
        truth = ground_truth([(0, 0, 0, 0, 10, 10), (0, 0, 50, 50, 10, 10)], difficult=[0])
        found = found_boxes([(0, 0, 0.9, 0, 0, 10, 10), (0, 0, 0.8, 50, 50, 10, 10)])
        result = evaluate_darknet_columns(truth, found)
        assert result.classes[0].average_precision == 1
        assert result.detections == 1
        assert (result.counts.true_positives, result.counts.false_positives) == (1, 1)
        assert result.counts.truths == 1

    def test_nothing_found_gives_zeros_instead_of_nan(self):
        counts = evaluate_darknet_columns(ground_truth([]), found_boxes([])).counts
        assert (counts.precision, counts.recall, counts.f1, counts.average_iou) == (0, 0, 0, 0)

    def test_thresholds_are_strict(self):
        truth = ground_truth([(0, 0, 0, 0, 10, 10), (1, 0, 0, 0, 10, 10)])
        exactly_half = found_boxes([(0, 0, 0.9, 0, 0, 10, 5), (1, 0, 0.005, 0, 0, 10, 10)])
        result = evaluate_darknet_columns(truth, exactly_half)
        assert (result.detections, result.counts.true_positives) == (1, 0)
        quarter = found_boxes([(0, 0, 0.25, 0, 0, 10, 10), (1, 0, 0.26, 0, 0, 10, 10)])
        assert evaluate_darknet_columns(truth, quarter).counts.true_positives == 1

    def test_crowds_are_left_out(self):
        truth = ground_truth([(0, 0, 0, 0, 10, 10), (0, 0, 50, 0, 10, 10)], crowds=[0])
        found = found_boxes([(0, 0, 0.9, 0, 0, 10, 10), (0, 0, 0.8, 50, 0, 10, 10)])
        result = evaluate_darknet_columns(truth, found)
        assert (result.counts.truths, result.counts.false_positives) == (1, 1)
        assert result.classes[0].average_precision == 0.5

    def test_other_classes_and_pictures_do_not_match(self):
        truth = ground_truth([(0, 0, 0, 0, 10, 10)])
        elsewhere = found_boxes([(1, 0, 0.9, 0, 0, 10, 10), (0, 1, 0.9, 0, 0, 10, 10)])
        assert evaluate_darknet_columns(truth, elsewhere).counts.true_positives == 0


def test_counts_by_hand():
    counts = Counts(true_positives=6, false_positives=2, truths=10, iou_sum=4.8)
    assert counts.false_negatives == 4
    assert (counts.precision, counts.recall) == (0.75, 0.6)
    assert_allclose(counts.f1, 2 * 0.75 * 0.6 / 1.35)
    assert_allclose(counts.average_iou, 0.6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"points": 1},
        {"points": -1},
        {"points": 11.0},
        {"threshold": float("nan")},
        {"iou_threshold": 1.5},
        {"confidence": "0.25"},
        {"confidence": True},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        DarknetSettings(**wrong)
