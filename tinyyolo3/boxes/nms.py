"""Non-maximum suppression: of boxes of one class that overlap, the most confident stays.

Within each class, rows are taken by falling confidence; a row that is still alive is kept and
suppresses every later row whose overlap with it is above the threshold (box.c, do_nms_sort and
diounms_sort). The overlap is the IoU (``greedy``) or the DIoU (``diou``, nms_kind=diounms), see
`tinyyolo3.boxes.iou`. Since a row belongs to one class, "suppressed" here is what Darknet does by
zeroing one class's probability of a box that may carry others.

Darknet sorts with qsort, which leaves the order of equal confidences to chance; here the lower
row goes first, and the survivors come in the same order: confidence descending, row ascending.
"""

import math
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray, IntArray
from tinyyolo3.boxes.iou import (
    check_boxes,
    diou_matrix_cxcywh,
    diou_scalar,
    iou_matrix_cxcywh,
    iou_scalar,
    sides_of_boxes,
)
from tinyyolo3.errors import InputError
from tinyyolo3.parallel import compiled

NmsKind = Literal["greedy", "diou"]


def nms_reference(
    boxes_cxcywh_unit: FloatArray,
    confidence: FloatArray,
    class_id: IntArray,
    *,
    iou_threshold: float,
    kind: NmsKind = "greedy",
    class_agnostic: bool = False,
    beta: float = 0.6,
) -> NDArray[np.intp]:
    """Choose the rows that survive suppression (box.c, do_nms_sort, diounms_sort).

    Args:
        boxes_cxcywh_unit: centres and sizes (K, 4), float32 or float64; any unit does, but IoU is
            that of the frame they are in. A box with a NaN suppresses nothing and survives.
        confidence: (K,); rows whose confidence is NaN, zero or negative never survive.
        class_id: (K,) integers.
        iou_threshold: overlaps above it suppress, those equal to it do not; in [0, 1]. It is
            rounded to the boxes' dtype, as Darknet's is to float.
        kind: "greedy" compares the IoU, "diou" the DIoU.
        class_agnostic: compare rows of all classes with each other.
        beta: exponent of "diou" (beta_nms in the cfg, whose default is 0.6).

    Returns:
        The indices of the kept rows, by falling confidence, then by row.

    Raises:
        InputError: shapes or dtypes do not fit, or an option is out of its range.
    """
    _check_rows(boxes_cxcywh_unit, confidence, class_id)
    _check_options(iou_threshold, kind, beta)
    threshold = boxes_cxcywh_unit.dtype.type(iou_threshold)
    rows = _by_class_then_confidence(confidence, class_id, class_agnostic)
    label = np.zeros_like(class_id) if class_agnostic else class_id
    kept = []
    for later in np.split(rows, np.flatnonzero(np.diff(label[rows])) + 1):  # class by class
        while len(later):
            first, later = later[0], later[1:]
            kept.append(first)
            one, others = boxes_cxcywh_unit[first][None], boxes_cxcywh_unit[later]
            if kind == "greedy":
                overlap = iou_matrix_cxcywh(one, others)[0]
            else:
                overlap = diou_matrix_cxcywh(one, others, beta)[0]
            later = later[~(overlap > threshold)]
    return _by_confidence(np.array(kept, np.intp), confidence)


def nms_numba(
    boxes_cxcywh_unit: FloatArray,
    confidence: FloatArray,
    class_id: IntArray,
    *,
    iou_threshold: float,
    kind: NmsKind = "greedy",
    class_agnostic: bool = False,
    beta: float = 0.6,
) -> NDArray[np.intp]:
    """Do what `nms_reference` does in compiled loops, with memory in proportion to the rows.

    Args, Returns and Raises: as there. Time grows with the survivors of a class times its rows.
    """
    _check_rows(boxes_cxcywh_unit, confidence, class_id)
    _check_options(iou_threshold, kind, beta)
    threshold = boxes_cxcywh_unit.dtype.type(iou_threshold)
    rows = _by_class_then_confidence(confidence, class_id, class_agnostic)
    sides = sides_of_boxes(boxes_cxcywh_unit[rows])
    if class_agnostic:
        stop = np.full(len(rows), len(rows))
    else:  # rows of a class are together: where those of each row's class end
        label = class_id[rows]
        stop = np.searchsorted(label, label, side="right")
    alive = np.ones(len(rows), np.bool_)
    # Two loops rather than one with an option: few networks ask for DIoU, and what is not called
    # is not compiled.
    if kind == "greedy":
        _suppress(sides, stop, threshold, alive)
    else:
        _suppress_diou(sides, stop, threshold, float(beta), alive)
    return _by_confidence(rows[alive], confidence)


@compiled
def _suppress(
    sides: FloatArray,
    stop: NDArray[np.intp],
    threshold: np.floating[Any],
    alive: NDArray[np.bool_],
) -> None:
    """Clear `alive` for rows that a row before them suppresses, in classes that end at `stop`."""
    for i in range(stop.size):
        if alive[i]:
            for j in range(np.uint64(i + 1), np.uint64(stop[i])):
                alive[j] &= not (iou_scalar(sides, np.uint64(i), j) > threshold)


@compiled
def _suppress_diou(
    sides: FloatArray,
    stop: NDArray[np.intp],
    threshold: np.floating[Any],
    beta: float,
    alive: NDArray[np.bool_],
) -> None:
    """Do what `_suppress` does with the DIoU for overlap."""
    overlap = np.empty(stop.size, sides.dtype)
    for i in range(stop.size):
        if alive[i]:
            first, last = np.uint64(i + 1), np.uint64(stop[i])
            for j in range(first, last):
                overlap[j] = iou_scalar(sides, np.uint64(i), j)
            # The distance only lowers the overlap, so it need not be taken of the rest.
            for j in range(first, last):
                if overlap[j] > threshold and alive[j]:
                    weakened = diou_scalar(sides, np.uint64(i), j, overlap[j], beta)
                    alive[j] = not (weakened > threshold)


def _by_class_then_confidence(
    confidence: FloatArray, class_id: IntArray, class_agnostic: bool
) -> NDArray[np.intp]:
    """Return the rows of positive confidence, classes together, each by falling confidence."""
    rows = np.flatnonzero(confidence > 0)  # NaN is not
    falling = -confidence[rows]
    if class_agnostic:
        return rows[np.argsort(falling, kind="stable")]
    return rows[np.lexsort((falling, class_id[rows]))]


def _by_confidence(rows: NDArray[np.intp], confidence: FloatArray) -> NDArray[np.intp]:
    rows = np.sort(rows)
    return rows[np.argsort(-confidence[rows], kind="stable")]


def _check_rows(boxes: FloatArray, confidence: FloatArray, class_id: IntArray) -> None:
    check_boxes(boxes)
    rows = (len(boxes),)
    if confidence.shape != rows or confidence.dtype.kind != "f":
        raise InputError(
            f"confidence must be floats of shape {rows}, not {confidence.dtype} "
            f"of shape {confidence.shape}"
        )
    if class_id.shape != rows or class_id.dtype.kind not in "iu":
        raise InputError(
            f"class_id must be integers of shape {rows}, not {class_id.dtype} "
            f"of shape {class_id.shape}"
        )


def _check_options(iou_threshold: float, kind: str, beta: float) -> None:
    number = isinstance(iou_threshold, Real) and not isinstance(iou_threshold, bool)
    if not number or not 0 <= iou_threshold <= 1:  # NaN is not
        raise InputError(f"iou_threshold must be a number in [0, 1], not {iou_threshold!r}")
    if kind not in ("greedy", "diou"):
        raise InputError(f"kind must be 'greedy' or 'diou', not {kind!r}")
    number = isinstance(beta, Real) and not isinstance(beta, bool)
    if not number or not (beta >= 0 and math.isfinite(beta)):
        raise InputError(f"beta must be a finite number, zero or more, not {beta!r}")
