"""Decoding: against scalar loops in float64, compiled against reference, and at the thresholds."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.boxes import (
    HeadGeometry,
    candidates_reference,
    decode_numba,
    decode_reference,
)
from tinyyolo3.boxes.decode_numba import _decode_rows
from tinyyolo3.errors import InputError
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT32, ELEMENTARY_FLOAT64

DECODES = [decode_reference, decode_numba]
SPECIAL = [0.0, -0.0, 20.0, -90.0, 89.0, 1e3, -1e3, np.inf, -np.inf, np.nan]


def sigmoid(t):
    return 1 / (1 + math.exp(-t))


def candidates_by_loops(heads, geometries):
    """Yield (box, objectness, probabilities) as Darknet's formulas say, one number at a time."""
    for head, g in zip(heads, geometries, strict=True):
        _, grid_h, grid_w = head.shape
        act = float if g.new_coords else sigmoid
        for row in range(grid_h):
            for col in range(grid_w):
                for anchor, (anchor_w, anchor_h) in enumerate(g.anchors_unit):
                    first = anchor * (5 + g.classes)
                    t = [float(v) for v in head[first : first + 5 + g.classes, row, col]]
                    shift = (g.scale_x_y - 1) / 2
                    x = (col + g.scale_x_y * act(t[0]) - shift) / grid_w
                    y = (row + g.scale_x_y * act(t[1]) - shift) / grid_h
                    if g.new_coords:
                        w, h = (2 * t[2]) ** 2 * anchor_w, (2 * t[3]) ** 2 * anchor_h
                    else:
                        w, h = math.exp(t[2]) * anchor_w, math.exp(t[3]) * anchor_h
                    if g.kind == "region" and g.softmax:
                        total = math.fsum(math.exp(s) for s in t[5:])
                        scores = [math.exp(s) / total for s in t[5:]]
                    else:
                        scores = [act(s) for s in t[5:]]
                    scale = act(t[4])
                    objectness = 1.0 if g.kind == "region" else scale
                    yield (x, y, w, h), objectness, [scale * s for s in scores]


@st.composite
def nets(draw, dtype=np.float32):
    """Draw the heads of one image, their geometries, and a generator to disturb them with.

    Half the networks have yolo heads alone, as nearly all have: compiled decoding is for those.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(1, 5))
    heads, geometries = [], []
    regions = draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        anchors = tuple(tuple(map(float, pair)) for pair in rng.uniform(0.05, 1, (3, 2)))
        anchors = anchors[: draw(st.integers(1, 3))]
        if regions and draw(st.booleans()):
            geometry = HeadGeometry("region", anchors, classes, softmax=draw(st.booleans()))
        else:
            scale = draw(st.sampled_from([1.0, 1.05, 2.0]))
            new_coords = draw(st.booleans())
            geometry = HeadGeometry("yolo", anchors, classes, scale, new_coords)
        shape = (len(anchors) * (5 + classes), *rng.integers(1, 6, 2))
        logits = rng.uniform(0, 1, shape) if geometry.new_coords else rng.normal(0, 2, shape)
        heads.append(logits.astype(dtype))
        geometries.append(geometry)
    return heads, geometries, rng


def disturbed(heads, rng, share=0.1):
    """Replace a share of all logits by extreme ones."""
    return [
        np.where(rng.random(h.shape) < share, rng.choice(SPECIAL, h.shape), h).astype(h.dtype)
        for h in heads
    ]


def assert_same(a, b):
    for name in type(a).__slots__:
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, err_msg=name)


@given(nets(np.float64))
@settings(max_examples=40, deadline=None)
def test_candidates_are_the_formulas_in_darknets_order(net):
    heads, geometries, _ = net
    boxes, objectness, probability = zip(*candidates_by_loops(heads, geometries), strict=True)
    wide = candidates_reference(heads, geometries)
    assert wide.boxes_cxcywh_unit.dtype == wide.probability.dtype == np.float64
    single = candidates_reference([head.astype(np.float32) for head in heads], geometries)
    assert single.boxes_cxcywh_unit.dtype == single.probability.dtype == np.float32
    # A float32 logit is itself rounded: e^t then moves by |t| units in the last place.
    for got, bound in ((wide, ELEMENTARY_FLOAT64), (single, ELEMENTARY_FLOAT32)):
        np.testing.assert_allclose(got.boxes_cxcywh_unit, boxes, rtol=bound, atol=bound)
        np.testing.assert_allclose(got.objectness, objectness, rtol=bound, atol=bound)
        np.testing.assert_allclose(got.probability, probability, rtol=bound, atol=bound)


@given(
    nets(),
    st.sampled_from([0, 1e-30, 0.005, 0.24, 0.25, 0.5, 0.9, 1 - 2**-24, 1]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_numba_rows_and_their_order_equal_the_reference(net, threshold, multi_label, extreme):
    heads, geometries, rng = net
    heads = disturbed(heads, rng) if extreme else heads
    expected = decode_reference(heads, geometries, threshold, multi_label=multi_label)
    got = decode_numba(heads, geometries, threshold, multi_label=multi_label)
    assert_same(got, expected)
    assert got.class_id.dtype == got.candidate.dtype == np.intp


@given(nets(np.float64), st.sampled_from([0.0, 0.1, 0.3]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_decoded_rows_are_the_candidates_that_pass(net, threshold, multi_label):
    heads, geometries, _ = net
    expected = []
    for k, (_, objectness, probability) in enumerate(candidates_by_loops(heads, geometries)):
        passing = [c for c, p in enumerate(probability) if objectness > threshold < p]
        if passing and not multi_label:
            passing = [max(passing, key=lambda c: (probability[c], -c))]
        expected += [(k, c) for c in passing]
    got = decode_reference(heads, geometries, threshold, multi_label=multi_label)
    assert list(zip(got.candidate, got.class_id, strict=True)) == expected
    every = candidates_reference(heads, geometries)
    np.testing.assert_array_equal(got.boxes_cxcywh_unit, every.boxes_cxcywh_unit[got.candidate])
    np.testing.assert_array_equal(got.objectness, every.objectness[got.candidate])
    np.testing.assert_array_equal(got.confidence, every.probability[got.candidate, got.class_id])


@given(nets(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_cell_moves_only_its_own_candidates(net, data):
    heads, geometries, rng = net
    k = data.draw(st.integers(0, len(heads) - 1))
    _, grid_h, grid_w = heads[k].shape
    row, col = data.draw(st.integers(0, grid_h - 1)), data.draw(st.integers(0, grid_w - 1))
    before = candidates_reference(heads, geometries)
    heads[k][:, row, col] += rng.uniform(0.5, 1, len(heads[k])).astype(np.float32)
    after = candidates_reference(heads, geometries)
    counts = [
        len(g.anchors_unit) * h.shape[1] * h.shape[2]
        for h, g in zip(heads, geometries, strict=True)
    ]
    anchors = len(geometries[k].anchors_unit)
    first = sum(counts[:k]) + (row * grid_w + col) * anchors
    moved = (before.boxes_cxcywh_unit != after.boxes_cxcywh_unit).any(axis=1)
    assert set(np.flatnonzero(moved)) == set(range(first, first + anchors))
    others = np.delete(np.arange(sum(counts)), np.arange(first, first + anchors))
    np.testing.assert_array_equal(before.probability[others], after.probability[others])


def one_box(*logits, **options):
    """Make a head of one cell and one anchor of a tenth of the input."""
    options = {"kind": "yolo", **options}
    head = np.array(logits, np.float32).reshape(-1, 1, 1)
    return [head], [HeadGeometry(anchors_unit=((0.1, 0.1),), classes=len(logits) - 5, **options)]


@pytest.mark.parametrize("decode", DECODES)
def test_darknet_both_thresholds_are_strict(decode):
    net = one_box(0, 0, 0, 0, 0, 50)  # objectness 1/2, class 1
    assert len(decode(*net, 0.5).confidence) == 0
    assert len(decode(*net, np.nextafter(np.float32(0.5), np.float32(0))).confidence) == 1
    net = one_box(0, 0, 0, 0, 50, 0)  # objectness 1, class 1/2
    assert len(decode(*net, 0.5).confidence) == 0
    assert len(decode(*net, np.nextafter(np.float32(0.5), np.float32(0))).confidence) == 1


@pytest.mark.parametrize("decode", DECODES)
def test_darknet_objectness_alone_must_pass_too(decode):
    net = one_box(0.5, 0.5, 0.5, 0.5, 0.4, 2.0, new_coords=True)  # 0.4 × 2 > 0.5, yet 0.4 is not
    assert len(decode(*net, 0.5).confidence) == 0
    assert len(decode(*net, 0.375).confidence) == 1
    net = one_box(0.5, 0.5, 0.5, 0.5, 0.5, 2.0, new_coords=True)  # and 0.5 is only equal
    assert len(decode(*net, 0.5).confidence) == 0


@pytest.mark.parametrize("decode", DECODES)
def test_darknet_the_threshold_is_rounded_to_float32(decode):
    confidence = np.float32(0.3)  # above the real number 0.3, equal to it in float32
    net = one_box(0.5, 0.5, 0.5, 0.5, 1.0, confidence, new_coords=True)
    assert float(confidence) > 0.3
    assert len(decode(*net, 0.3).confidence) == 0


@pytest.mark.parametrize("decode", DECODES)
def test_darknet_a_region_box_reports_objectness_one(decode):
    got = decode(*one_box(0, 0, 0, 0, 0, 9, 9, kind="region"), 0.2)
    np.testing.assert_array_equal(got.objectness, 1)
    np.testing.assert_array_equal(got.confidence, 0.25)
    np.testing.assert_array_equal(got.boxes_cxcywh_unit, np.float32([[0.5, 0.5, 0.1, 0.1]] * 2))
    assert len(decode(*one_box(0, 0, 0, 0, 0, 9, 9, kind="region"), 0.25).confidence) == 0


@pytest.mark.parametrize("decode", DECODES)
def test_darknet_new_coords_squares_twice_the_size(decode):
    got = decode(*one_box(0.5, 0.5, 0.5, 1.0, 0.9, 0.9, new_coords=True), 0.25)
    np.testing.assert_array_equal(got.boxes_cxcywh_unit, np.float32([[0.5, 0.5, 0.1, 0.4]]))


@pytest.mark.parametrize("decode", DECODES)
def test_threshold_zero_keeps_all_that_is_above_zero(decode):
    net = one_box(0, 0, 0, 0, -20, -20, -20, -1e3)
    np.testing.assert_array_equal(decode(*net, 0).class_id, [0, 1])


@pytest.mark.parametrize("decode", DECODES)
def test_a_single_label_is_the_first_of_the_most_probable(decode):
    got = decode(*one_box(0, 0, 0, 0, 50, -1, 3, 3, 2, np.nan), 0.25, multi_label=False)
    np.testing.assert_array_equal(got.class_id, [1])
    got = decode(*one_box(0, 0, 0, 0, 50, np.nan, 1, 3), 0.25, multi_label=False)
    np.testing.assert_array_equal(got.class_id, [2])
    # 40 and 50 are different logits of the same float32 probability.
    got = decode(*one_box(0, 0, 0, 0, 50, 40, 50), 0.25, multi_label=False)
    np.testing.assert_array_equal(got.class_id, [0])


@pytest.mark.parametrize("decode", DECODES)
@pytest.mark.parametrize("entry", range(6))
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e3])
def test_a_row_that_is_not_finite_is_dropped_and_its_candidate_kept(decode, entry, value):
    logits = [0.0, 0, 0, 0, 9, 9]
    logits[entry] = value
    net = one_box(*logits)
    dropped = math.isnan(value) or entry in (2, 3)  # σ(inf) is 1, exp(1000) is not finite
    assert len(decode(*net, 0.25).confidence) == (0 if dropped else 1)
    assert len(candidates_reference(*net).objectness) == 1


@pytest.mark.parametrize("decode", DECODES)
@pytest.mark.parametrize("entry", [4, 5])
def test_an_infinite_score_under_new_coords_is_dropped(decode, entry):
    logits = [0.5] * 6
    logits[entry] = np.inf
    assert len(decode(*one_box(*logits, new_coords=True), 0.25).confidence) == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_heads_may_be_strided_slices_of_any_float(dtype):
    batch = np.random.default_rng(0).normal(size=(3, 8, 10, 12)).astype(dtype)
    geometry = HeadGeometry("yolo", ((0.1, 0.2),), 3)
    strided = batch[1, :, ::2, ::-1]
    assert_same(
        candidates_reference([strided], [geometry]),
        candidates_reference([strided.copy()], [geometry]),
    )


@pytest.mark.parametrize("decode", DECODES)
def test_rows_of_a_strided_head_are_those_of_its_copy(decode):
    batch = np.random.default_rng(0).normal(size=(3, 8, 10, 12)).astype(np.float32)
    geometry = HeadGeometry("yolo", ((0.1, 0.2),), 3)
    strided = batch[1, :, ::2, ::-1]
    assert_same(decode([strided], [geometry], 0.1), decode([strided.copy()], [geometry], 0.1))


def test_more_rows_than_the_first_pass_has_room_for_are_all_there():
    rng = np.random.default_rng(3)
    geometries = [HeadGeometry("yolo", ((0.1, 0.2), (0.3, 0.1)), 20)] * 2
    heads = [rng.normal(size=(50, side, side)).astype(np.float32) for side in (9, 11)]
    got = decode_numba(heads, geometries, 0.1)
    assert len(got.confidence) > 2048
    assert_same(got, decode_reference(heads, geometries, 0.1))


@pytest.mark.parametrize("decode", DECODES)
@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, np.inf, True, None, "0.5"])
def test_a_threshold_that_is_no_number_from_zero_to_one_is_refused(decode, threshold):
    with pytest.raises(InputError, match="threshold must be a number in"):
        decode(*one_box(0, 0, 0, 0, 0, 0), threshold)


@pytest.mark.parametrize(
    "decode",
    [
        candidates_reference,
        partial(decode_reference, threshold=0),
        partial(decode_numba, threshold=0),
    ],
)
def test_heads_that_do_not_fit_their_geometries_are_refused(decode):
    (head,), (geometry,) = one_box(0, 0, 0, 0, 0, 0)
    (other,), (two,) = one_box(0, 0, 0, 0, 0, 0, 0)
    for heads, geometries, message in (
        ([], [], "at least one"),
        ([head], [geometry, geometry], "found 1 and 2"),
        ([head, other], [geometry, two], "head 1 scores 2 classes, head 0 1"),
        ([other], [geometry], r"head 0 must be floats of shape \(6, H, W\)"),
        ([head[None]], [geometry], "head 0 must be floats"),
        ([head.astype(int)], [geometry], "not int64"),
        ([head[:, :0]], [geometry], "head 0 must be floats"),
    ):
        with pytest.raises(InputError, match=message):
            decode(heads, geometries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ssd"}, "kind"),
        ({"anchors_unit": ()}, "anchors_unit"),
        ({"anchors_unit": ((0.1, 0.1, 0.1),)}, "anchors_unit"),
        ({"anchors_unit": ((0.1, np.nan),)}, "anchors_unit"),
        ({"anchors_unit": ((0.0, 0.1),)}, "anchors_unit"),
        ({"classes": 0}, "class"),
        ({"scale_x_y": 0.0}, "scale_x_y"),
        ({"kind": "region", "new_coords": True}, "neither"),
        ({"kind": "region", "scale_x_y": 1.1}, "neither"),
    ],
)
def test_a_geometry_out_of_range_is_refused(change, message):
    good = {"kind": "yolo", "anchors_unit": ((0.1, 0.1),), "classes": 1}
    assert hash(HeadGeometry(**good)) == hash(HeadGeometry(**good))
    with pytest.raises(InputError, match=message):
        HeadGeometry(**{**good, **change})


def test_read_only_heads_are_decoded_by_the_same_machine_code_and_stay_as_they_are():
    (head,), geometries = one_box(0, 0, 0, 0, 9, 9)
    before = head.copy()
    expected = decode_numba([head], geometries, 0.1)
    assert head.flags.writeable
    compiled_forms = len(_decode_rows.signatures)
    head.flags.writeable = False
    assert_same(decode_numba([head], geometries, 0.1), expected)
    assert len(_decode_rows.signatures) == compiled_forms
    np.testing.assert_array_equal(head, before)
