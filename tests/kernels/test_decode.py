"""kernels/decode.cu, alone and with all that follows it, against the plain reference."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.boxes.call_cuda import CallBuffers
from tinyyolo3.boxes.decode import LARGEST_SIDE_UNIT, Decoded, HeadGeometry, decode_reference
from tinyyolo3.boxes.decode_cuda import (
    DeviceHead,
    RowBuffers,
    decode_cuda,
    decoded_rows,
    device_heads,
)
from tinyyolo3.boxes.nms_cuda import (
    BoxBuffers,
    FoundBoxes,
    detect_boxes_cuda,
    larger_capacity,
    read_results,
)
from tinyyolo3.cuda.maps import empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.image.geometry import Geometry, resize_geometry
from tinyyolo3.selection import Selection, select_boxes
from tinyyolo3.stages import PLAIN

SPECIAL = [0.0, -0.0, 20.0, -90.0, 88.0, 89.0, 1e3, -1e3, np.inf, -np.inf, np.nan]
NETWORK = (96, 64)
#: A picture as large as the network's input, whose boxes do not change on the way back.
WHOLE = resize_geometry(*NETWORK, *NETWORK, "stretch")
THRESHOLDS = [0, 0.005, 0.24, 0.25, 0.5, 0.9, 1]
Net = tuple[list[np.ndarray], list[HeadGeometry]]


@st.composite
def nets(draw: st.DrawFn) -> Net:
    """Draw the heads of one or two images, (N, C, H, W), and their geometries."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.sampled_from([1, 2, 5, 31, 32, 33, 70]))
    images = draw(st.integers(1, 2))
    share = draw(st.sampled_from([0, 0.02]))
    heads, geometries = [], []
    for _ in range(draw(st.integers(1, 3))):
        anchors = tuple((float(w), float(h)) for w, h in rng.uniform(0.05, 1, (3, 2)))
        anchors = anchors[: draw(st.integers(1, 3))]
        if draw(st.integers(0, 3)) == 0:
            geometry = HeadGeometry("region", anchors, classes, softmax=draw(st.booleans()))
        else:
            scale = draw(st.sampled_from([1.0, 1.05, 2.0]))
            geometry = HeadGeometry("yolo", anchors, classes, scale, draw(st.booleans()))
        shape = (images, len(anchors) * (5 + classes), *rng.integers(1, 7, 2))
        logits = rng.uniform(0, 1, shape) if geometry.new_coords else rng.normal(-1, 2, shape)
        odd = rng.random(shape) < share
        heads.append(np.where(odd, rng.choice(SPECIAL, shape), logits).astype(np.float32))
        geometries.append(geometry)
    return heads, geometries


def heads_on(target: Target, net: Net, margin: int = 0) -> tuple[DeviceHead, ...]:
    maps = [upload_map(target, head, head.shape[1] + margin) for head in net[0]]
    return device_heads(target, maps, net[1], NETWORK)


def call_on(target: Target, classes: int, frames: list[Geometry], **choice: Any) -> CallBuffers:
    call = CallBuffers.allocate(target, len(frames), classes)
    call.fill(frames, **choice)
    target.copy_in(call.device, call.pinned)
    return call


def decode_on(
    target: Target, net: Net, capacity: int | None = None, margin: int = 0, **choice: Any
) -> tuple[list[Decoded], np.ndarray]:
    """Decode pictures as large as the network's input; return rows and counts.

    There is room for all of them, unless another capacity is given.
    """
    heads = heads_on(target, net, margin)
    images = len(net[0][0])
    call = call_on(target, net[1][0].classes, [WHOLE] * images, nms=None, **choice)
    if capacity is None:
        scores = [head[0].size // (5 + g.classes) * g.classes for head, g in zip(*net, strict=True)]
        capacity = sum(scores)
    found = RowBuffers.allocate(target, images, capacity)
    decode_cuda(target, heads, call, found)
    return decoded_rows(target, found), target.download(found.counts)


@settings(max_examples=60, deadline=None)
@given(
    nets(), st.sampled_from(THRESHOLDS), st.booleans(), st.booleans(), st.sampled_from([0, 1, 4])
)
def test_rows_are_the_references(
    target: Target, net: Net, threshold: float, multi_label: bool, some: bool, margin: int
) -> None:
    classes = net[1][0].classes
    wanted = range(0, classes, 2) if some else None
    options = {"threshold": threshold, "multi_label": multi_label}
    images, counts = decode_on(target, net, margin=margin, class_ids=wanted, **options)
    for k, found in enumerate(images):
        heads = [head[k] for head in net[0]]
        expected = decode_reference(heads, net[1], **options)
        if wanted is not None:
            expected = expected.rows(np.isin(expected.class_id, wanted))
        assert counts[k] == len(expected.candidate)
        boxes = np.minimum(expected.boxes_cxcywh_unit, LARGEST_SIDE_UNIT)
        np.testing.assert_array_equal(found.boxes_cxcywh_unit, boxes)
        for name in ("candidate", "class_id", "objectness", "confidence"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
            assert getattr(found, name).dtype == getattr(expected, name).dtype


@settings(max_examples=40, deadline=None)
@given(nets(), st.sampled_from(["none", "objectness", "all"]))
def test_overflows_among_the_watched_logits_are_counted(
    target: Target, net: Net, watched: str
) -> None:
    arrays, geometries = net
    entries = [5 + geometry.classes for geometry in geometries]
    counts = {"none": None, "objectness": [1] * len(entries), "all": entries}[watched]
    maps = [upload_map(target, head) for head in arrays]
    heads = device_heads(target, maps, geometries, NETWORK, counts)
    images = len(arrays[0])
    call = call_on(target, geometries[0].classes, [WHOLE] * images, threshold=0.5, nms=None)
    found = RowBuffers.allocate(target, images, 64)
    decode_cuda(target, heads, call, found)
    flagged = target.download(found.overflows) > 0
    for image in range(images):
        seen = [
            head[image].reshape(-1, n, *head.shape[2:])
            for head, n in zip(arrays, entries, strict=True)
        ]
        seen = [logits[:, 4] if watched == "objectness" else logits for logits in seen]
        finite = all(np.isfinite(logits).all() for logits in seen)
        assert flagged[image] == (watched != "none" and not finite)


def crowd(images: int = 2) -> Net:
    """Return a head of 300 boxes, all of which pass for both classes."""
    rng = np.random.default_rng(7)
    head = rng.normal(0, 1, (images, 3 * 7, 10, 10)).astype(np.float32)
    for entry in (4, 5, 6):
        head[:, entry::7] = rng.uniform(2, 4, head[:, entry::7].shape)
    return [head], [HeadGeometry("yolo", ((0.1, 0.2), (0.3, 0.3), (0.5, 0.4)), 2)]


def test_rows_beyond_the_capacity_are_counted_and_not_written(target: Target) -> None:
    images, counts = decode_on(target, crowd(), capacity=100, threshold=0.5)
    assert counts.tolist() == [600, 600]
    every, _ = decode_on(target, crowd(), threshold=0.5)
    for found, rows in zip(images, every, strict=True):
        keys = set(zip(found.candidate.tolist(), found.class_id.tolist(), strict=True))
        assert len(keys) == 100
        assert keys <= set(zip(rows.candidate.tolist(), rows.class_id.tolist(), strict=True))


def detect_on(
    target: Target, net: Net, frames: list[Geometry], capacity: int, **choice: Any
) -> list[FoundBoxes]:
    heads = heads_on(target, net)
    call = call_on(target, net[1][0].classes, frames, **choice)
    buffers = BoxBuffers.allocate(target, len(frames), capacity)
    detect_boxes_cuda(target, heads, call, buffers)
    return read_results(target.download(buffers.results), len(frames), buffers.capacity)


def detect_with_room(
    target: Target, net: Net, frames: list[Geometry], **choice: Any
) -> list[FoundBoxes]:
    """Detect again, with more room, where the rows of a picture did not fit."""
    capacity: int | None = 256
    while capacity is not None:
        boxes = detect_on(target, net, frames, capacity, **choice)
        decoded = max(found.decoded for found in boxes)
        if decoded <= capacity:
            return boxes
        capacity = larger_capacity(decoded, capacity)
    raise AssertionError("the test's networks have too many boxes")


picture_sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))


@settings(max_examples=50, deadline=None)
@given(
    net=nets(),
    sizes=st.tuples(picture_sizes, picture_sizes),
    mode=st.sampled_from(["letterbox", "stretch"]),
    choice=st.fixed_dictionaries(
        {
            "threshold": st.sampled_from([0.1, 0.25, 0.5]),
            "nms": st.sampled_from([None, 0.0, 0.3, 0.45]),
            "nms_kind": st.sampled_from(["greedy", "diou"]),
            "beta_nms": st.sampled_from([0.6, 1.0]),
            "multi_label": st.booleans(),
            "agnostic": st.booleans(),
            "class_ids": st.sampled_from([None, (0,), ()]),
        }
    ),
)
def test_boxes_from_logits_are_those_of_a_cpu(
    target: Target,
    net: Net,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    mode: Any,
    choice: dict[str, Any],
) -> None:
    frames = [resize_geometry(*size, *NETWORK, mode) for size in sizes[: len(net[0][0])]]
    selection = Selection(clip=False, **choice)
    for k, found in enumerate(detect_with_room(target, net, frames, **choice)):
        heads = [head[k] for head in net[0]]
        with np.errstate(all="ignore"):  # infinite centres, of heads that are activated already
            expected = select_boxes(heads, net[1], frames[k], selection, PLAIN)
        names = ("boxes_cxcywh_unit", "objectness", "confidence", "class_id")
        for name, value in zip(names, expected, strict=True):
            assert getattr(found, name).dtype == value.dtype
            np.testing.assert_array_equal(getattr(found, name), value, name)


@pytest.mark.parametrize("best", [0, 1, 31, 32, 36])
def test_of_a_box_s_equal_classes_the_first_is_its_best(target: Target, best: int) -> None:
    head = np.full((1, 5 + 70, 1, 1), 1, np.float32)
    head[0, 5 + best :] = 3
    net = [head], [HeadGeometry("yolo", ((0.1, 0.1),), 70)]
    images, _ = decode_on(target, net, threshold=0.25, multi_label=False)
    assert images[0].class_id.tolist() == [best]


def test_two_runs_give_the_same_bytes(target: Target) -> None:
    options = {"threshold": 0.5, "nms": 0.45, "nms_kind": "diou"}
    first, second = (detect_on(target, crowd(), [WHOLE] * 2, 600, **options) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.decoded == b.decoded == 600
        assert 0 < len(a.confidence) < 600
        assert a.boxes_cxcywh_unit.tobytes() == b.boxes_cxcywh_unit.tobytes()


def test_buffers_may_be_used_again(target: Target) -> None:
    heads = heads_on(target, crowd())
    buffers = BoxBuffers.allocate(target, 2, 1024)
    found = []
    for threshold in (0.5, 0.97, 0.5):
        call = call_on(target, 2, [WHOLE] * 2, threshold=threshold, nms=0.45)
        detect_boxes_cuda(target, heads, call, buffers)
        found.append(read_results(target.download(buffers.results), 2, 1024))
    for first, between, last in zip(*found, strict=True):
        assert between.decoded < first.decoded == last.decoded
        assert np.array_equal(first.boxes_cxcywh_unit, last.boxes_cxcywh_unit)


def test_a_place_without_a_picture_has_no_boxes(target: Target) -> None:
    heads = heads_on(target, crowd())
    call = CallBuffers.allocate(target, 2, 2)
    call.fill([WHOLE], threshold=0.5, nms=0.45)
    target.copy_in(call.device, call.pinned)
    buffers = BoxBuffers.allocate(target, 2)
    detect_boxes_cuda(target, heads, call, buffers)
    found = read_results(target.download(buffers.results), 2, buffers.capacity)
    assert [image.decoded for image in found] == [600, 0]
    assert len(found[1].confidence) == 0


def test_heads_that_do_not_fit_are_refused(target: Target) -> None:
    geometry = HeadGeometry("yolo", ((0.1, 0.1),), 3)
    x = empty_map(target, 1, 2, 2, 9)
    with pytest.raises(InputError, match="found 1 and 2"):
        device_heads(target, [x], [geometry] * 2, NETWORK)
    with pytest.raises(InputError, match="head 0 must have 8 channels, not 9"):
        device_heads(target, [x], [geometry], NETWORK)
