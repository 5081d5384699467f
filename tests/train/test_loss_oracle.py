"""A head's deltas against Darknet's procedure written as loops over single numbers."""

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.layers.yolo import yolo_forward_reference
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT64
from tinyyolo3.train.iou_loss import BOX_LOSSES, overlap_gradient_reference
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.loss import head_deltas_reference
from tinyyolo3.train.options import HeadRules

Box = tuple[float, float, float, float]
ANCHORS_PX = ((6.0, 7.0), (12.0, 9.0), (10.0, 20.0), (30.0, 26.0))
NETWORK_PX = (48, 32)
GRID = (3, 2)


def overlap(a: Box, b: Box) -> float:
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


class LoopOracle:
    """One picture's deltas; `p` and `delta` are (anchors, 5 + classes, H, W)."""

    def __init__(self, p: FloatArray, boxes: list[Box], classes: list[int], rules: HeadRules):
        self.p, self.boxes, self.classes, self.rules = p, boxes, classes, rules
        self.delta = np.zeros_like(p)

    def teach_box(self, n: int, row: int, column: int, truth: int) -> None:
        (cx, cy, w, h), rules = self.boxes[truth], self.rules
        p, delta = self.p[n, :, row, column], self.delta[n, :4, row, column]
        anchor_w, anchor_h = rules.anchors_px[rules.mask[n]]
        weight = rules.iou_normalizer * self.multiplier(truth)
        if rules.iou_loss == "mse":
            target = (
                cx * GRID[0] - column,
                cy * GRID[1] - row,
                math.log(w * NETWORK_PX[0] / anchor_w),
                math.log(h * NETWORK_PX[1] / anchor_h),
            )
            for k in range(4):
                delta[k] += (2 - w * h) * weight * (target[k] - p[k])
            return
        found = np.array(self.box(n, row, column))
        wanted = np.array((cx, cy, w, h))
        change = overlap_gradient_reference(rules.iou_loss, found, wanted, exact=False)
        for k in range(4):
            pull = weight * float(change[k]) * (math.exp(p[k]) if k >= 2 else 1)
            delta[k] += max(-rules.max_delta, min(rules.max_delta, pull))

    def multiplier(self, truth: int) -> float:
        given = self.rules.class_multipliers
        return given[self.classes[truth]] if given else 1.0

    def teach_objectness(self, n: int, row: int, column: int, truth: int) -> None:
        p, delta = self.p[n, 4, row, column], self.delta[n, 4, row, column]
        if delta == 0 or not self.rules.objectness_smooth:
            weight = self.rules.obj_normalizer * self.multiplier(truth)
            self.delta[n, 4, row, column] = weight * (1 - p)

    def teach_classes(self, n: int, row: int, column: int, truth: int) -> None:
        rules, own = self.rules, self.classes[truth]
        p, delta = self.p[n, 5:, row, column], self.delta[n, 5:, row, column]
        eps = rules.label_smooth_eps
        if delta[own] != 0:
            delta[own] = (1 - eps + eps / 2 - p[own]) * self.multiplier(truth)
            return
        for c in range(rules.classes):
            if rules.focal_loss:
                pt = p[own]
                grad = -(1 - pt) * (2 * pt * math.log(pt) + pt - 1)
                delta[c] = ((c == own) - p[c]) * 0.5 * grad
            else:
                delta[c] = (c == own) * (1 - eps) + eps / 2 - p[c]
                if c == own and rules.class_multipliers:
                    delta[c] *= self.multiplier(truth) * rules.cls_normalizer

    def run(self) -> FloatArray:
        for n, row, column in np.ndindex(len(self.rules.mask), GRID[1], GRID[0]):
            self.judge(n, row, column)
        for truth in range(len(self.boxes)):
            self.assign(truth)
        if self.rules.iou_thresh < 1:
            for n, row, column in np.ndindex(len(self.rules.mask), GRID[1], GRID[0]):
                delta = self.delta[n, :, row, column]
                positive = sum(value > 0 for value in delta[5:])
                if delta[4] != 0 and positive > 0:
                    delta[:4] /= positive
        return self.delta

    def box(self, n: int, row: int, column: int) -> Box:
        p = self.p[n, :, row, column]
        anchor_w, anchor_h = self.rules.anchors_px[self.rules.mask[n]]
        return (
            (column + p[0]) / GRID[0],
            (row + p[1]) / GRID[1],
            math.exp(p[2]) * anchor_w / NETWORK_PX[0],
            math.exp(p[3]) * anchor_h / NETWORK_PX[1],
        )

    def judge(self, n: int, row: int, column: int) -> None:
        rules, p = self.rules, self.p[n, :, row, column]
        found = self.box(n, row, column)
        best, best_truth = 0.0, 0
        for truth, box in enumerate(self.boxes):
            if overlap(found, box) > best:
                best, best_truth = overlap(found, box), truth
        self.delta[n, 4, row, column] = rules.obj_normalizer * (0 - p[4])
        if best > rules.ignore_thresh and any(value > 0.25 for value in p[5:]):
            smooth = rules.obj_normalizer * (best - p[4])
            self.delta[n, 4, row, column] = smooth if rules.objectness_smooth else 0
        if best > rules.truth_thresh:
            target = best**2 if rules.objectness_smooth else 1
            own = self.classes[best_truth]
            self.delta[n, 4, row, column] = rules.obj_normalizer * (target - p[4])
            self.teach_classes(n, row, column, best_truth)
            if rules.objectness_smooth:
                weight = self.multiplier(best_truth)
                self.delta[n, 5 + own, row, column] = weight * (target - p[5 + own])
            self.teach_box(n, row, column, best_truth)

    def teach(self, n: int, row: int, column: int, truth: int) -> None:
        self.teach_box(n, row, column, truth)
        self.teach_objectness(n, row, column, truth)
        self.teach_classes(n, row, column, truth)

    def assign(self, truth: int) -> None:
        rules, (cx, cy, w, h) = self.rules, self.boxes[truth]
        fits = [
            overlap((0, 0, a / NETWORK_PX[0], b / NETWORK_PX[1]), (0, 0, w, h))
            for a, b in rules.anchors_px
        ]
        best = fits.index(max(fits))
        row, column = int(cy * GRID[1]), int(cx * GRID[0])
        if best in rules.mask:
            self.teach(rules.mask.index(best), row, column, truth)
        for n, fit in enumerate(fits):
            if rules.iou_thresh_kind == "ciou":
                fit = fit - self.turned(rules.anchors_px[n], (w, h), fit)
            if n != best and n in rules.mask and rules.iou_thresh < 1 and fit > rules.iou_thresh:
                self.teach(rules.mask.index(n), row, column, truth)

    def turned(
        self, anchor_px: tuple[float, float], size: tuple[float, float], iou: float
    ) -> float:
        """Return the term of CIoU by the sides' ratios."""
        found = math.atan(anchor_px[0] / NETWORK_PX[0] / (anchor_px[1] / NETWORK_PX[1]))
        v = 4 / math.pi**2 * (math.atan(size[0] / size[1]) - found) ** 2
        return v * v / (1 - iou + v + 1e-6)


@st.composite
def head_rules(draw: st.DrawFn) -> HeadRules:
    classes = draw(st.integers(1, 3))
    multipliers = draw(st.sampled_from([(), (3.0, 1.5, 1.0)]))
    return HeadRules(
        anchors_px=ANCHORS_PX,
        mask=draw(st.sampled_from([(0,), (1, 2), (3, 0, 2), (0, 1, 2, 3)])),
        classes=classes,
        iou_loss=draw(st.sampled_from(BOX_LOSSES)),
        iou_thresh_kind=draw(st.sampled_from(["iou", "ciou"])),
        cls_normalizer=draw(st.sampled_from([0.5, 1.0])),
        max_delta=draw(st.sampled_from([0.3, math.inf])),
        label_smooth_eps=draw(st.sampled_from([0.0, 0.1])),
        objectness_smooth=draw(st.booleans()),
        focal_loss=draw(st.booleans()),
        class_multipliers=multipliers[:classes],
        network_size_px=NETWORK_PX,
        ignore_thresh=draw(st.sampled_from([0.1, 0.3, 0.7])),
        truth_thresh=draw(st.sampled_from([0.2, 0.5, 1.0])),
        iou_thresh=draw(st.sampled_from([0.1, 0.4, 1.0])),
        iou_normalizer=draw(st.sampled_from([0.07, 0.75, 1.0])),
        obj_normalizer=draw(st.sampled_from([0.5, 1.0])),
    )


@given(head_rules(), st.integers(0, 12), st.sampled_from([1.0, 1.2]), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=150)
def test_deltas_are_those_of_the_loops(
    rules: HeadRules, count: int, scale_x_y: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {"anchors": len(rules.mask), "classes": rules.classes}
    logits = rng.standard_normal((1, len(rules.mask) * (5 + rules.classes), GRID[1], GRID[0]))
    p = yolo_forward_reference(logits, scale_x_y=scale_x_y, **options)
    boxes = rng.uniform(0.05, 0.95, (count, 4))
    classes = rng.integers(0, rules.classes, count)
    shape = (len(rules.mask), 5 + rules.classes, GRID[1], GRID[0])
    listed = [tuple(box) for box in boxes.tolist()]
    wanted = LoopOracle(p.reshape(shape), listed, classes.tolist(), rules).run()
    found = head_deltas_reference(p, [Truths(boxes, classes)], rules).reshape(shape)
    # A box is a sum over its truths and over those that it lies on.
    terms = 2 * (1 + count)
    np.testing.assert_allclose(
        found, wanted, rtol=terms * ELEMENTARY_FLOAT64, atol=terms * 8 * ELEMENTARY_FLOAT64
    )
