"""A head's options one by one, on a prediction whose deltas can be worked out by hand."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT64
from tinyyolo3.train.iou_loss import IOU_KINDS, overlap_gradient_reference
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.loss import head_deltas_reference
from tinyyolo3.train.loss_parts import LossParts, loss_parts_reference, printed_loss, sum_parts
from tinyyolo3.train.options import HeadRules

#: A grid of 4 x 2 cells of 16 px; the head has the last two of four anchors.
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


def predictions(*, classes: float = 0.2) -> FloatArray:
    """Return the same prediction everywhere, (2, 7, 2, 4): centred, of its anchor's size."""
    found = np.zeros((2, 7, 2, 4))
    found[:, :2] = 0.5
    found[:, OBJECTNESS] = 0.3
    found[:, FIRST_CLASS:] = classes
    return found


def truths(*labels: tuple[float, float, float, float, int]) -> Truths:
    """Return truths of cx, cy, w, h in px and a class."""
    numbers = np.array(labels, np.float64).reshape(-1, 5)
    return Truths(numbers[:, :4] / (64, 32, 64, 32), numbers[:, 4].astype(np.int64))


def deltas(found: FloatArray, truth: Truths, own: HeadRules) -> FloatArray:
    return head_deltas_reference(found.reshape(1, 14, 2, 4), [truth], own).reshape(2, 7, 2, 4)


def assert_near(found: FloatArray, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=ELEMENTARY_FLOAT64, atol=ELEMENTARY_FLOAT64)


#: Around the prediction of the first anchor at column 1, row 0, which is 256/324 of it.
TRUTH = (24.5, 8.5, 18, 18, 1)
#: Its box and that prediction's, as fractions of the network's input.
TRUE_UNIT = np.array([24.5 / 64, 8.5 / 32, 18 / 64, 18 / 32])
FOUND_UNIT = np.array([24 / 64, 8 / 32, 16 / 64, 16 / 32])


@pytest.mark.parametrize("kind", IOU_KINDS)
def test_an_iou_loss_pulls_by_darknets_gradient_with_no_factor_but_the_exponential(
    kind: str,
) -> None:
    found = predictions()
    found[0, W, 0, 1], found[0, H, 0, 1] = np.log(1.5), np.log(0.75)
    own = deltas(found, truths(TRUTH), rules(iou_loss=kind, iou_normalizer=0.5))[0, :4, 0, 1]
    box = FOUND_UNIT * (1, 1, 1.5, 0.75)
    gradient = overlap_gradient_reference(kind, box, TRUE_UNIT, exact=False)
    # Neither 2 - w·h, nor the grid and σ' for the centre, nor the anchor for the size.
    assert_near(own, 0.5 * gradient * (1, 1, 1.5, 0.75))
    assert own.any()


def test_max_delta_bounds_each_truths_pull_under_an_iou_loss() -> None:
    twice = truths(TRUTH, TRUTH)
    free = deltas(predictions(), truths(TRUTH), rules(iou_loss="ciou"))[0, :4, 0, 1]
    bound = np.sort(np.abs(free))[1:3].mean()
    own = deltas(predictions(), twice, rules(iou_loss="ciou", max_delta=bound))[0, :4, 0, 1]
    assert_near(own, 2 * free.clip(-bound, bound))
    squared = [
        deltas(predictions(), twice, rules(max_delta=most)) for most in (bound / 100, math.inf)
    ]
    np.testing.assert_array_equal(*squared)


def test_a_gradient_that_is_not_finite_teaches_no_box() -> None:
    found = predictions()
    found[0, W, 0, 1] = found[0, H, 0, 1] = 800.0  # beyond float64
    own = deltas(found, truths(TRUTH), rules(iou_loss="ciou"))[0, :, 0, 1]
    assert not own[:4].any()
    assert own[OBJECTNESS] == 0.7


def test_label_smooth_eps_moves_class_targets_towards_a_half() -> None:
    own = deltas(predictions(), truths(TRUTH), rules(label_smooth_eps=0.1))[0, :, 0, 1]
    assert_near(own[FIRST_CLASS:], [0.05 - 0.2, 0.95 - 0.2])
    assert own[OBJECTNESS] == 0.7
    both = deltas(predictions(), truths(TRUTH, (*TRUTH[:4], 0)), rules(label_smooth_eps=0.1))
    assert_near(both[0, FIRST_CLASS:, 0, 1], [0.95 - 0.2] * 2)


def test_class_multipliers_weigh_box_objectness_and_the_truths_own_class() -> None:
    plain = deltas(predictions(), truths(TRUTH), RULES)[0, :, 0, 1]
    own = deltas(predictions(), truths(TRUTH), rules(class_multipliers=(1.0, 3.0)))[0, :, 0, 1]
    assert_near(own, plain * (3, 3, 3, 3, 3, 1, 3))


def test_cls_normalizer_is_heeded_only_with_class_multipliers_and_for_one_class() -> None:
    plain = deltas(predictions(), truths(TRUTH), RULES)
    np.testing.assert_array_equal(
        deltas(predictions(), truths(TRUTH), rules(cls_normalizer=0.5)), plain
    )
    both = rules(cls_normalizer=0.5, class_multipliers=(1.0, 3.0))
    own = deltas(predictions(), truths(TRUTH), both)[0, FIRST_CLASS:, 0, 1]
    assert_near(own, plain[0, FIRST_CLASS:, 0, 1] * (1, 1.5))
    # Not where a second truth adds its class.
    second = deltas(predictions(), truths((*TRUTH[:4], 0), TRUTH), both)[0, FIRST_CLASS:, 0, 1]
    assert_near(second, [0.5 * 0.8, 3 * 0.8])


def test_focal_loss_weighs_classes_by_the_truths_probability() -> None:
    own = deltas(
        predictions(),
        truths(TRUTH),
        rules(focal_loss=True, label_smooth_eps=0.1, class_multipliers=(2.0, 2.0)),
    )[0, :, 0, 1]
    weight = 0.5 * 0.8 * (1 - 0.2 - 2 * 0.2 * math.log(0.2))
    assert_near(own[FIRST_CLASS:], [-0.2 * weight, 0.8 * weight])
    assert_near(own[OBJECTNESS], 2 * 0.7)


def test_objectness_smooth_teaches_an_overlapping_prediction_its_iou() -> None:
    # Of a size that is another head's, on the left half of which the prediction lies.
    own = rules(
        objectness_smooth=True,
        ignore_thresh=0.4,
        anchors_px=((32, 16), (24, 8), (16, 16), (64, 64)),
        obj_normalizer=2.0,
    )
    truth = truths((32, 8, 32, 16, 1))
    found = deltas(predictions(classes=0.9), truth, own)
    assert_near(found[0, OBJECTNESS, 0, 1], 2 * (0.5 - 0.3))
    improbable = deltas(predictions(), truth, own)
    assert_near(improbable[0, OBJECTNESS, 0, 1], -0.6)


def test_objectness_smooth_leaves_a_responsible_prediction_that_learns_its_iou() -> None:
    own = rules(objectness_smooth=True)
    iou = 256 / 324
    taught = deltas(predictions(classes=0.9), truths(TRUTH), own)[0, OBJECTNESS, 0, 1]
    assert_near(taught, iou - 0.3)


def test_objectness_smooth_with_truth_thresh_has_the_squared_iou_as_target() -> None:
    truth = truths((24, 8, 24, 8, 1))  # another head's size
    found = predictions()
    found[1, W, 0, 1], found[1, H, 0, 1] = np.log(25 / 32), np.log(8 / 32)
    own = rules(objectness_smooth=True, truth_thresh=0.9, class_multipliers=(1.0, 2.0))
    target = (24 / 25) ** 2
    delta = deltas(found, truth, own)[1, :, 0, 1]
    assert_near(delta[OBJECTNESS:], [target - 0.3, -0.2, 2 * (target - 0.2)])


@pytest.mark.parametrize(("kind", "shared"), [("iou", True), ("giou", True), ("ciou", False)])
def test_iou_thresh_kind_is_what_iou_thresh_is_compared_with(kind: str, shared: bool) -> None:
    own = rules(
        anchors_px=((8, 8), (64, 7), (8, 16), (16, 32)),
        iou_thresh=0.24,
        iou_thresh_kind=kind,
    )
    # Of 16 x 8 the anchor of 16 x 32 is four times as high: an IoU of a quarter, less as CIoU.
    found = deltas(predictions(), truths((24, 8, 16, 8, 1)), own)
    assert (found[1, FIRST_CLASS + 1, 0, 1] > 0) == shared


def parts_of(found: FloatArray, truth: Truths, own: HeadRules) -> LossParts:
    maps = found.reshape(1, 14, 2, 4)
    return loss_parts_reference(maps, head_deltas_reference(maps, [truth], own), [truth], own)


def test_parts_are_sums_of_squares_and_the_mean_iou() -> None:
    parts = parts_of(predictions(), truths(TRUTH, (40, 24, 24, 8, 0)), RULES)
    delta = deltas(predictions(), truths(TRUTH, (40, 24, 24, 8, 0)), RULES)
    assert parts.box == pytest.approx((delta[:, :4] ** 2).sum())
    assert parts.objectness == pytest.approx(15 * 0.3**2 + 0.7**2)
    assert parts.classes == pytest.approx(0.2**2 + 0.8**2)
    assert (parts.responsible, parts.mean_iou) == (1, pytest.approx(256 / 324))
    assert parts.cost == pytest.approx((delta**2).sum())


@pytest.mark.parametrize("iou_loss", IOU_KINDS)
def test_darknets_printed_loss_has_the_iou_losses_mean(iou_loss: str) -> None:
    own = rules(iou_loss=iou_loss, iou_normalizer=0.5, obj_normalizer=2.0)
    parts = parts_of(predictions(), truths(TRUTH), own)
    without = parts_of(predictions(), truths(TRUTH), dataclasses.replace(own, show_details=False))
    # The smallest box around both is the truth, so that GIoU is IoU.
    left = 1 - 256 / 324
    assert parts.box == pytest.approx(0.5 * left)
    assert parts.objectness == pytest.approx(2 * without.objectness)
    assert parts.classes == pytest.approx(2 * without.classes)
    assert parts.cost == parts.box + parts.objectness + parts.classes
    delta = deltas(predictions(), truths(TRUTH), own)
    assert without.cost == pytest.approx((delta**2).sum())


def test_darknets_printed_loss_is_by_giou_for_giou_alone() -> None:
    apart = truths((24, 8, 16, 16, 1))
    found = predictions()
    found[0, X, 0, 1] = 1.5  # one cell to the right: the boxes touch, and fill what is around both
    found[0, W, 0, 1] = np.log(0.5)  # half of which then is empty
    # 16..32 and 36..44 of 16 px each: 4 of 28 empty.
    for iou_loss, score in (("giou", -4 / 28), ("diou", 0.0)):
        parts = parts_of(found, apart, rules(iou_loss=iou_loss))
        wanted = 1 - score + parts.objectness + parts.classes
        assert parts.cost == pytest.approx(wanted)
        assert parts.sum_iou == 0


def test_no_truths_have_no_iou() -> None:
    parts = parts_of(predictions(), truths(), rules(iou_loss="ciou"))
    assert (parts.responsible, parts.mean_iou, parts.box, parts.classes) == (0, 0, 0, 0)
    assert parts.cost == parts.objectness == pytest.approx(16 * 0.3**2)


def test_parts_add_up_and_costs_are_meaned_over_heads() -> None:
    one, other = LossParts(1, 2, 3, 4, 2.0), LossParts(10, 20, 30, 0, 0.0)
    assert sum_parts([one, other]) == LossParts(11, 22, 33, 4, 2.0)
    assert sum_parts([one, other]).mean_iou == 0.5
    assert printed_loss([one, other]) == (6 + 60) / 2
