"""A head's compiled deltas, and what is told of them, against the reference."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.yolo import yolo_forward_reference
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT32
from tinyyolo3.train.iou_loss import BOX_LOSSES, IOU_KINDS
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.loss import head_deltas_reference
from tinyyolo3.train.loss_numba import head_deltas_numba
from tinyyolo3.train.loss_parts import loss_parts_reference
from tinyyolo3.train.options import HeadRules

RULES = HeadRules(
    anchors_px=((6, 7), (12, 9), (10, 20), (30, 26)),
    mask=(1, 2),
    classes=3,
    network_size_px=(48, 32),
)


def activated(
    rng: np.random.Generator, shape: tuple[int, int, int], rules: HeadRules
) -> FloatArray:
    """Return a head's map of random logits, for so many pictures, rows and columns."""
    anchors = len(rules.mask)
    count, height, width = shape
    logits = rng.standard_normal((count, anchors * (5 + rules.classes), height, width))
    return yolo_forward_reference(
        logits.astype(np.float32),
        anchors=anchors,
        classes=rules.classes,
        scale_x_y=rules.scale_x_y,
    )


def random_truths(rng: np.random.Generator, count: int, classes: int) -> Truths:
    return Truths(rng.uniform(0.05, 0.95, (count, 4)), rng.integers(0, classes, count))


@st.composite
def all_rules(draw: st.DrawFn) -> HeadRules:
    classes = draw(st.integers(1, 4))
    multipliers = draw(st.sampled_from([(), (3.0, 1.5, 1.0, 2.0)]))
    return HeadRules(
        anchors_px=RULES.anchors_px,
        mask=draw(st.sampled_from([(0,), (1, 2), (3, 0, 2), (0, 1, 2, 3)])),
        classes=classes,
        network_size_px=(48, 32),
        ignore_thresh=draw(st.sampled_from([0.1, 0.3, 0.7])),
        truth_thresh=draw(st.sampled_from([0.2, 0.5, 1.0])),
        iou_thresh=draw(st.sampled_from([0.1, 0.4, 1.0])),
        iou_normalizer=draw(st.sampled_from([0.07, 0.75])),
        obj_normalizer=draw(st.sampled_from([0.5, 1.0])),
        cls_normalizer=draw(st.sampled_from([0.5, 1.0])),
        iou_loss=draw(st.sampled_from(BOX_LOSSES)),
        iou_thresh_kind=draw(st.sampled_from(IOU_KINDS)),
        max_delta=draw(st.sampled_from([0.3, math.inf])),
        label_smooth_eps=draw(st.sampled_from([0.0, 0.1])),
        objectness_smooth=draw(st.booleans()),
        focal_loss=draw(st.booleans()),
        class_multipliers=multipliers[:classes] if multipliers else (),
        show_details=draw(st.booleans()),
        scale_x_y=draw(st.sampled_from([1.0, 1.2])),
        exact=draw(st.booleans()),
        lambda_coord=draw(st.sampled_from([1.0, 5.0])),
        lambda_noobj=draw(st.sampled_from([1.0, 0.5])),
    )


@given(
    all_rules(),
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7)),
    st.integers(0, 9),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=80)
def test_compiled_deltas_are_the_references(
    rules: HeadRules, shape: tuple[int, int, int], most: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    maps = activated(rng, shape, rules)
    truths = [random_truths(rng, rng.integers(0, most + 1), rules.classes) for _ in maps]
    wanted = head_deltas_reference(maps, truths, rules)
    strided = np.ascontiguousarray(maps.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for given_maps in (maps, strided):
        found, parts = head_deltas_numba(given_maps, truths, rules)
        assert found.dtype == np.float32
        # Of a box a sum over its truths.
        scale = max(1.0, float(np.abs(wanted).max()))
        atol = (1 + most) * ELEMENTARY_FLOAT32 * scale
        np.testing.assert_allclose(found, wanted, rtol=ELEMENTARY_FLOAT32, atol=atol)
        told = dataclasses.asdict(loss_parts_reference(maps, wanted, truths, rules))
        # Sums of squares, of which no term is off by more than twice the above; of IoUs.
        rtol = 4 * (1 + most) * ELEMENTARY_FLOAT32 * scale
        for name, value in dataclasses.asdict(parts).items():
            assert value == pytest.approx(told[name], rel=rtol, abs=rtol), name


def test_threads_do_not_change_a_bit() -> None:
    rng = np.random.default_rng(1)
    rules = dataclasses.replace(RULES, iou_loss="ciou", iou_thresh=0.2)
    maps = activated(rng, (5, 4, 6), rules)
    truths = [random_truths(rng, 7, 3) for _ in maps]
    found = []
    for threads in (1, 3):
        with thread_limit(threads):
            found.append(head_deltas_numba(maps, truths, rules))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_what_out_held_before_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    maps = activated(rng, (2, 2, 3), RULES)
    truths = [random_truths(rng, 4, 3) for _ in maps]
    wanted, parts = head_deltas_numba(maps, truths, RULES)
    out = np.full_like(wanted, np.nan)
    found, told = head_deltas_numba(maps, truths, RULES, out)
    assert found is out
    np.testing.assert_array_equal(found, wanted)
    assert told == parts


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("loss", BOX_LOSSES)
@pytest.mark.parametrize("size", [-1000.0, -100.0, 25.0, 60.0, 88.0, 100.0, 1000.0])
def test_boxes_beyond_all_sizes_have_finite_deltas(loss: str, exact: bool, size: float) -> None:
    rules = dataclasses.replace(
        RULES, iou_loss=loss, exact=exact, iou_normalizer=2.5, iou_thresh=0.35, max_delta=10.0
    )
    maps = activated(np.random.default_rng(3), (1, 2, 3), rules)
    entries = maps.reshape(1, 2, 8, 2, 3)
    for entry in (slice(2, 3), slice(3, 4), slice(2, 4)):
        entries[:, :, entry] = size
        truth = Truths(np.array([[0.4, 0.6, 0.25, 0.3], [0.6, 0.2, 0.3, 0.6]]), np.array([0, 2]))
        wanted = head_deltas_reference(maps, [truth], rules)
        found, parts = head_deltas_numba(maps, [truth], rules)
        assert np.isfinite(wanted).all()
        assert np.isfinite(found).all()
        assert parts.responsible > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": np.float64}, "compiled deltas take float32 maps, not float64"),
        ({"out": np.empty((1, 16, 2, 2), np.float32)}, r"shape \(1, 16, 2, 3\), not float32"),
        ({"out": np.empty((1, 16, 2, 3), np.float64)}, "not float64"),
        ({"out": np.empty((1, 16, 3, 2), np.float32).swapaxes(2, 3)}, "must be a contiguous"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    maps = activated(np.random.default_rng(4), (1, 2, 3), RULES)
    maps = maps.astype(change.get("dtype", np.float32))
    with pytest.raises(InputError, match=message):
        head_deltas_numba(
            maps, [Truths(np.empty((0, 4)), np.empty(0, int))], RULES, change.get("out")
        )


@pytest.mark.parametrize("deltas", [head_deltas_reference, head_deltas_numba])
@pytest.mark.parametrize(
    ("box", "class_id"),
    [
        ((1.01, 0.5, 0.1, 0.1), 0),
        ((0.5, -0.01, 0.1, 0.1), 0),
        ((0.5, 0.5, 0.0, 0.1), 0),
        ((0.5, 0.5, 0.1, np.inf), 0),
        ((0.5, np.nan, 0.1, 0.1), 0),
        ((0.5, 0.5, 0.1, 0.1), 3),
        ((0.5, 0.5, 0.1, 0.1), -1),
    ],
)
def test_truths_that_no_cell_could_learn_are_refused(
    deltas: Any, box: tuple[float, ...], class_id: int
) -> None:
    maps = activated(np.random.default_rng(5), (2, 2, 3), RULES)
    good = Truths(np.array([[0.5, 0.5, 0.1, 0.1]]), np.array([0]))
    bad = Truths(np.array([good.boxes_cxcywh_unit[0], box]), np.array([0, class_id]))
    with pytest.raises(InputError, match="truth 1 of picture 1 must have its centre in"):
        deltas(maps, [good, bad], RULES)


@pytest.mark.parametrize("deltas", [head_deltas_reference, head_deltas_numba])
def test_a_centre_on_the_far_border_belongs_to_the_last_cell(deltas: Any) -> None:
    maps = activated(np.random.default_rng(6), (1, 2, 3), RULES)
    edge = Truths(np.array([[1.0, 1 - 1e-12, 12 / 48, 9 / 32]]), np.array([1]))
    found = deltas(maps, [edge], RULES)
    found = found[0] if isinstance(found, tuple) else found
    taught = found.reshape(2, 8, 2, 3)[:, 5:].any(axis=1)
    assert np.argwhere(taught).tolist() == [[0, 1, 2]]
