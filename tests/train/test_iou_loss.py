"""IoU losses: values on boxes made by hand, gradients, and what Darknet takes for these."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT32, ELEMENTARY_FLOAT64, GRADIENT
from tinyyolo3.train.iou_loss import (
    ALPHA_EPS,
    IOU_KINDS,
    overlap_gradient_reference,
    overlap_scores,
)
from tinyyolo3.train.iou_loss_numba import write_overlap_gradient

Box = tuple[float, float, float, float]
X, Y, W, H = range(4)

#: By name: two boxes, and what they share: IoU, the smallest box's area not filled, ρ²/c².
MADE: dict[str, tuple[Box, Box, float, float, float]] = {
    "equal": ((2, 3, 4, 2), (2, 3, 4, 2), 1, 0, 0),
    "half": ((1, 1, 2, 2), (2, 1, 4, 2), 1 / 2, 0, 1 / 20),
    "nested": ((3, 3, 2, 2), (2, 2, 4, 4), 1 / 4, 0, 2 / 32),
    "crossed": ((2, 2, 4, 1), (2, 2, 1, 4), 1 / 7, 9 / 16, 0),
    "apart": ((1, 1, 2, 2), (6, 1, 2, 2), 0, 6 / 14, 25 / (49 + 4)),
    "apart on both axes": ((1, 1, 2, 2), (4, 5, 2, 2), 0, 22 / 30, 25 / (25 + 36)),
    "touching": ((1, 1, 2, 2), (3, 1, 2, 2), 0, 0, 4 / 20),
    "of no size": ((1, 1, 0, 0), (2, 2, 2, 2), 0, 0, 2 / 8),
}


def scores(kind: str, a: Box, b: Box) -> float:
    return float(overlap_scores(kind, np.array([a], float), np.array([b], float))[0, 0])


@pytest.mark.parametrize("name", MADE)
def test_each_kind_is_its_definition(name: str) -> None:
    a, b, iou, empty, distance = MADE[name]
    assert scores("iou", a, b) == pytest.approx(iou, abs=ELEMENTARY_FLOAT64)
    assert scores("giou", a, b) == pytest.approx(iou - empty, abs=ELEMENTARY_FLOAT64)
    assert scores("diou", a, b) == pytest.approx(iou - distance, abs=ELEMENTARY_FLOAT64)
    if a[H]:
        v = 4 / math.pi**2 * (math.atan(b[W] / b[H]) - math.atan(a[W] / a[H])) ** 2
        wanted = iou - distance - v * v / (1 - iou + v + ALPHA_EPS)
        assert scores("ciou", a, b) == pytest.approx(wanted, abs=ELEMENTARY_FLOAT64)


@pytest.mark.parametrize("kind", IOU_KINDS)
def test_one_and_the_same_point_has_the_plain_iou(kind: str) -> None:
    assert scores(kind, (1, 1, 0, 0), (1, 1, 0, 0)) == 0


def test_scores_are_of_every_pair() -> None:
    boxes = np.array([MADE[name][k] for name in MADE for k in (0, 1)], np.float32)[:-2]
    for kind in IOU_KINDS:
        found = overlap_scores(kind, boxes[:5], boxes)
        assert found.shape == (5, len(boxes))
        assert found.dtype == np.float32
        for i, j in np.ndindex(found.shape):
            alone = overlap_scores(kind, boxes[i : i + 1], boxes[j : j + 1])
            np.testing.assert_array_equal(found[i, j], alone[0, 0])


def score_with_constant_alpha(kind: str, p: FloatArray, truth: FloatArray, at: FloatArray) -> float:
    """Return a score at `p`, CIoU's α being that at `at`."""
    if kind != "ciou":
        return float(overlap_scores(kind, p[None], truth[None])[0, 0])
    v, v_at = (
        4 / math.pi**2 * (math.atan(truth[W] / truth[H]) - math.atan(box[W] / box[H])) ** 2
        for box in (p, at)
    )
    iou_at = float(overlap_scores("iou", at[None], truth[None])[0, 0])
    alpha = v_at / (1 - iou_at + v_at + ALPHA_EPS)
    return float(overlap_scores("diou", p[None], truth[None])[0, 0]) - alpha * v


#: Overlapping, nested both ways, apart along one axis and along both; no side on another.
PAIRS: list[tuple[Box, Box]] = [
    ((0.4, 0.5, 0.3, 0.2), (0.5, 0.45, 0.25, 0.35)),
    ((0.5, 0.5, 0.1, 0.15), (0.52, 0.47, 0.4, 0.5)),
    ((0.5, 0.5, 0.6, 0.7), (0.52, 0.47, 0.4, 0.5)),
    ((0.2, 0.5, 0.1, 0.2), (0.7, 0.44, 0.2, 0.3)),
    ((0.2, 0.1, 0.1, 0.05), (0.7, 0.6, 0.2, 0.3)),
]


@pytest.mark.parametrize("kind", IOU_KINDS)
@pytest.mark.parametrize("pair", PAIRS)
def test_the_exact_gradient_is_that_of_the_score(kind: str, pair: tuple[Box, Box]) -> None:
    p, truth = np.array(pair[0]), np.array(pair[1])
    found = overlap_gradient_reference(kind, p, truth, exact=True)
    step = 1e-7
    numeric = np.empty(4)
    for k in range(4):
        move = step * (np.arange(4) == k)
        above = score_with_constant_alpha(kind, p + move, truth, p)
        below = score_with_constant_alpha(kind, p - move, truth, p)
        numeric[k] = (above - below) / (2 * step)
    scale = max(1.0, float(np.abs(numeric).max()))
    np.testing.assert_allclose(found, numeric, rtol=0, atol=GRADIENT * scale)


#: Smaller ones, of which Darknet's can be no area but a difference of areas, are left out.
SMALLEST_UNION = 1e-3


def darknets_gradient(kind: str, p: Box, t: Box) -> list[float]:
    """Return what Darknet takes for the gradient, side by side (box.c, dx_box_iou)."""
    x, y, w, h = p
    w, h = w or 1.0, h or 1.0
    left, right, top, bottom = x - w / 2, x + w / 2, y - h / 2, y + h / 2
    t_left, t_right, t_top, t_bottom = (
        *(t[X] - t[W] / 2, t[X] + t[W] / 2),
        *(t[Y] - t[H] / 2, t[Y] + t[H] / 2),
    )
    iw, ih = min(right, t_right) - max(left, t_left), min(bottom, t_bottom) - max(top, t_top)
    cw, ch = max(right, t_right) - min(left, t_left), max(bottom, t_bottom) - min(top, t_top)
    inter = iw * ih
    union = (right - left) * (bottom - top) + (t_right - t_left) * (t_bottom - t_top) - inter
    area = cw * ch
    di = {
        "l": -ih if left > t_left else 0.0,
        "r": ih if right < t_right else 0.0,
        "t": -iw if top > t_top else 0.0,
        "b": iw if bottom < t_bottom else 0.0,
    }
    dc = {
        "l": -ch if left < t_left else 0.0,
        "r": ch if right > t_right else 0.0,
        "t": -cw if top < t_top else 0.0,
        "b": cw if bottom > t_bottom else 0.0,
    }
    dx = {"l": -(bottom - top), "r": bottom - top, "t": -(right - left), "b": right - left}
    du = {side: dx[side] - di[side] for side in di}
    apart = iw <= 0 or ih <= 0
    # That of two negative lengths can be more than both areas.
    assume(abs(union) > SMALLEST_UNION)
    g = {side: (union * di[side] - inter * du[side]) / union**2 for side in di}
    if union < 0:
        g = dict.fromkeys(g, 0.0)
    if kind == "giou":
        more = {side: (area * du[side] - union * dc[side]) / area**2 for side in di}
        g = more if apart else {side: g[side] + more[side] for side in di}
    found = [g["l"] + g["r"], g["t"] + g["b"], g["r"] - g["l"], g["b"] - g["t"]]
    if kind in ("diou", "ciou"):
        c, s = cw**2 + ch**2, (x - t[X]) ** 2 + (y - t[Y]) ** 2
        dcw = ((right > t_right) - (left < t_left), 0.5 * (right > t_right) + 0.5 * (left < t_left))
        dch = ((bottom > t_bottom) - (top < t_top), 0.5 * (bottom > t_bottom) + 0.5 * (top < t_top))
        more_list = [
            (2 * (t[X] - x) * c - 2 * cw * dcw[0] * s) / c**2,
            (2 * (t[Y] - y) * c - 2 * ch * dch[0] * s) / c**2,
            2 * cw * dcw[1] * s / c**2,
            2 * ch * dch[1] * s / c**2,
        ]
        if kind == "ciou":
            turn = math.atan(t[W] / t[H]) - math.atan(w / h)
            v = 4 / math.pi**2 * turn**2
            alpha = v / (1 - inter / union + v + 0.000001)
            more_list[W] += alpha * 8 / math.pi**2 * turn * h
            more_list[H] -= alpha * 8 / math.pi**2 * turn * w
        found = more_list if apart else [a + b for a, b in zip(found, more_list, strict=True)]
    return found


unit = st.floats(0.05, 1.0)
boxes = st.tuples(unit, unit, unit, unit)


@given(st.sampled_from(IOU_KINDS), boxes, boxes, st.sampled_from([None, W, H]))
@settings(deadline=None, max_examples=300)
def test_darknets_gradient_is_its_formula(kind: str, p: Box, t: Box, empty: int | None) -> None:
    if empty is not None:
        p = (*p[:empty], 0.0, *p[empty + 1 :])  # type: ignore[assignment]
    found = overlap_gradient_reference(kind, np.array(p), np.array(t), exact=False)
    wanted = darknets_gradient(kind, p, t)
    # Quotients by unions of differences of quotients by them.
    atol = ELEMENTARY_FLOAT64 * max(1.0, *map(abs, wanted)) / SMALLEST_UNION
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)


@given(
    st.sampled_from(IOU_KINDS),
    boxes,
    boxes,
    st.booleans(),
    st.sampled_from([None, W, H]),
    st.sampled_from([0.0, 1e-12]),
)
@settings(deadline=None, max_examples=300)
def test_compiled_gradients_are_the_references(
    kind: str, p: Box, t: Box, exact: bool, thin: int | None, side: float
) -> None:
    predicted, truth = np.array(p, np.float32), np.array(t, np.float32)
    if thin is not None:
        predicted[thin] = side
    found = np.full(4, np.nan, np.float32)
    write_overlap_gradient(IOU_KINDS.index(kind), predicted, truth, exact, found)
    wanted = overlap_gradient_reference(kind, predicted, truth, exact=exact)
    assert wanted.dtype == np.float32
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ELEMENTARY_FLOAT32 * scale)


@pytest.mark.parametrize("kind", IOU_KINDS)
def test_by_the_size_darknets_iou_is_not_halved(kind: str) -> None:
    # Of one centre and shape, so that only areas change with the size.
    p, truth = np.array([0.5, 0.5, 0.2, 0.1]), np.array([0.5, 0.5, 0.4, 0.2])
    exact = overlap_gradient_reference(kind, p, truth, exact=True)
    darknet = overlap_gradient_reference(kind, p, truth, exact=False)
    np.testing.assert_allclose(darknet[2:], 2 * exact[2:], rtol=ELEMENTARY_FLOAT64)
    assert (exact[2:] > 1).all()


def test_darknets_diagonal_has_the_wrong_sign_by_the_centre() -> None:
    p, truth = np.array([0.2, 0.5, 0.1, 0.2]), np.array([0.7, 0.5, 0.2, 0.2])
    exact = overlap_gradient_reference("diou", p, truth, exact=True)
    darknet = overlap_gradient_reference("diou", p, truth, exact=False)
    toward = 2 * 0.5 / (0.65**2 + 0.2**2)
    shrinks = 2 * 0.65 * 0.25 / (0.65**2 + 0.2**2) ** 2
    assert exact[X] == pytest.approx(toward - shrinks)
    assert darknet[X] == pytest.approx(toward + shrinks)


def test_darknets_boxes_apart_share_a_negative_area() -> None:
    p, truth = np.array([0.2, 0.5, 0.1, 0.2]), np.array([0.7, 0.5, 0.2, 0.3])
    assert not overlap_gradient_reference("iou", p, truth, exact=True).any()
    # It draws them together, as a gradient of IoU cannot.
    assert overlap_gradient_reference("iou", p, truth, exact=False)[X] > 0.5


def test_a_side_of_zero_is_one_to_darknet() -> None:
    truth = np.array([0.5, 0.5, 0.4, 0.2])
    for kind in IOU_KINDS:
        empty = overlap_gradient_reference(kind, np.array([0.5, 0.4, 0, 0]), truth, exact=False)
        whole = overlap_gradient_reference(kind, np.array([0.5, 0.4, 1, 1]), truth, exact=False)
        np.testing.assert_array_equal(empty, whole)


def test_where_both_sides_are_one_number_darknet_takes_the_high_one() -> None:
    p = np.array([0.5, 0.5, 1e-20, 0.1])
    truth = np.array([0.52, 0.5, 0.4, 0.2])
    found = overlap_gradient_reference("iou", p, truth, exact=False)
    assert found[W] == 0
    assert found[X] > 1


def test_darknets_aspect_is_not_divided_by_the_diagonal() -> None:
    p, truth = np.array([0.5, 0.5, 0.3, 0.1]), np.array([0.5, 0.5, 0.1, 0.3])
    by_aspect = [
        overlap_gradient_reference("ciou", p, truth, exact=exact)
        - overlap_gradient_reference("diou", p, truth, exact=exact)
        for exact in (True, False)
    ]
    np.testing.assert_allclose(
        by_aspect[0] * (0.3**2 + 0.1**2), by_aspect[1], atol=8 * ELEMENTARY_FLOAT64
    )
    assert by_aspect[0][W] < 0 < by_aspect[0][H]
