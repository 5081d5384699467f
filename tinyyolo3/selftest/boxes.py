"""The self-test's cases around the network: pictures in, heads, boxes out."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinyyolo3.arrays import ByteArray
from tinyyolo3.boxes.call_cuda import CallBuffers
from tinyyolo3.boxes.decode import HeadGeometry
from tinyyolo3.boxes.decode_cuda import device_heads
from tinyyolo3.boxes.nms_cuda import BoxBuffers, FoundBoxes, detect_boxes_cuda, read_results
from tinyyolo3.cuda.maps import upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.image.files import to_grey
from tinyyolo3.image.geometry import ResizeMode, resize_geometry
from tinyyolo3.image.resize import network_input_numba, network_input_reference
from tinyyolo3.image.resize_cuda import FRAME, fill_frames, network_input_cuda
from tinyyolo3.layers.region import (
    region_forward_cuda,
    region_forward_numba,
    region_forward_reference,
)
from tinyyolo3.layers.yolo import yolo_forward_cuda, yolo_forward_numba, yolo_forward_reference
from tinyyolo3.selection import Selected, Selection, select_boxes
from tinyyolo3.selftest.case import (
    Array,
    Case,
    Expected,
    Prepared,
    Size,
    case_in_halves,
    map_case,
    normal,
    read_map,
    untouched_map,
)
from tinyyolo3.stages import COMPILED, PLAIN, NetworkInput, Stages
from tinyyolo3.testing import tolerances

#: Anchors as fractions of the network's input.
ANCHORS = ((0.1, 0.2), (0.3, 0.3), (0.5, 0.4))


def box_cases() -> Iterator[Case]:
    """Yield every case."""
    yield resize([(19, 33), (40, 8)], (32, 24), "letterbox", 3)
    yield resize([(5, 7)], (33, 17), "stretch", 1, margin=3)
    yield yolo((2, 3 * 9, 5, 7), 4)
    yield yolo((1, 3 * 6, 4, 4), 1, scale_x_y=1.1, margin=2)
    yield region((2, 3 * 25, 5, 4), 3)
    yield boxes(2, 20, (5, 7))
    yield boxes(1, 3, (13, 12))


def resize(
    sizes: list[tuple[int, int]],
    network: tuple[int, int],
    mode: ResizeMode,
    channels: int,
    margin: int = 0,
) -> Case:
    """Pictures (height, width) fitted to a network's input (width, height)."""
    rng = np.random.default_rng(41)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    geometries = [resize_geometry(p.shape[1], p.shape[0], *network, mode) for p in pictures]
    shape = (len(pictures), channels, network[1], network[0])

    def prepare(target: Target, dtype: DTypeLike = np.float32) -> Prepared:
        frames = np.empty(len(pictures), FRAME)
        fill_frames(frames, geometries)
        pixels = target.upload(np.concatenate([picture.reshape(-1) for picture in pictures]))
        table = target.upload(frames.view(np.uint8))
        out = untouched_map(target, shape, margin, dtype)
        return Prepared(
            lambda: network_input_cuda(target, pixels, table, out),
            lambda: [read_map(target, out)],
            sum(picture.nbytes for picture in pictures) + out.data.nbytes,
        )

    def seen(picture: ByteArray) -> ByteArray:
        return picture if channels == 3 else to_grey(picture)

    def fitted(function: NetworkInput) -> Array:
        inputs = [function(seen(picture), *network, mode)[:channels] for picture in pictures]
        return np.stack(inputs)

    label = " and ".join("x".join(map(str, size)) for size in sizes)
    case = Case(
        "resize",
        ("resize.cu",),
        f"{label} to {'x'.join(map(str, shape))} {mode}",
        prepare,
        lambda: [Expected(fitted(network_input_reference))],
        lambda: [fitted(network_input_numba)],
    )
    return replace(case, in_halves=lambda: case_in_halves(case, partial(prepare, dtype=np.float16)))


def yolo(shape: Size, classes: int, scale_x_y: float = 1.0, margin: int = 0) -> Case:
    """A [yolo] head, activated."""
    x = normal(42, *shape)
    options: dict[str, Any] = {"classes": classes, "scale_x_y": scale_x_y}
    anchors = shape[1] // (5 + classes)

    def expected() -> Expected:
        values = yolo_forward_reference(x, anchors=anchors, **options)
        return Expected(values, tolerances.ELEMENTARY_FLOAT32 * np.maximum(np.abs(values), 1))

    return map_case(
        "yolo",
        "yolo.cu",
        f"classes={classes}",
        [x],
        shape,
        partial(yolo_forward_cuda, **options),
        expected,
        margin=margin,
        on_cpu=lambda: yolo_forward_numba(x, anchors=anchors, **options),
        halves=False,
    )


def region(shape: Size, anchors: int) -> Case:
    """A [region] head, activated."""
    x = normal(43, *shape)
    classes = shape[1] // anchors - 5

    def expected() -> Expected:
        values = region_forward_reference(x, anchors=anchors, classes=classes)
        return Expected(values, tolerances.ELEMENTARY_FLOAT32 * np.maximum(np.abs(values), 1))

    return map_case(
        "region",
        "region.cu",
        f"anchors={anchors}",
        [x],
        shape,
        partial(region_forward_cuda, anchors=anchors),
        expected,
        on_cpu=lambda: region_forward_numba(x, anchors=anchors, classes=classes),
        halves=False,
    )


def boxes(images: int, classes: int, cells: tuple[int, int], capacity: int = 4096) -> Case:
    """Everything from two heads' logits to the boxes that survive suppression."""
    network, picture = (96, 64), (50, 40)
    frame = resize_geometry(*picture, *network, "letterbox")
    rows, columns = cells
    shapes = [(images, 3 * (5 + classes), k * rows, k * columns) for k in (1, 2)]
    heads = [normal(44 + k, *shape) - 1 for k, shape in enumerate(shapes)]
    geometry = HeadGeometry("yolo", ANCHORS, classes)
    wanted: dict[str, Any] = {
        **{"threshold": 0.24, "nms": 0.45, "nms_kind": "greedy", "beta_nms": 0.6},
        **{"agnostic": False, "multi_label": True, "class_ids": None},
    }

    def prepare(target: Target) -> Prepared:
        maps = [upload_map(target, head) for head in heads]
        on_device = device_heads(target, maps, [geometry] * 2, network)
        call = CallBuffers.allocate(target, images, classes)
        call.fill([frame] * images, **wanted)
        target.copy_in(call.device, call.pinned)
        buffers = BoxBuffers.allocate(target, images, capacity)

        def results() -> list[Array]:
            found = read_results(target.download(buffers.results), images, buffers.capacity)
            return [array for one in found for array in _columns(one)]

        moved = sum(head.nbytes for head in heads)
        return Prepared(lambda: detect_boxes_cuda(target, on_device, call, buffers), results, moved)

    def selected(stages: Stages) -> list[Array]:
        selection = Selection(**wanted, clip=False)
        found = (
            select_boxes([head[k] for head in heads], [geometry] * 2, frame, selection, stages)
            for k in range(images)
        )
        return [array for one in found for array in _columns(one)]

    def expected() -> list[Expected]:
        return [
            Expected(
                array,
                tolerances.ELEMENTARY_FLOAT32 * np.maximum(np.abs(array), 1)
                if array.dtype == np.float32
                else 0.0,
            )
            for array in selected(PLAIN)
        ]

    label = f"{images} of {classes} classes, {rows}x{columns} cells and twice that"
    files = ("decode.cu", "nms.cu")
    return Case("boxes", files, label, prepare, expected, lambda: selected(COMPILED))


def _columns(found: Selected | FoundBoxes) -> list[Array]:
    names = ("boxes_cxcywh_unit", "objectness", "confidence", "class_id")
    return [getattr(found, name) for name in names]
