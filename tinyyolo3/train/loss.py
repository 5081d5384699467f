"""A [yolo] head's deltas, minus the loss's gradient by its logits, and the loss that is printed.

With p = σ(logit), YOLOv3's loss is the binary cross-entropy of objectness and of each class, whose
gradient by the logit is p − target, and a squared error of the box (Redmon and Farhadi, 2018,
sections 2.1 and 2.2). A delta is

    objectness, class   target − p
    box                 (2 − w·h) · iou_normalizer · (target − prediction)

where w·h is the truth's area, so that small boxes count more. Source: AlexeyAB's yolo_layer.c,
process_batch, delta_yolo_box and delta_yolo_class.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.boxes.iou import iou_matrix_cxcywh
from tinyyolo3.errors import InputError
from tinyyolo3.layers.yolo import split_anchors
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.options import HeadRules
from tinyyolo3.train.targets import box_target, predicted_boxes, responsible_anchors

#: A prediction with no class above this is held to be no object, however well it lies
#: (yolo_layer.c, compare_yolo_class).
CLASS_GATE = 0.25


def head_deltas_reference(
    activated: FloatArray, truths: Sequence[Truths], rules: HeadRules
) -> FloatArray:
    """Return what a head's logits should change by.

    Args:
        activated: (N, A·(5 + classes), H, W), the output of `yolo_forward_reference`.
        truths: those of each of the N pictures.
        rules: the head's.

    Returns:
        An array like `activated`.

    Raises:
        InputError: there are not as many truths as pictures, or the map does not fit the rules.
    """
    if len(truths) != len(activated):
        raise InputError(f"{len(activated)} pictures need as many truths, not {len(truths)}")
    # DARKNET: for x and y the error is taken by the logit as if it were by the activated value:
    # neither σ' nor scale_x_y is a factor.
    deltas = np.zeros_like(activated)
    shape = ("yolo", len(rules.mask), rules.classes)
    maps = split_anchors(shape[0], activated, *shape[1:])
    own = split_anchors(shape[0], deltas, *shape[1:])
    for prediction, delta, truth in zip(maps, own, truths, strict=True):
        _judge_predictions(prediction, delta, truth, rules)
        _assign_truths(prediction, delta, truth, rules)
        if rules.iou_thresh < 1:
            _average_boxes(delta)
    return deltas


def loss_of_deltas(deltas: Iterable[FloatArray]) -> float:
    """Return Σδ² of each head, meaned over the heads (network.c, get_network_cost)."""
    sums = [float(np.square(delta, dtype=np.float64).sum()) for delta in deltas]
    return sum(sums) / len(sums)


def _judge_predictions(
    prediction: FloatArray, delta: FloatArray, truths: Truths, rules: HeadRules
) -> None:
    """Set every objectness by the truth that the prediction overlaps most, if any."""
    delta[:, 4] = -rules.obj_normalizer * prediction[:, 4]
    if not len(truths.classes):
        return
    boxes = predicted_boxes(prediction, rules)
    wanted = truths.boxes_cxcywh_unit.astype(prediction.dtype)
    iou = iou_matrix_cxcywh(boxes.reshape(-1, 4), wanted).reshape(*boxes.shape[:3], -1)
    best = iou.max(axis=-1)
    # DARKNET: a prediction whose classes are all improbable is taught to be no object, even where
    # it lies on a truth.
    certain = (prediction[:, 5:] > CLASS_GATE).any(axis=1)
    delta[:, 4][certain & (best > rules.ignore_thresh)] = 0
    # DARKNET: here the classes do not matter.
    for position, row, column in np.argwhere(best > rules.truth_thresh).tolist():
        truth = int(iou[position, row, column].argmax())
        place = (position, row, column)
        _make_responsible(prediction, delta, place, wanted[truth], truths.classes[truth], rules)


def _assign_truths(
    prediction: FloatArray, delta: FloatArray, truths: Truths, rules: HeadRules
) -> None:
    """Make the anchors that fit each truth responsible for it, in the cell of its centre."""
    _, _, height, width = prediction.shape
    boxes = truths.boxes_cxcywh_unit.astype(prediction.dtype)
    for box, class_id in zip(boxes, truths.classes, strict=True):
        row, column = int(box[1] * height), int(box[0] * width)
        for position in responsible_anchors(box[2:], rules):
            _make_responsible(prediction, delta, (position, row, column), box, class_id, rules)


def _make_responsible(
    prediction: FloatArray,
    delta: FloatArray,
    place: tuple[int, int, int],
    box_cxcywh_unit: FloatArray,
    class_id: np.int64,
    rules: HeadRules,
) -> None:
    """Teach the prediction at `place` (position in the mask, row, column) one truth."""
    position, row, column = place
    _, _, height, width = prediction.shape
    own, found = delta[position, :, row, column], prediction[position, :, row, column]
    anchor_px = rules.anchors_px[rules.mask[position]]
    target = box_target(
        box_cxcywh_unit, (column, row), (width, height), anchor_px, rules.network_size_px
    )
    weight = (2 - box_cxcywh_unit[2] * box_cxcywh_unit[3]) * rules.iou_normalizer
    # DARKNET: two truths of one prediction pull at its box together.
    own[:4] += weight * (target - found[:4])
    own[4] = rules.obj_normalizer * (1 - found[4])
    if own[5 + class_id] != 0:
        # DARKNET: where classes have been taught already, a second truth adds its own and leaves
        # the others, so that a prediction may be of two classes.
        own[5 + class_id] = 1 - found[5 + class_id]
        return
    own[5:] = -found[5:]
    own[5 + class_id] += 1


def _average_boxes(delta: FloatArray) -> None:
    """Divide the deltas of each box by the number of classes that it was taught."""
    # DARKNET: by the classes whose deltas are positive and not by the truths, and only where
    # iou_thresh is below 1 (averages_yolo_deltas).
    positive = (delta[:, 5:] > 0).sum(axis=1)
    divisor = np.where((delta[:, 4] != 0) & (positive > 0), positive, 1)
    delta[:, :4] /= divisor[:, None].astype(delta.dtype)
