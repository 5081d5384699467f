"""A head's deltas: Darknet's rules one by one, and the gradients of what they stand for."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.yolo import split_anchors, yolo_forward_reference
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT64, GRADIENT
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.loss import head_deltas_reference
from tinyyolo3.train.options import HeadRules

#: A grid of 4 x 2 cells of 16 px. Of the four anchors the head has the last two; 16 x 16 is the
#: shape of a cell.
RULES = HeadRules(
    anchors_px=((8, 8), (24, 8), (16, 16), (32, 32)),
    mask=(2, 3),
    classes=2,
    network_size_px=(64, 32),
    iou_normalizer=1.0,
)
X, Y, W, H, OBJECTNESS, FIRST_CLASS = range(6)


def rules(**changes: Any) -> HeadRules:
    return dataclasses.replace(RULES, **changes)


def predictions(*, box: float = 0.5, objectness: float = 0.3, classes: float = 0.2) -> FloatArray:
    """Return the same prediction everywhere, (1, 2, 7, 2, 4): centred, of its anchor's size."""
    found = np.zeros((1, 2, 7, 2, 4))
    found[:, :, :2] = box
    found[:, :, OBJECTNESS] = objectness
    found[:, :, FIRST_CLASS:] = classes
    return found


def truths(*labels: tuple[float, float, float, float, int]) -> Truths:
    """Return truths of cx, cy, w, h in px and a class."""
    numbers = np.array(labels, np.float64).reshape(-1, 5)
    unit = numbers[:, :4] / (64, 32, 64, 32)
    return Truths(unit, numbers[:, 4].astype(np.int64))


def deltas(found: FloatArray, truth: Truths, own: HeadRules = RULES) -> FloatArray:
    """Return the deltas (2, 7, 2, 4) of one picture."""
    maps = found.reshape(1, 14, 2, 4)
    return head_deltas_reference(maps, [truth], own).reshape(2, 7, 2, 4)


def assert_near(found: FloatArray, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=ELEMENTARY_FLOAT64, atol=ELEMENTARY_FLOAT64)


#: A truth on the prediction of the first anchor at column 1, row 0, of that anchor's own size.
FITTING = (24, 8, 16, 16, 1)


def test_without_truths_every_objectness_falls() -> None:
    found = deltas(predictions(), truths(), rules(obj_normalizer=0.5))
    assert_near(found[:, OBJECTNESS], -0.15)
    found[:, OBJECTNESS] = 0
    assert not found.any()


def test_a_truth_makes_the_best_anchor_responsible_in_the_cell_of_its_centre() -> None:
    found = deltas(predictions(), truths((28, 6, 20, 14, 1)))
    own = found[0, :, 0, 1].copy()
    weight = 2 - 20 * 14 / (64 * 32)
    assert_near(own[X], weight * (0.75 - 0.5))
    assert_near(own[Y], weight * (0.375 - 0.5))
    assert_near(own[W], weight * np.log(20 / 16))
    assert_near(own[H], weight * np.log(14 / 16))
    assert_near(own[OBJECTNESS:], [0.7, -0.2, 0.8])
    found[0, :, 0, 1] = 0
    found[:, OBJECTNESS] = 0
    assert not found.any()


@pytest.mark.parametrize(
    ("centre_px", "cell"), [((15.9, 15.9), (0, 0)), ((16.1, 15.9), (1, 0)), ((63.9, 16.1), (3, 1))]
)
def test_a_centre_belongs_to_the_cell_around_it(
    centre_px: tuple[float, float], cell: tuple[int, int]
) -> None:
    found = deltas(predictions(), truths((*centre_px, 16, 16, 1)))
    column, row = cell
    assert_near(found[0, FIRST_CLASS + 1, row, column], 0.8)
    assert np.count_nonzero(found[:, FIRST_CLASS + 1]) == 1


def test_iou_normalizer_weighs_boxes_and_obj_normalizer_objectness() -> None:
    plain = deltas(predictions(), truths((28, 6, 20, 14, 1)))[0, :, 0, 1]
    own = rules(iou_normalizer=0.25, obj_normalizer=3.0)
    found = deltas(predictions(), truths((28, 6, 20, 14, 1)), own)[0, :, 0, 1]
    assert_near(found[:4], 0.25 * plain[:4])
    assert_near(found[OBJECTNESS], 3 * plain[OBJECTNESS])
    assert_near(found[FIRST_CLASS:], plain[FIRST_CLASS:])


def test_a_truth_whose_best_anchor_is_another_heads_is_left_to_that() -> None:
    found = deltas(predictions(), truths((28, 6, 24, 8, 1)))
    assert_near(found[:, OBJECTNESS], -0.3)
    assert not found[:, :4].any()
    assert not found[:, FIRST_CLASS:].any()


def test_the_first_of_equally_good_anchors_wins() -> None:
    twins = rules(anchors_px=((8, 8), (8, 8), (16, 16), (16, 16)))
    found = deltas(predictions(), truths(FITTING), twins)
    assert_near(found[:, OBJECTNESS, 0, 1], [0.7, -0.3])


@pytest.mark.parametrize(("classes", "ignored"), [(0.2, False), (0.25, False), (0.26, True)])
def test_a_good_prediction_is_ignored_only_with_a_class_above_the_gate(
    classes: float, ignored: bool
) -> None:
    # The truth lies on a prediction of the second anchor, and its size belongs to another head.
    found = predictions(classes=classes)
    found[0, 1, W, 0, 1], found[0, 1, H, 0, 1] = np.log(24 / 32), np.log(8 / 32)
    delta = deltas(found, truths((24, 8, 24, 8, 1)))
    assert (delta[1, OBJECTNESS, 0, 1] == 0) == ignored


@pytest.mark.parametrize(("threshold", "ignored"), [(0.49, True), (0.5, False), (0.51, False)])
def test_the_iou_must_exceed_ignore_thresh(threshold: float, ignored: bool) -> None:
    # The prediction of the first anchor is the left half of the truth, whose size is the others'.
    own = rules(ignore_thresh=threshold, anchors_px=((32, 16), (24, 8), (16, 16), (64, 64)))
    delta = deltas(predictions(classes=0.9), truths((32, 8, 32, 16, 1)), own)
    assert (delta[0, OBJECTNESS, 0, 1] == 0) == ignored


def test_a_responsible_prediction_learns_although_it_would_be_ignored() -> None:
    delta = deltas(predictions(classes=0.9), truths(FITTING))
    assert_near(delta[0, OBJECTNESS, 0, 1], 0.7)


def test_a_second_truth_adds_its_class_and_pulls_at_the_box_too() -> None:
    one, other = (28, 6, 16, 16, 1), (20, 10, 16, 16, 0)
    alone = [deltas(predictions(), truths(each))[0, :, 0, 1] for each in (one, other)]
    both = deltas(predictions(), truths(one, other))[0, :, 0, 1]
    assert_near(both[:4], alone[0][:4] + alone[1][:4])
    assert_near(both[OBJECTNESS], 0.7)
    assert_near(both[FIRST_CLASS:], [0.8, 0.8])


def test_classes_taught_anew_where_the_own_class_has_no_delta_yet() -> None:
    # DARKNET looks at the delta of the second truth's own class, which a certain 0 leaves at 0.
    found = predictions()
    found[0, 0, FIRST_CLASS, 0, 1] = 0.0
    both = deltas(found, truths((28, 6, 16, 16, 1), (20, 10, 16, 16, 0)))[0, :, 0, 1]
    assert_near(both[FIRST_CLASS:], [1.0, -0.2])


def test_truth_thresh_teaches_every_prediction_that_lies_on_a_truth() -> None:
    # The truth's size belongs to another head, so only its IoU can make a prediction responsible.
    truth = truths((24, 8, 24, 8, 1))
    found = predictions()
    found[0, 1, W, 0, 1], found[0, 1, H, 0, 1] = np.log(25 / 32), np.log(8 / 32)
    delta = deltas(found, truth, rules(truth_thresh=0.9))[1, :, 0, 1]
    weight = 2 - 24 * 8 / (64 * 32)
    assert_near(delta[:4], [0, 0, weight * np.log(24 / 25), 0])
    assert_near(delta[OBJECTNESS:], [0.7, -0.2, 0.8])
    untouched = deltas(found, truth, rules(truth_thresh=0.96))
    assert not untouched[:, :4].any()


def test_truth_thresh_of_one_never_does() -> None:
    found = predictions()
    delta = deltas(found, truths((24, 8, 16, 16, 1)), rules(mask=(3, 2)))
    # Only the anchor of the truth's own shape, once, though the IoU is 1.
    assert_near(delta[1, :4, 0, 1], 0)
    assert_near(delta[:, OBJECTNESS, 0, 1], [-0.3, 0.7])


def test_truth_thresh_and_the_best_anchor_both_pull_at_a_box() -> None:
    moved = (25, 8, 16, 16, 1)
    once = deltas(predictions(), truths(moved))[0, :, 0, 1]
    twice = deltas(predictions(), truths(moved), rules(truth_thresh=0.5))[0, :, 0, 1]
    assert_near(twice[:4], 2 * once[:4])
    assert_near(twice[OBJECTNESS:], once[OBJECTNESS:])


@pytest.mark.parametrize(("threshold", "shared"), [(0.24, True), (0.25, False)])
def test_iou_thresh_shares_a_truth_with_other_anchors_of_its_shape(
    threshold: float, shared: bool
) -> None:
    # 16 x 16 in 32 x 32 is an IoU of a quarter.
    delta = deltas(predictions(), truths(FITTING), rules(iou_thresh=threshold))
    assert_near(delta[0, OBJECTNESS, 0, 1], 0.7)
    assert_near(delta[1, OBJECTNESS, 0, 1], 0.7 if shared else -0.3)
    weight = 2 - 16 * 16 / (64 * 32)
    assert_near(delta[1, W, 0, 1], weight * np.log(0.5) if shared else 0)


def test_iou_thresh_shares_a_truth_whose_best_anchor_is_another_heads() -> None:
    # 24 x 8 with 16 x 16 shares 128 of 320.
    delta = deltas(predictions(), truths((24, 8, 24, 8, 1)), rules(iou_thresh=0.39))
    assert_near(delta[:, OBJECTNESS, 0, 1], [0.7, -0.3])


def test_boxes_are_averaged_over_positive_classes_only_below_iou_thresh_1() -> None:
    both = truths((28, 6, 16, 16, 1), (20, 12, 16, 16, 0))
    plain = deltas(predictions(), both)[0, :, 0, 1]
    averaged = deltas(predictions(), both, rules(iou_thresh=0.9))[0, :, 0, 1]
    assert_near(averaged[:4], plain[:4] / 2)
    assert_near(averaged[OBJECTNESS:], plain[OBJECTNESS:])
    # Two truths of one class: a sum of two boxes, and one positive class.
    same = truths((28, 6, 16, 16, 1), (20, 12, 16, 16, 1))
    plain = deltas(predictions(), same)[0, :, 0, 1]
    averaged = deltas(predictions(), same, rules(iou_thresh=0.9))[0, :, 0, 1]
    assert_near(averaged, plain)


def test_a_box_is_not_averaged_where_objectness_has_no_delta() -> None:
    both = truths((28, 6, 16, 16, 1), (20, 12, 16, 16, 0))
    found = predictions(objectness=1.0)
    plain = deltas(found, both)[0, :, 0, 1]
    assert_near(deltas(found, both, rules(iou_thresh=0.9))[0, :, 0, 1], plain)


def test_scale_x_y_moves_the_prediction_and_is_no_factor_of_its_delta() -> None:
    logits = np.zeros((1, 14, 2, 4))
    logits[0, :2] = 1.0
    maps = yolo_forward_reference(logits, anchors=2, classes=2, scale_x_y=2.0)
    delta = head_deltas_reference(maps, [truths(FITTING)], RULES).reshape(2, 7, 2, 4)
    sigma = 1 / (1 + np.exp(-1.0))
    weight = 2 - 16 * 16 / (64 * 32)
    assert_near(delta[0, X, 0, 1], weight * (0.5 - (2 * sigma - 0.5)))


def test_pictures_of_a_batch_have_their_own_truths() -> None:
    maps = np.concatenate([predictions(), predictions()]).reshape(2, 14, 2, 4)
    each = [truths(FITTING), truths((40, 24, 32, 32, 0))]
    both = head_deltas_reference(maps, each, RULES)
    for index, own in enumerate(each):
        alone = head_deltas_reference(maps[index : index + 1], [own], RULES)
        np.testing.assert_array_equal(both[index : index + 1], alone)


def test_float32_stays_float32() -> None:
    maps = predictions().reshape(1, 14, 2, 4).astype(np.float32)
    assert head_deltas_reference(maps, [truths(FITTING)], RULES).dtype == np.float32


def test_truths_that_are_not_one_per_picture_are_refused() -> None:
    with pytest.raises(InputError, match="1 pictures need as many truths, not 2"):
        head_deltas_reference(predictions().reshape(1, 14, 2, 4), [truths()] * 2, RULES)


def test_deltas_are_minus_the_gradient_of_yolov3s_loss() -> None:
    """Of cross-entropy by objectness and classes, of half the weighted square by w and h."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((1, 14, 2, 4))
    labels = truths((28, 6, 20, 14, 1), (50, 20, 30, 24, 0))
    own = rules(ignore_thresh=10.0)

    def loss(t: FloatArray) -> float:
        maps = split_anchors("yolo", t, 2, 2)[0]
        objects = np.zeros((2, 2, 4), np.bool_)
        total = 0.0
        for (cx, cy, w, h), label in zip(labels.boxes_cxcywh_unit, labels.classes, strict=True):
            anchor = 0 if w * 64 < 24 else 1
            place = (anchor, int(cy * 2), int(cx * 4))
            objects[place] = True
            found = maps[anchor, :, place[1], place[2]]
            size = 16 * (1 + anchor)
            errors = np.array([np.log(w * 64 / size), np.log(h * 32 / size)]) - found[2:4]
            total += (2 - w * h) / 2 * (errors**2).sum()
            signs = np.where(np.arange(2) == label, -1, 1)
            total += np.log1p(np.exp(signs * found[5:])).sum()
        return float(total + np.log1p(np.exp(np.where(objects, -1, 1) * maps[:, 4])).sum())

    maps = yolo_forward_reference(logits, anchors=2, classes=2)
    found = head_deltas_reference(maps, [labels], own)
    direction = rng.standard_normal(logits.shape)
    split_anchors("yolo", direction, 2, 2)[:, :, :2] = 0  # taken as if they were, see the module
    step = 1e-6
    numeric = (loss(logits + step * direction) - loss(logits - step * direction)) / (2 * step)
    assert abs(numeric + (found * direction).sum()) <= GRADIENT * abs(numeric)
