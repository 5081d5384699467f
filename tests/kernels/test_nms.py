"""kernels/nms.cu: the same survivors in the same order as on a CPU."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.boxes.call_cuda import CallBuffers
from tinyyolo3.boxes.decode_cuda import ROW, RowBuffers
from tinyyolo3.boxes.iou import diou_matrix_cxcywh, iou_matrix_cxcywh
from tinyyolo3.boxes.nms import nms_reference
from tinyyolo3.boxes.nms_cuda import (
    LARGEST_CAPACITY,
    BoxBuffers,
    FoundBoxes,
    larger_capacity,
    nms_cuda,
    read_results,
    sort_rows_cuda,
)
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.testing.strategies import seeds

options = st.fixed_dictionaries(
    {
        "nms": st.sampled_from([None, 0.0, 0.25, 0.45, 0.5, 1.0]),
        "nms_kind": st.sampled_from(["greedy", "diou"]),
        "agnostic": st.booleans(),
        "beta_nms": st.sampled_from([0.6, 1.0]),
    }
)
#: Rows of a picture, at the borders of warps (32), tiles (64) and blocks (256).
counts = st.sampled_from([0, 1, 2, 5, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200, 255, 256, 257])


@st.composite
def decoded_images(draw: st.DrawFn) -> list[np.ndarray]:
    """Draw each picture's rows, `ROW`, in the order of their candidates and classes.

    Some are from small grids: equal boxes, boxes without area and equal confidences abound.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = []
    for count in draw(st.lists(counts, min_size=1, max_size=2)):
        rows = np.zeros(count, ROW)
        if draw(st.booleans()):
            rows["box_cxcywh_unit"] = rng.integers(0, 7, (count, 4)) / 2
            rows["confidence"] = rng.choice([0.25, 0.5, 1], count)
        else:
            rows["box_cxcywh_unit"] = rng.uniform(0.2, 0.8, (count, 4))
            rows["confidence"] = rng.uniform(0.1, 1, count)
        rows["objectness"] = rng.uniform(0.1, 1, count)
        classes = draw(st.sampled_from([1, 3, 80]))
        rows["candidate"], rows["class_id"] = np.divmod(
            np.sort(rng.choice(4 * count * classes, count, replace=False)), classes
        )
        images.append(rows)
    return images


def suppress_on(
    target: Target, images: list[np.ndarray], capacity: int, choice: dict[str, Any]
) -> list[FoundBoxes]:
    """Hand rows to the kernels as if decoding had left them in any order."""
    buffers = BoxBuffers.allocate(target, len(images), capacity)
    rng = np.random.default_rng(0)
    table = np.zeros((len(images), buffers.capacity), ROW)
    for place, rows in zip(table, images, strict=True):
        place[: len(rows)] = rng.permutation(rows)
    decoded = RowBuffers(
        target.upload(table.reshape(-1).view(np.uint8)),
        target.upload(np.array([len(rows) for rows in images], np.int32)),
        target.upload(np.arange(len(images), dtype=np.int32)),
        len(images),
        buffers.capacity,
    )
    buffers = BoxBuffers(decoded, buffers.sorted, buffers.mask, buffers.results)
    call = CallBuffers.allocate(target, len(images), 1)
    call.fill([], threshold=0.1, **choice)
    target.copy_in(call.device, call.pinned)
    sort_rows_cuda(target, buffers)
    nms_cuda(target, call, buffers)
    found = read_results(target.download(buffers.results), len(images), buffers.capacity)
    assert [boxes.overflowed for boxes in found] == [k > 0 for k in range(len(images))]
    return found


def expected_rows(rows: np.ndarray, choice: dict[str, Any]) -> np.ndarray:
    if choice["nms"] is None:
        return rows[np.argsort(-rows["confidence"], kind="stable")]
    kept = nms_reference(
        np.ascontiguousarray(rows["box_cxcywh_unit"]),
        np.ascontiguousarray(rows["confidence"]),
        rows["class_id"],
        iou_threshold=choice["nms"],
        kind=choice["nms_kind"],
        class_agnostic=choice["agnostic"],
        beta=choice["beta_nms"],
    )
    return rows[kept]


def assert_same(found: FoundBoxes, rows: np.ndarray) -> None:
    np.testing.assert_array_equal(found.boxes_cxcywh_unit, rows["box_cxcywh_unit"])
    np.testing.assert_array_equal(found.objectness, rows["objectness"])
    np.testing.assert_array_equal(found.confidence, rows["confidence"])
    np.testing.assert_array_equal(found.class_id, rows["class_id"])


@settings(max_examples=60, deadline=None)
@given(decoded_images(), options)
def test_survivors_and_their_order_are_the_references(
    target: Target, images: list[np.ndarray], choice: dict[str, Any]
) -> None:
    for found, rows in zip(suppress_on(target, images, 300, choice), images, strict=True):
        assert found.decoded == len(rows)
        assert_same(found, expected_rows(rows, choice))


@settings(max_examples=30, deadline=None)
@given(seed=seeds(), kind=st.sampled_from(["greedy", "diou"]), beta=st.sampled_from([0.6, 1.0]))
def test_overlaps_have_the_bits_of_a_cpu(target: Target, seed: int, kind: str, beta: float) -> None:
    """With two boxes' own overlap for threshold, its last bit decides whether both survive."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(40, ROW)
    rows["box_cxcywh_unit"] = rng.uniform(0, 1, (40, 4))  # many of them far apart
    rows["confidence"] = rng.uniform(0.1, 1, 40)
    rows["candidate"] = np.arange(40)
    boxes = rows["box_cxcywh_unit"].copy()
    greedy = kind == "greedy"
    overlap = iou_matrix_cxcywh(boxes, boxes) if greedy else diou_matrix_cxcywh(boxes, boxes, beta)
    for threshold in rng.choice(overlap[(overlap > 0) & (overlap < 1)], 8):
        for nms in (threshold, np.nextafter(threshold, np.float32(0))):
            choice = {"nms": float(nms), "nms_kind": kind, "agnostic": False, "beta_nms": beta}
            assert_same(suppress_on(target, [rows], 64, choice)[0], expected_rows(rows, choice))


def test_a_union_that_rounds_to_nothing_is_no_overlap(target: Target) -> None:
    """So far out, the sides of a box of width 2 are rounded to 4 apart."""
    rows = np.zeros(2, ROW)
    rows["box_cxcywh_unit"] = (2**24 + 2, 0, 2, 1)
    rows["confidence"] = 0.5
    rows["candidate"] = 0, 1
    choice = {"nms": 0.5, "nms_kind": "greedy", "agnostic": False, "beta_nms": 0.6}
    assert_same(suppress_on(target, [rows], 64, choice)[0], rows)


def test_infinite_centres_are_compared_as_on_a_cpu(target: Target) -> None:
    """Far out, broken weights' boxes overflow; what cancels there suppresses nothing."""
    rows = np.zeros(60, ROW)
    rng = np.random.default_rng(3)
    rows["box_cxcywh_unit"] = rng.choice([0, 1, 2, 1e30, 3e38, -np.inf, np.inf], (60, 4))
    rows["box_cxcywh_unit"][:, 2:] = np.abs(rng.choice([0, 1, 1e9, 4e11], (60, 2)))
    rows["confidence"] = rng.choice([0.25, 0.5], 60)
    rows["candidate"] = np.arange(60)
    for kind in ("greedy", "diou"):
        choice = {"nms": 0.3, "nms_kind": kind, "agnostic": False, "beta_nms": 0.6}
        with np.errstate(all="ignore"):
            assert_same(suppress_on(target, [rows], 64, choice)[0], expected_rows(rows, choice))


def test_a_long_chain_is_resolved_in_order(target: Target) -> None:
    """Each row overlaps the next alone, across tiles: every second one must fall."""
    rows = np.zeros(200, ROW)
    rows["box_cxcywh_unit"] = np.stack(
        [np.arange(200) / 2, np.zeros(200), np.ones(200) * 0.9, np.ones(200)], axis=1
    )
    rows["confidence"] = np.linspace(1, 0.5, 200)
    rows["candidate"] = np.arange(200)
    choice = {"nms": 0.1, "nms_kind": "greedy", "agnostic": False, "beta_nms": 0.6}
    assert_same(suppress_on(target, [rows], 256, choice)[0], rows[::2])


@pytest.mark.parametrize(
    ("decoded", "capacity", "wanted"),
    [
        (1024, 1024, 1024),
        (1025, 1024, 4096),
        (5000, 1024, LARGEST_CAPACITY),
        (LARGEST_CAPACITY + 1, 1024, None),
        (LARGEST_CAPACITY + 1, LARGEST_CAPACITY, None),
    ],
)
def test_capacity_grows_by_fours_up_to_a_limit(
    decoded: int, capacity: int, wanted: int | None
) -> None:
    assert larger_capacity(decoded, capacity) == wanted


def test_a_capacity_is_whole_blocks_up_to_the_largest(target: Target) -> None:
    assert BoxBuffers.allocate(target, 1, 1).capacity == 256
    with pytest.raises(InputError, match="16384 rows of a picture at most, not 16385"):
        BoxBuffers.allocate(target, 1, LARGEST_CAPACITY + 1)
