"""What compiled deltas are worked out from: a head's rules in numbers, and its arrays."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.train.iou_loss import BOX_LOSSES
from tinyyolo3.train.options import HeadRules


class HeadNumbers(NamedTuple):
    """`HeadRules` in numbers; `loss` is a position in `BOX_LOSSES` and sizes are of the network."""

    loss: int
    exact: bool
    objectness_smooth: bool
    focal_loss: bool
    averages: bool
    ignore_thresh: np.float32
    truth_thresh: np.float32
    box: np.float32
    objectness: np.float32
    no_objectness: np.float32
    classes: np.float32
    class_low: np.float32
    class_high: np.float32
    max_delta: np.float32
    scale: np.float32
    width_px: np.float32
    height_px: np.float32


class HeadArrays(NamedTuple):
    """A head's arrays, with those of its truths.

    Attributes:
        activated, deltas: (N, A, 5 + classes, H, W).
        anchors_px, anchors_unit: (A, 2) of the mask.
        multipliers: (classes,).
        boxes, sides, classes: (T, 4), (7, T) and (T,) of all pictures' truths.
        responsible: (T, A), which anchors each makes its own.
        starts: (N + 1,), where each picture's truths begin.
        taught: (N, A, H, W), whether a prediction was taught a box.
        sums: (N, 6): Σδ² of boxes, objectness and classes, the number of responsible predictions,
            and their IoU and GIoU added up.
    """

    activated: NDArray[np.float32]
    deltas: NDArray[np.float32]
    anchors_px: NDArray[np.float32]
    anchors_unit: NDArray[np.float64]
    multipliers: NDArray[np.float32]
    boxes: NDArray[np.float32]
    sides: NDArray[np.float32]
    classes: NDArray[np.int64]
    responsible: NDArray[np.bool_]
    starts: NDArray[np.int64]
    taught: NDArray[np.bool_]
    sums: NDArray[np.float64]


def numbers_of(rules: HeadRules) -> HeadNumbers:
    """Return a head's rules as compiled code takes them."""
    low = 0.5 * rules.label_smooth_eps
    # Darknet's cls_normalizer stands with the multipliers alone.
    heeded = rules.exact or bool(rules.class_multipliers)
    return HeadNumbers(
        BOX_LOSSES.index(rules.iou_loss),
        rules.exact,
        rules.objectness_smooth,
        rules.focal_loss,
        rules.iou_thresh < 1 and not rules.exact,
        np.float32(rules.ignore_thresh),
        np.float32(rules.truth_thresh),
        np.float32(rules.lambda_coord * rules.iou_normalizer),
        np.float32(rules.obj_normalizer),
        np.float32(rules.lambda_noobj * rules.obj_normalizer),
        np.float32(rules.cls_normalizer if heeded else 1.0),
        np.float32(low),
        np.float32(1 - rules.label_smooth_eps + low),
        np.float32(rules.max_delta),
        np.float32(rules.scale_x_y),
        np.float32(rules.network_size_px[0]),
        np.float32(rules.network_size_px[1]),
    )
