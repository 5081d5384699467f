"""A [yolo] head's deltas: minus the gradient of the loss by its logits, or Darknet's own.

YOLOv1's loss (Redmon et al., You Only Look Once, 2016, section 2.2, equation 3) is a sum of squared
errors: λ_coord = 5 times those of the boxes of responsible predictions, those of their confidence
and classes, and λ_noobj = ½ times the confidence of all others. YOLOv3 (Redmon and Farhadi, 2018,
sections 2.1 and 2.2) keeps the squared error of the box, and takes binary cross-entropies of
objectness and of each class, by the logit t with p = σ(t):

    L =   λ_coord Σ_responsible iou_normalizer · B
        + obj_normalizer (Σ_responsible −ln p_obj + λ_noobj Σ_others −ln(1 − p_obj))
        + cls_normalizer Σ_responsible Σ_class −(y ln p + (1 − y) ln(1 − p))
    B = (2 − w·h)/2 · Σ_xywh (target − prediction)²      or one of `tinyyolo3.train.iou_loss`

where w·h is the truth's area, so that small boxes count more. With ``exact`` rules a delta is
−∂L/∂t: for objectness and classes their factors times target − p, for a box through
∂x/∂t = scale_x_y · σ(t)(1 − σ(t)). λ_coord and λ_noobj are 5 and ½ in the preset ``paper``.

Without ``exact``, Darknet's own: target − p of objectness and classes too, and of a box

    mse     (2 − w·h) · iou_normalizer · (target − prediction)
    IoUs    iou_normalizer · (what it takes for the gradient of 1 − loss by the box)

which are no gradients by the logits: each difference is marked. Source: AlexeyAB's yolo_layer.c,
process_batch, delta_yolo_box and delta_yolo_class.
"""

from collections.abc import Sequence

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.boxes.iou import iou_matrix_cxcywh
from tinyyolo3.errors import InputError
from tinyyolo3.layers.yolo import split_anchors
from tinyyolo3.train.iou_loss import overlap_gradient_reference
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.options import HeadRules
from tinyyolo3.train.targets import box_target, cell_of, predicted_boxes, responsible_anchors

#: A prediction with no class above this is held to be no object, however well it lies
#: (yolo_layer.c, compare_yolo_class).
CLASS_GATE = 0.25

#: The focal loss's α (Lin et al., Focal Loss for Dense Object Detection, 2017, equation 5), and
#: what keeps its logarithm finite (yolo_layer.c, delta_yolo_class).
FOCAL_ALPHA = 0.5
FOCAL_EPS = 1e-15


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
        InputError: there are not as many truths as pictures, the map does not fit the rules, or a
            truth's centre is outside its picture, its box empty or its class none of the head's.
    """
    check_truths(activated, truths, rules)
    deltas = np.zeros_like(activated)
    shape = ("yolo", len(rules.mask), rules.classes)
    maps = split_anchors(shape[0], activated, *shape[1:])
    own = split_anchors(shape[0], deltas, *shape[1:])
    for prediction, delta, truth in zip(maps, own, truths, strict=True):
        boxes = predicted_boxes(prediction, rules)
        _judge_predictions(prediction, boxes, delta, truth, rules)
        _assign_truths(prediction, boxes, delta, truth, rules)
        # DARKNET: only where iou_thresh is below 1.
        if rules.iou_thresh < 1 and not rules.exact:
            _average_boxes(delta)
    return deltas


def check_truths(activated: FloatArray, truths: Sequence[Truths], rules: HeadRules) -> None:
    """Check that truths are those of a head's map.

    Raises:
        InputError: as of `head_deltas_reference`.
    """
    if len(truths) != len(activated):
        raise InputError(f"{len(activated)} pictures need as many truths, not {len(truths)}")
    for index, truth in enumerate(truths):
        centres, sizes = truth.boxes_cxcywh_unit[:, :2], truth.boxes_cxcywh_unit[:, 2:]
        inside = ((centres >= 0) & (centres <= 1)).all(axis=1)
        known = (truth.classes >= 0) & (truth.classes < rules.classes)
        good = inside & (sizes > 0).all(axis=1) & np.isfinite(sizes).all(axis=1) & known
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise InputError(
                f"truth {row} of picture {index} must have its centre in the picture, a size above "
                f"0 and a class below {rules.classes}, not box "
                f"{truth.boxes_cxcywh_unit[row].tolist()} and class {truth.classes[row]}"
            )


def _judge_predictions(
    prediction: FloatArray, boxes: FloatArray, delta: FloatArray, truths: Truths, rules: HeadRules
) -> None:
    """Set every objectness by the truth that the prediction overlaps most, if any."""
    delta[:, 4] = -rules.lambda_noobj * rules.obj_normalizer * prediction[:, 4]
    if not len(truths.classes):
        return
    wanted = truths.boxes_cxcywh_unit.astype(prediction.dtype)
    iou = iou_matrix_cxcywh(boxes.reshape(-1, 4), wanted).reshape(*boxes.shape[:3], -1)
    best = iou.max(axis=-1)
    # DARKNET: a prediction whose classes are all improbable is taught to be no object, even where
    # it lies on a truth.
    certain = rules.exact | (prediction[:, 5:] > CLASS_GATE).any(axis=1)
    left = certain & (best > rules.ignore_thresh)
    delta[:, 4][left] = 0
    if rules.objectness_smooth:
        delta[:, 4][left] = rules.obj_normalizer * (best - prediction[:, 4])[left]
    # DARKNET: here the classes do not matter.
    for position, row, column in np.argwhere(best > rules.truth_thresh).tolist():
        place = (position, slice(None), row, column)
        truth = int(iou[position, row, column].argmax())
        own, found, class_id = delta[place], prediction[place], truths.classes[truth]
        overlap = best[position, row, column]
        target = overlap * overlap if rules.objectness_smooth else 1
        own[4] = rules.obj_normalizer * (target - found[4])
        _teach_classes(own, found, class_id, rules)
        if rules.objectness_smooth:
            own[5 + class_id] = _multiplier(rules, class_id) * (target - found[5 + class_id])
        _teach_box(
            prediction, boxes, delta, (position, row, column), wanted[truth], class_id, rules
        )


def _assign_truths(
    prediction: FloatArray,
    predicted: FloatArray,
    delta: FloatArray,
    truths: Truths,
    rules: HeadRules,
) -> None:
    """Make the anchors that fit each truth responsible for it, in the cell of its centre."""
    _, _, height, width = prediction.shape
    boxes = truths.boxes_cxcywh_unit.astype(prediction.dtype)
    chosen = responsible_anchors(boxes[:, 2:], rules)
    for box, class_id, own_anchors in zip(boxes, truths.classes, chosen, strict=True):
        column, row = cell_of(box, width, height)
        for position in np.flatnonzero(own_anchors).tolist():
            place = (position, row, column)
            own, found = delta[position, :, row, column], prediction[position, :, row, column]
            _teach_box(prediction, predicted, delta, place, box, class_id, rules)
            # DARKNET: with objectness_smooth, one that is taught already stays as it is.
            if own[4] == 0 or not rules.objectness_smooth:
                own[4] = _multiplier(rules, class_id) * rules.obj_normalizer * (1 - found[4])
            _teach_classes(own, found, class_id, rules)


def _multiplier(rules: HeadRules, class_id: np.int64) -> float:
    return rules.class_multipliers[class_id] if rules.class_multipliers else 1.0


def _teach_box(
    prediction: FloatArray,
    predicted: FloatArray,
    delta: FloatArray,
    place: tuple[int, int, int],
    box_cxcywh_unit: FloatArray,
    class_id: np.int64,
    rules: HeadRules,
) -> None:
    """Pull the box of the prediction at `place` (position in the mask, row, column) to a truth."""
    position, row, column = place
    _, _, height, width = prediction.shape
    found = prediction[position, :4, row, column]
    # By the logits of x and y; the head's activation is scale_x_y·σ − (scale_x_y − 1)/2.
    scale = rules.scale_x_y
    sigma = (found[:2] + (scale - 1) / 2) / scale
    slope = scale * sigma * (1 - sigma)
    weight = rules.lambda_coord * rules.iou_normalizer * _multiplier(rules, class_id)
    if rules.iou_loss == "mse":
        anchor_px = rules.anchors_px[rules.mask[position]]
        target = box_target(
            box_cxcywh_unit, (column, row), (width, height), anchor_px, rules.network_size_px
        )
        change = (2 - box_cxcywh_unit[2] * box_cxcywh_unit[3]) * weight * (target - found)
        # DARKNET: for x and y the error is taken by the logit as if it were by the activated
        # value: neither σ' nor scale_x_y is a factor.
        change[:2] *= slope if rules.exact else 1
    else:
        own = predicted[position, row, column]
        change = overlap_gradient_reference(rules.iou_loss, own, box_cxcywh_unit, exact=rules.exact)
        with np.errstate(over="ignore", invalid="ignore"):
            if rules.exact:
                change *= np.concatenate([slope / (width, height), own[2:]]).astype(own.dtype)
            else:
                # DARKNET: the centre is taken by the logit as if it were by the picture's side,
                # and the size as if the anchor were that side.
                change[2:] *= np.exp(found[2:], dtype=np.float64).astype(own.dtype)
            change *= weight
        # Darknet's own guard against boxes that have grown beyond all numbers.
        change[~np.isfinite(change)] = 0
        change = change.clip(-rules.max_delta, rules.max_delta)
    # DARKNET: two truths of one prediction pull at its box together.
    delta[position, :4, row, column] += change


def _teach_classes(
    own: FloatArray, found: FloatArray, class_id: np.int64, rules: HeadRules
) -> None:
    """Set the deltas of a prediction's classes, to learn one."""
    place = 5 + class_id
    low = 0.5 * rules.label_smooth_eps
    high = 1 - rules.label_smooth_eps + low
    multiplier = _multiplier(rules, class_id)
    if own[place] != 0:
        # DARKNET: where classes have been taught already, a second truth adds its own and leaves
        # the others, so that a prediction may be of two classes.
        own[place] = (high - found[place]) * multiplier
        own[place] *= rules.cls_normalizer if rules.exact else 1
        return
    wanted = np.arange(rules.classes) == class_id
    if rules.focal_loss:
        # DARKNET: of all the classes by the probability of the truth's, as of a softmax, and with
        # neither smooth labels nor multipliers.
        sure = found[place] + found.dtype.type(FOCAL_EPS)
        weight = (sure - 1) * (2 * sure * np.log(sure) + sure - 1)
        own[5:] = (wanted - found[5:]) * (FOCAL_ALPHA * weight)
        return
    own[5:] = np.where(wanted, high, low).astype(own.dtype) - found[5:]
    if rules.exact:
        own[5:] *= rules.cls_normalizer
        own[place] *= multiplier
    elif rules.class_multipliers:
        # DARKNET: cls_normalizer is heeded here alone.
        own[place] *= multiplier * rules.cls_normalizer


def _average_boxes(delta: FloatArray) -> None:
    """Divide the deltas of each box by the number of classes that it was taught."""
    # DARKNET: by the classes whose deltas are positive and not by the truths
    # (averages_yolo_deltas).
    positive = (delta[:, 5:] > 0).sum(axis=1)
    divisor = np.where((delta[:, 4] != 0) & (positive > 0), positive, 1)
    delta[:, :4] /= divisor[:, None].astype(delta.dtype)
