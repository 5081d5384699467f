"""Presets `gradient` and `paper`: deltas are minus the gradient of a loss that is written down."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.layers.yolo import yolo_forward_reference
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT64, GRADIENT
from tinyyolo3.train.iou_loss import ALPHA_EPS, BOX_LOSSES, overlap_scores
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.loss import head_deltas_reference
from tinyyolo3.train.options import PRESETS, HeadRules

ANCHORS_PX = ((6.0, 7.0), (12.0, 9.0), (16.0, 14.0))
NETWORK_PX = (64.0, 32.0)
GRID = (4, 2)

#: What a test of all factors at once takes of each.
RULES = HeadRules(
    anchors_px=ANCHORS_PX,
    mask=(1, 2),
    classes=3,
    network_size_px=(64, 32),
    ignore_thresh=0.1,
    iou_thresh=0.5,
    iou_normalizer=0.7,
    obj_normalizer=1.5,
    cls_normalizer=0.5,
    label_smooth_eps=0.1,
    class_multipliers=(1.0, 2.0, 1.5),
    scale_x_y=1.2,
    exact=True,
    lambda_coord=5.0,
    lambda_noobj=0.5,
)

#: The third fits no anchor of the head, and the first two share a prediction.
TRUTHS = Truths(
    np.array(
        [
            [0.40, 0.30, 0.22, 0.40],
            [0.43, 0.35, 0.30, 0.45],
            [0.80, 0.70, 0.09, 0.20],
            [0.90, 0.60, 0.20, 0.30],
        ]
    ),
    np.array([1, 0, 2, 2]),
)


def sigma(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def box_of(t: FloatArray, place: tuple[int, int, int], rules: HeadRules) -> FloatArray:
    """Return the predicted (cx, cy, w, h) of a place from its logits."""
    n, row, column = place
    anchor = rules.anchors_px[rules.mask[n]]
    scale = rules.scale_x_y
    x, y = (scale * sigma(float(t[k])) - (scale - 1) / 2 for k in (0, 1))
    width, height = (math.exp(t[2 + k]) * anchor[k] / NETWORK_PX[k] for k in (0, 1))
    return np.array([(column + x) / GRID[0], (row + y) / GRID[1], width, height])


def box_loss(kind: str, found: FloatArray, wanted: FloatArray, at: FloatArray) -> float:
    """Return an IoU loss at `found`, CIoU's α being that at `at`."""

    def ratio(box: FloatArray) -> float:
        return float(
            4 / math.pi**2 * (math.atan(wanted[2] / wanted[3]) - math.atan(box[2] / box[3])) ** 2
        )

    if kind != "ciou":
        return float(1 - overlap_scores(kind, found[None], wanted[None])[0, 0])
    iou = overlap_scores("iou", at[None], wanted[None])[0, 0]
    alpha = ratio(at) / (1 - iou + ratio(at) + ALPHA_EPS)
    return float(1 - overlap_scores("diou", found[None], wanted[None])[0, 0] + alpha * ratio(found))


def loss(t: FloatArray, at: FloatArray, rules: HeadRules) -> float:
    """Return the loss at logits (anchors, 8, H, W), with constants from those of `at`."""
    total = 0.0
    taught: dict[tuple[int, int, int], dict[int, float]] = {}
    for wanted, class_id in zip(TRUTHS.boxes_cxcywh_unit, TRUTHS.classes.tolist(), strict=True):
        column, row = int(wanted[0] * GRID[0]), int(wanted[1] * GRID[1])
        shapes = np.array([[0, 0, a / NETWORK_PX[0], b / NETWORK_PX[1]] for a, b in ANCHORS_PX])
        fits = overlap_scores("iou", shapes, np.array([[0, 0, *wanted[2:]]]))[:, 0]
        multiplier = rules.class_multipliers[class_id] if rules.class_multipliers else 1.0
        for n, anchor in enumerate(rules.mask):
            if fits[anchor] != fits.max() and fits[anchor] <= rules.iou_thresh:
                continue
            place = (n, row, column)
            own = t[n, :, row, column]
            found = box_of(own, place, rules)
            if rules.iou_loss == "mse":
                error = (found - wanted)[:2] * GRID
                sides = np.log(wanted[2:] / found[2:])
                size = 2 - wanted[2] * wanted[3]
                value = size / 2 * float((error**2).sum() + (sides**2).sum())
            else:
                base = box_of(at[n, :, row, column], place, rules)
                value = box_loss(rules.iou_loss, found, wanted, base)
            total += rules.lambda_coord * rules.iou_normalizer * multiplier * value
            taught.setdefault(place, {})[class_id] = multiplier
    for n, row, column in np.ndindex(2, GRID[1], GRID[0]):
        place, own = (n, row, column), t[n, :, row, column]
        if place not in taught:
            base = box_of(at[n, :, row, column], place, rules)
            iou = overlap_scores("iou", base[None], TRUTHS.boxes_cxcywh_unit)
            if iou.max() <= rules.ignore_thresh:
                total -= rules.lambda_noobj * rules.obj_normalizer * math.log(1 - sigma(own[4]))
            continue
        # The last truth of a place is what its objectness is weighed by.
        last = list(taught[place].values())[-1]
        total -= rules.obj_normalizer * last * math.log(sigma(own[4]))
        for c in range(rules.classes):
            y = (c in taught[place]) * (1 - rules.label_smooth_eps) + rules.label_smooth_eps / 2
            p = sigma(own[5 + c])
            entropy = -(y * math.log(p) + (1 - y) * math.log(1 - p))
            total += rules.cls_normalizer * taught[place].get(c, 1.0) * entropy
    return total


@pytest.mark.parametrize("iou_loss", BOX_LOSSES)
@pytest.mark.parametrize(
    "change",
    [{}, {"class_multipliers": (), "label_smooth_eps": 0.0, "scale_x_y": 1.0}],
    ids=["all factors", "plain"],
)
def test_deltas_are_minus_the_gradient(iou_loss: str, change: dict[str, Any]) -> None:
    rules = dataclasses.replace(RULES, iou_loss=iou_loss, **change)
    rng = np.random.default_rng(0)
    t = rng.standard_normal((2, 8, GRID[1], GRID[0]))
    maps = yolo_forward_reference(
        t.reshape(1, 16, GRID[1], GRID[0]), anchors=2, classes=3, scale_x_y=rules.scale_x_y
    )
    found = head_deltas_reference(maps, [TRUTHS], rules).reshape(t.shape)
    ignored = (found[:, 4] == 0).sum()
    assert 0 < ignored < 12
    step = 1e-6
    numeric = np.zeros_like(t)
    for place in np.ndindex(t.shape):
        move = np.zeros_like(t)
        move[place] = step
        numeric[place] = (loss(t + move, t, rules) - loss(t - move, t, rules)) / (2 * step)
    np.testing.assert_allclose(found, -numeric, rtol=0, atol=GRADIENT * np.abs(numeric).max())


def test_the_papers_factors_are_5_and_a_half() -> None:
    plain = dataclasses.replace(
        RULES, **{**PRESETS["gradient"], "lambda_coord": 1.0, "lambda_noobj": 1.0}
    )
    paper = dataclasses.replace(plain, **PRESETS["paper"])
    rng = np.random.default_rng(1)
    maps = rng.uniform(0.05, 0.95, (1, 16, GRID[1], GRID[0]))
    one, other = (
        head_deltas_reference(maps, [TRUTHS], rules).reshape(2, 8, GRID[1], GRID[0])
        for rules in (plain, paper)
    )
    taught = one[:, 5:].any(axis=1)
    close = {"rtol": ELEMENTARY_FLOAT64}
    np.testing.assert_allclose(other[:, :4], 5 * one[:, :4], **close)
    np.testing.assert_allclose(other[:, 4][~taught], one[:, 4][~taught] / 2, **close)
    np.testing.assert_array_equal(other[:, 4][taught], one[:, 4][taught])
    np.testing.assert_array_equal(other[:, 5:], one[:, 5:])
    assert taught.sum() == 4


def test_improbable_classes_are_ignored_too() -> None:
    maps = np.full((1, 16, GRID[1], GRID[0]), 0.1)
    exact, darknet = (
        head_deltas_reference(maps, [TRUTHS], dataclasses.replace(RULES, exact=exact))
        for exact in (True, False)
    )
    exact, darknet = (d.reshape(2, 8, GRID[1], GRID[0])[:, 4] for d in (exact, darknet))
    assert (exact == 0).any()
    assert not (darknet == 0).any()


def test_boxes_of_two_truths_are_not_averaged() -> None:
    maps = np.full((1, 16, GRID[1], GRID[0]), 0.4)
    both = head_deltas_reference(maps, [TRUTHS], RULES)
    parts = [
        head_deltas_reference(
            maps, [Truths(TRUTHS.boxes_cxcywh_unit[k : k + 1], TRUTHS.classes[k : k + 1])], RULES
        )
        for k in range(4)
    ]
    boxes = [d.reshape(2, 8, GRID[1], GRID[0])[:, :4] for d in (both, *parts)]
    np.testing.assert_allclose(boxes[0], sum(boxes[1:]), atol=8 * ELEMENTARY_FLOAT64)
