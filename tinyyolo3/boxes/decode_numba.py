"""Decoding in one compiled pass over the raw maps; `tinyyolo3.boxes.decode` has the definitions.

Of ten thousand boxes a handful pass, so the pass looks at one number per box, the objectness
logit, and at nothing else of a box that cannot pass. The test is on the logit: with σ rising,
``σ(t) > threshold`` needs ``t > log(threshold / (1 - threshold))``. That skips the exponential
too, and since objectness × class is no larger than the class score, the same bound rules out
classes. What the bound lets through is decided by the definition's own arithmetic, step by step
in float32, so rows and order are the reference's.

A pass writes rows while there is room and goes on counting when there is none; the wrapper then
makes room and passes once more.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.boxes.decode import (
    Candidates,
    Decoded,
    HeadGeometry,
    check_heads,
    check_threshold,
)
from tinyyolo3.layers.region import softmax_scalars
from tinyyolo3.layers.yolo import centre_shift, logistic_scalar
from tinyyolo3.parallel import compiled, parallel_for

#: Rows that a first pass has room for; images with more objects take a second pass.
FIRST_ROOM = 2048

#: Widens the logit bound, against the rounding of `log` and `exp` in float64.
BOUND_MARGIN = 1e-6


class _Rule(NamedTuple):
    """A `HeadGeometry` as plain numbers for compiled code."""

    region: bool
    new_coords: bool
    softmax: bool
    scale: np.floating[Any]
    shift: np.floating[Any]
    anchors_unit: NDArray[np.float64]


class _Rows(NamedTuple):
    """Room for decoded rows: the arrays of a `Decoded`, some of them not filled yet."""

    boxes_cxcywh_unit: NDArray[np.float32]
    objectness: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.intp]
    candidate: NDArray[np.intp]


def _rule(geometry: HeadGeometry) -> _Rule:
    scale = np.float32(geometry.scale_x_y)
    return _Rule(
        geometry.kind == "region",
        bool(geometry.new_coords),
        bool(geometry.softmax),
        scale,
        centre_shift(scale),
        np.array(geometry.anchors_unit, np.float64),
    )


def _rows(room: int) -> _Rows:
    return _Rows(
        np.empty((room, 4), np.float32),
        np.empty(room, np.float32),
        np.empty(room, np.float32),
        np.empty(room, np.intp),
        np.empty(room, np.intp),
    )


def _entries(head: FloatArray, geometry: HeadGeometry) -> NDArray[np.float32]:
    """Return a head as contiguous float32 (anchors, 5+classes, H, W), copied only if it is not."""
    contiguous = np.ascontiguousarray(head, np.float32)
    return contiguous.reshape(len(geometry.anchors_unit), -1, *head.shape[1:])


@compiled
def _activate(logit: np.floating[Any], rule: _Rule) -> np.floating[Any]:
    return np.float32(logit if rule.new_coords else logistic_scalar(logit))


@compiled
def _decode_box(
    entries: NDArray[np.float32],
    anchor: int,
    row: int,
    col: int,
    rule: _Rule,
    box: NDArray[np.float32],
) -> None:
    """Write a box's centre and size into `box` (4,)."""
    maps = entries[anchor]
    x = _activate(maps[0, row, col], rule) * rule.scale + rule.shift
    y = _activate(maps[1, row, col], rule) * rule.scale + rule.shift
    box[0] = (np.float32(col) + x) / np.float32(maps.shape[2])
    box[1] = (np.float32(row) + y) / np.float32(maps.shape[1])
    for side in range(2):
        size = np.float64(maps[2 + side, row, col])
        factor = size * size * 4 if rule.new_coords else math.exp(size)
        box[2 + side] = factor * rule.anchors_unit[anchor, side]


@compiled
def _decode_classes(
    entries: NDArray[np.float32],
    anchor: int,
    row: int,
    col: int,
    rule: _Rule,
    objectness: np.floating[Any],
    bound: float,
    probability: NDArray[np.float32],
) -> None:
    """Write objectness × class score into `probability` (classes,), 0 if the bound rules it out."""
    scores = entries[anchor, 5:, row, col]
    if rule.region and rule.softmax:
        softmax_scalars(scores, probability)
        for k in range(scores.shape[0]):
            probability[k] *= objectness
        return
    for k in range(scores.shape[0]):
        if scores[k] < bound:
            probability[k] = 0
        else:
            probability[k] = objectness * _activate(scores[k], rule)


@compiled
def _decode_cells(
    start: int,
    stop: int,
    entries: NDArray[np.float32],
    rule: _Rule,
    boxes: NDArray[np.float32],
    objectness: NDArray[np.float32],
    probability: NDArray[np.float32],
) -> None:
    anchors, _, _, grid_w = entries.shape
    for cell in range(start, stop):
        row, col = divmod(cell, grid_w)
        for anchor in range(anchors):
            k = cell * anchors + anchor
            scale = _activate(entries[anchor, 4, row, col], rule)
            _decode_box(entries, anchor, row, col, rule, boxes[k])
            _decode_classes(entries, anchor, row, col, rule, scale, -np.inf, probability[k])
            # DARKNET: a region head reports 1, see candidates_reference.
            objectness[k] = 1 if rule.region else scale


@compiled
def _decode_rows(
    entries: NDArray[np.float32],
    rule: _Rule,
    threshold: np.floating[Any],
    bound: float,
    multi_label: bool,
    first_candidate: int,
    first_row: int,
    rows: _Rows,
) -> int:
    """Append a head's rows after the first `first_row`; return how many there are, with them."""
    anchors, channels, grid_h, grid_w = entries.shape
    classes = channels - 5
    probability = np.empty(classes, np.float32)
    box = np.empty(4, np.float32)
    count = first_row
    for cell in range(grid_h * grid_w):
        row, col = divmod(cell, grid_w)
        for anchor in range(anchors):
            logit = entries[anchor, 4, row, col]
            if logit < bound:
                continue
            scale = _activate(logit, rule)
            if not threshold < scale < np.inf:
                continue
            _decode_box(entries, anchor, row, col, rule, box)
            if not (
                math.isfinite(box[0])
                and math.isfinite(box[1])
                and math.isfinite(box[2])
                and math.isfinite(box[3])
            ):
                continue
            _decode_classes(entries, anchor, row, col, rule, scale, bound, probability)
            if not multi_label:
                _keep_best(probability)
            for k in range(classes):
                if threshold < probability[k] < np.inf:
                    if count < rows.confidence.shape[0]:
                        for side in range(4):
                            rows.boxes_cxcywh_unit[count, side] = box[side]
                        rows.objectness[count] = 1 if rule.region else scale
                        rows.confidence[count] = probability[k]
                        rows.class_id[count] = k
                        rows.candidate[count] = first_candidate + cell * anchors + anchor
                    count += 1
    return count


@compiled
def _keep_best(probability: NDArray[np.float32]) -> None:
    """Zero all classes but the first of the largest finite probability."""
    best = 0
    for k in range(probability.shape[0]):
        if not np.isfinite(probability[k]):
            probability[k] = 0
        if probability[k] > probability[best]:
            best = k
    largest = probability[best]
    probability[:] = 0
    probability[best] = largest


def candidates_numba(heads: Sequence[FloatArray], geometries: Sequence[HeadGeometry]) -> Candidates:
    """Do what `candidates_reference` does in compiled float32 loops, threads sharing the cells.

    Args, Returns and Raises: as there, but any dtype is decoded in float32.
    """
    check_heads(heads, geometries)
    counts = [
        len(geometry.anchors_unit) * head.shape[1] * head.shape[2]
        for head, geometry in zip(heads, geometries, strict=True)
    ]
    boxes = np.empty((sum(counts), 4), np.float32)
    objectness = np.empty(sum(counts), np.float32)
    probability = np.empty((sum(counts), geometries[0].classes), np.float32)
    start = 0
    for head, geometry, count in zip(heads, geometries, counts, strict=True):
        part = slice(start, start + count)
        parallel_for(
            _decode_cells,
            head.shape[1] * head.shape[2],
            _entries(head, geometry),
            _rule(geometry),
            boxes[part],
            objectness[part],
            probability[part],
            grain=64,
        )
        start += count
    return Candidates(boxes, objectness, probability)


def decode_numba(
    heads: Sequence[FloatArray],
    geometries: Sequence[HeadGeometry],
    threshold: float,
    *,
    multi_label: bool = True,
) -> Decoded:
    """Do what `decode_reference` does in one compiled float32 pass over each head.

    It runs on one thread: reading the objectness of ten thousand boxes takes less time than
    handing a share of them to another.

    Args, Returns and Raises: as there, but any dtype is decoded in float32.
    """
    check_heads(heads, geometries)
    check_threshold(threshold)
    limit = np.float32(threshold)
    parts = [(_entries(h, g), _rule(g)) for h, g in zip(heads, geometries, strict=True)]
    rows = _rows(FIRST_ROOM)
    while True:
        count = candidate = 0
        for entries, rule in parts:
            bound = -math.inf if rule.new_coords else _logit_bound(float(limit))
            count = _decode_rows(
                entries, rule, limit, bound, bool(multi_label), candidate, count, rows
            )
            candidate += entries.shape[0] * entries.shape[2] * entries.shape[3]
        if count <= len(rows.confidence):
            return Decoded(
                rows.boxes_cxcywh_unit[:count],
                rows.objectness[:count],
                rows.confidence[:count],
                rows.class_id[:count],
                rows.candidate[:count],
            )
        rows = _rows(count)


def _logit_bound(threshold: float) -> float:
    """Return a logit below which the logistic function cannot exceed `threshold`."""
    if threshold <= 0:
        return -math.inf
    if threshold >= 1:
        return math.inf
    return math.log(threshold / (1 - threshold)) - BOUND_MARGIN
