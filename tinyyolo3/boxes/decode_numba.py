"""Decoding in one compiled pass over the raw maps; `tinyyolo3.boxes.decode` has the definitions.

Of ten thousand boxes a handful pass, so the pass looks at one number per box, the objectness
logit, and at nothing else of a box that cannot pass. The test is on the logit: with σ rising,
``σ(t) > threshold`` needs ``t > log(threshold / (1 - threshold))``. That skips the exponential
too, and since objectness × class is no larger than the class score, the same bound rules out
classes. What the bound lets through is decided by the definition's own arithmetic, step by step
in float32, so rows and order are the reference's.

A pass writes rows while there is room and goes on counting when there is none; the wrapper then
makes room and passes once more.

The pass is one function of plain arrays and numbers on purpose: Numba types and lowers it in a
third of the time that small functions and tuples of options take, and a fresh machine waits for
that. Region heads are YOLOv2's, of some hundred boxes, and are left to the definition.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.boxes.decode import (
    Decoded,
    HeadGeometry,
    check_heads,
    check_threshold,
    decode_reference,
)
from tinyyolo3.layers.yolo import centre_shift, logistic_scalar
from tinyyolo3.parallel import compiled

#: Rows that a first pass has room for; images with more objects take a second pass.
FIRST_ROOM = 2048

#: Widens the logit bound, against the rounding of `log` and `exp` in float64.
BOUND_MARGIN = 1e-6


def decode_numba(
    heads: Sequence[FloatArray],
    geometries: Sequence[HeadGeometry],
    threshold: float,
    *,
    multi_label: bool = True,
) -> Decoded:
    """Do what `decode_reference` does in one compiled float32 pass over each yolo head.

    It runs on one thread: reading the objectness of ten thousand boxes takes less time than
    handing a share of them to another.

    Args, Returns and Raises: as there, but any dtype is decoded in float32.
    """
    check_heads(heads, geometries)
    check_threshold(threshold)
    heads = [np.ascontiguousarray(head, np.float32) for head in heads]
    if any(geometry.kind == "region" for geometry in geometries):
        return decode_reference(heads, geometries, threshold, multi_label=multi_label)
    limit = np.float32(threshold)
    room = _room(FIRST_ROOM)
    count = _decode_heads(heads, geometries, limit, room)
    if count > FIRST_ROOM:
        room = _room(count)
        count = _decode_heads(heads, geometries, limit, room)
    found = room.rows(slice(count))
    return found if multi_label else _best_of_each(found)


def _room(rows: int) -> Decoded:
    """Return a `Decoded` of so many rows, not filled yet."""
    return Decoded(
        np.empty((rows, 4), np.float32),
        np.empty(rows, np.float32),
        np.empty(rows, np.float32),
        np.empty(rows, np.intp),
        np.empty(rows, np.intp),
    )


def _decode_heads(
    heads: Sequence[NDArray[np.float32]],
    geometries: Sequence[HeadGeometry],
    limit: np.float32,
    room: Decoded,
) -> int:
    """Write the rows of all heads while there is room; return how much they need, or more."""
    count = candidate = 0
    for head, geometry in zip(heads, geometries, strict=True):
        anchors_unit, scale, shift = _constants(geometry)
        entries = head.reshape(len(anchors_unit), -1, *head.shape[1:])
        entries.flags.writeable = False  # one form for all calls, or each would be compiled anew
        bound = -math.inf if geometry.new_coords else logit_bound(float(limit))
        count = _decode_rows(
            entries,
            anchors_unit,
            geometry.new_coords,
            scale,
            shift,
            limit,
            bound,
            candidate,
            count,
            room.boxes_cxcywh_unit,
            room.objectness,
            room.confidence,
            room.class_id,
            room.candidate,
        )
        candidate += len(anchors_unit) * head.shape[1] * head.shape[2]
    return count


@lru_cache(maxsize=64)
def _constants(
    geometry: HeadGeometry,
) -> tuple[NDArray[np.float64], np.floating[Any], np.floating[Any]]:
    """Return a geometry's anchors (anchors, 2), and its scale and shift of centres in float32."""
    scale = np.float32(geometry.scale_x_y)
    return np.array(geometry.anchors_unit, np.float64), scale, centre_shift(scale)


def logit_bound(threshold: float) -> float:
    """Return a logit below which the logistic function cannot exceed `threshold`."""
    if threshold <= 0:
        return -math.inf
    if threshold >= 1:
        return math.inf
    return math.log(threshold / (1 - threshold)) - BOUND_MARGIN


def _best_of_each(found: Decoded) -> Decoded:
    """Keep only the most probable class of each candidate, the first of equals."""
    order = np.lexsort((-found.confidence, found.candidate))  # stable: equals stay in class order
    first = np.diff(found.candidate[order], prepend=-1) > 0
    return found.rows(order[first])


@compiled
def _decode_rows(
    entries: NDArray[np.float32],
    anchors_unit: NDArray[np.float64],
    activated: bool,
    scale: np.floating[Any],
    shift: np.floating[Any],
    threshold: np.floating[Any],
    bound: float,
    candidate: int,
    count: int,
    boxes_cxcywh_unit: NDArray[np.float32],
    objectness: NDArray[np.float32],
    confidence: NDArray[np.float32],
    class_id: NDArray[np.intp],
    candidates: NDArray[np.intp],
) -> int:
    """Append a yolo head's rows after the first `count`; return how many there are, with them.

    `entries` are its logits (anchors, 5 + classes, H, W), `activated` already under new_coords,
    and `candidate` is the number of boxes in the heads before. Where the count exceeds the room,
    it includes rows that are not finite.
    """
    anchors, channels, grid_h, grid_w = entries.shape
    room = confidence.shape[0]
    for cell in range(grid_h * grid_w):
        row, col = cell // grid_w, cell % grid_w
        for anchor in range(anchors):
            logit = entries[anchor, 4, row, col]
            if not logit >= bound:
                continue
            box_score = logit if activated else np.float32(logistic_scalar(logit))
            if not threshold < box_score < np.inf:
                continue
            first = count
            for k in range(5, channels):
                logit = entries[anchor, k, row, col]
                if logit >= bound:
                    score = logit if activated else np.float32(logistic_scalar(logit))
                    if threshold < box_score * score < np.inf:
                        if count < room:
                            objectness[count] = box_score
                            confidence[count] = box_score * score
                            class_id[count] = k - 5
                            candidates[count] = candidate + cell * anchors + anchor
                        count += 1
            if first == count or count > room:
                continue
            finite = True
            for axis in range(2):
                logit = entries[anchor, axis, row, col]
                centre = logit if activated else np.float32(logistic_scalar(logit))
                place, grid = (col, grid_w) if axis == 0 else (row, grid_h)
                middle = (np.float32(place) + (centre * scale + shift)) / np.float32(grid)
                size = np.float64(entries[anchor, 2 + axis, row, col])
                factor = size * size * 4 if activated else math.exp(size)
                side = np.float32(factor * anchors_unit[anchor, axis])
                if not (abs(middle) < np.inf and abs(side) < np.inf):
                    finite = False
                for k in range(first, count):
                    boxes_cxcywh_unit[k, axis] = middle
                    boxes_cxcywh_unit[k, 2 + axis] = side
            if not finite:
                count = first
    return count
