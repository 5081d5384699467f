"""How predictions are taught, in compiled float32 code; `tinyyolo3.train.loss` has the definitions.

`tinyyolo3.train.loss_numba` prepares what these functions share.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.parallel import compiled
from tinyyolo3.train.head_arrays import HeadArrays, HeadNumbers
from tinyyolo3.train.iou_loss import BOX_LOSSES
from tinyyolo3.train.iou_loss_numba import write_overlap_gradient
from tinyyolo3.train.loss import CLASS_GATE, FOCAL_ALPHA, FOCAL_EPS

MSE = BOX_LOSSES.index("mse")


@compiled
def teach_pictures(start: int, stop: int, head: HeadArrays, rules: HeadNumbers) -> None:
    """Write the deltas and the sums of some pictures."""
    _, anchors, _, height, width = head.activated.shape
    planes = np.empty((6, height * width), np.float32)
    box = np.empty(4, np.float32)
    for picture in range(start, stop):
        head.deltas[picture] = np.float32(0)
        first, end = head.starts[picture], head.starts[picture + 1]
        for anchor in range(anchors):
            own, found = head.deltas[picture, anchor, 4], head.activated[picture, anchor, 4]
            for row in range(height):
                for column in range(width):
                    own[row, column] = -rules.no_objectness * found[row, column]
            if first == end:
                continue
            _find_overlaps(head, picture, anchor, planes)
            for row in range(height):
                for column in range(width):
                    best = planes[5, row * width + column]
                    if best > rules.ignore_thresh or best > rules.truth_thresh:
                        _judge(head, rules, picture, anchor, row, column, best, box)
        for truth in range(first, end):
            column = min(int(head.boxes[truth, 0] * np.float32(width)), width - 1)
            row = min(int(head.boxes[truth, 1] * np.float32(height)), height - 1)
            for anchor in range(anchors):
                if head.responsible[truth, anchor]:
                    _decode(head, picture, anchor, row, column, box)
                    _assign(head, rules, picture, anchor, row, column, truth, box)
        _sum_up(head, rules.averages, picture)


@compiled
def _decode(
    head: HeadArrays, picture: int, anchor: int, row: int, column: int, box: NDArray[np.float32]
) -> None:
    """Write the centre and size of a prediction's box."""
    found = head.activated[picture, anchor]
    height, width = found.shape[1:]
    box[0] = (np.float32(column) + found[0, row, column]) / np.float32(width)
    box[1] = (np.float32(row) + found[1, row, column]) / np.float32(height)
    for axis in range(2):
        factor = math.exp(np.float64(found[2 + axis, row, column]))
        box[2 + axis] = np.float32(factor * head.anchors_unit[anchor, axis])


@compiled
def _find_overlaps(
    head: HeadArrays, picture: int, anchor: int, planes: NDArray[np.float32]
) -> None:
    """Write the sides and the area of an anchor's boxes, and the largest IoU with any truth.

    Both loops are over cells, and choose instead of branching, so that they become vector
    instructions.
    """
    _, _, _, height, width = head.activated.shape
    zero, two = np.float32(0), np.float32(2)
    box = np.empty(4, np.float32)
    for row in range(height):
        for column in range(width):
            _decode(head, picture, anchor, row, column, box)
            cell = row * width + column
            planes[0, cell], planes[2, cell] = box[0] - box[2] / two, box[0] + box[2] / two
            planes[1, cell], planes[3, cell] = box[1] - box[3] / two, box[1] + box[3] / two
            planes[4, cell] = box[2] * box[3]
            planes[5, cell] = zero
    left, top, right, bottom, area, best = planes
    for truth in range(head.starts[picture], head.starts[picture + 1]):
        true_left, true_top, true_right, true_bottom, true_area, _, _ = head.sides[:, truth]
        for cell in range(best.size):
            shared_width = min(right[cell], true_right) - max(left[cell], true_left)
            shared_height = min(bottom[cell], true_bottom) - max(top[cell], true_top)
            shared = max(shared_width, zero) * max(shared_height, zero)
            iou = shared / (area[cell] + true_area - shared)
            best[cell] = iou if iou > best[cell] else best[cell]


@compiled
def _judge(
    head: HeadArrays,
    rules: HeadNumbers,
    picture: int,
    anchor: int,
    row: int,
    column: int,
    best: np.float32,
    box: NDArray[np.float32],
) -> None:
    """Set the objectness of a prediction whose largest IoU, `best`, exceeds a threshold."""
    found, own = head.activated[picture, anchor], head.deltas[picture, anchor]
    objectness = found[4, row, column]
    if best > rules.ignore_thresh:
        certain = rules.exact
        for entry in range(5, found.shape[0]):
            certain |= found[entry, row, column] > np.float32(CLASS_GATE)
        if certain:
            smooth = rules.objectness * (best - objectness)
            own[4, row, column] = smooth if rules.objectness_smooth else np.float32(0)
    if best > rules.truth_thresh:
        _decode(head, picture, anchor, row, column, box)
        which, largest = head.starts[picture], np.float32(0)
        for truth in range(head.starts[picture], head.starts[picture + 1]):
            iou, _ = _overlaps(box, head.sides, truth)
            if iou > largest:
                which, largest = truth, iou
        target = best * best if rules.objectness_smooth else np.float32(1)
        own[4, row, column] = rules.objectness * (target - objectness)
        _teach_classes(head, rules, picture, anchor, row, column, which)
        if rules.objectness_smooth:
            entry = 5 + head.classes[which]
            multiplier = head.multipliers[head.classes[which]]
            own[entry, row, column] = multiplier * (target - found[entry, row, column])
        _teach_box(head, rules, picture, anchor, row, column, which, box)


@compiled
def _assign(
    head: HeadArrays,
    rules: HeadNumbers,
    picture: int,
    anchor: int,
    row: int,
    column: int,
    truth: int,
    box: NDArray[np.float32],
) -> None:
    """Make a prediction responsible for a truth."""
    own = head.deltas[picture, anchor, 4]
    objectness = head.activated[picture, anchor, 4, row, column]
    _teach_box(head, rules, picture, anchor, row, column, truth, box)
    if own[row, column] == 0 or not rules.objectness_smooth:
        weight = head.multipliers[head.classes[truth]] * rules.objectness
        own[row, column] = weight * (np.float32(1) - objectness)
    _teach_classes(head, rules, picture, anchor, row, column, truth)
    iou, giou = _overlaps(box, head.sides, truth)
    head.sums[picture, 3] += 1
    head.sums[picture, 4] += iou
    head.sums[picture, 5] += giou


@compiled
def _overlaps(
    box: NDArray[np.float32], sides: NDArray[np.float32], truth: int
) -> tuple[np.float32, np.float32]:
    """Return the IoU and the GIoU of a predicted box and a truth."""
    zero, two = np.float32(0), np.float32(2)
    left, right = box[0] - box[2] / two, box[0] + box[2] / two
    top, bottom = box[1] - box[3] / two, box[1] + box[3] / two
    width = max(min(right, sides[2, truth]) - max(left, sides[0, truth]), zero)
    height = max(min(bottom, sides[3, truth]) - max(top, sides[1, truth]), zero)
    shared = width * height
    union = box[2] * box[3] + sides[4, truth] - shared
    around = (max(right, sides[2, truth]) - min(left, sides[0, truth])) * (
        max(bottom, sides[3, truth]) - min(top, sides[1, truth])
    )
    iou = shared / union
    return iou, iou - (around - union) / around


@compiled
def _teach_box(
    head: HeadArrays,
    rules: HeadNumbers,
    picture: int,
    anchor: int,
    row: int,
    column: int,
    truth: int,
    box: NDArray[np.float32],
) -> None:
    """Pull a prediction's box, which is `box`, to a truth."""
    found, own = head.activated[picture, anchor], head.deltas[picture, anchor]
    one, target = np.float32(1), head.boxes[truth]
    height, width = found.shape[1:]
    change = np.empty(4, np.float32)
    weight = rules.box * head.multipliers[head.classes[truth]]
    if rules.loss == MSE:
        size_weight = (np.float32(2) - target[2] * target[3]) * weight
        change[0] = target[0] * np.float32(width) - np.float32(column)
        change[1] = target[1] * np.float32(height) - np.float32(row)
        change[2] = math.log(target[2] * rules.width_px / head.anchors_px[anchor, 0])
        change[3] = math.log(target[3] * rules.height_px / head.anchors_px[anchor, 1])
        for k in range(4):
            change[k] = size_weight * (change[k] - found[k, row, column])
    else:
        write_overlap_gradient(rules.loss - 1, box, target, rules.exact, change)
        for axis in range(2):
            if rules.exact:
                change[axis] /= np.float32(height if axis else width)
                change[2 + axis] *= box[2 + axis]
            else:
                change[2 + axis] *= np.float32(math.exp(np.float64(found[2 + axis, row, column])))
        for k in range(4):
            change[k] *= weight
    for axis in range(2):
        if rules.exact:
            sigma = (found[axis, row, column] + (rules.scale - one) / np.float32(2)) / rules.scale
            change[axis] *= rules.scale * sigma * (one - sigma)
    for k in range(4):
        if rules.loss != MSE:
            if not abs(change[k]) < np.inf:
                change[k] = 0
            change[k] = min(max(change[k], -rules.max_delta), rules.max_delta)
        own[k, row, column] += change[k]
    head.taught[picture, anchor, row, column] = True


@compiled
def _teach_classes(
    head: HeadArrays,
    rules: HeadNumbers,
    picture: int,
    anchor: int,
    row: int,
    column: int,
    truth: int,
) -> None:
    """Set the deltas of a prediction's classes, to learn one."""
    found = head.activated[picture, anchor, :, row, column]
    own = head.deltas[picture, anchor, :, row, column]
    place, multiplier = 5 + head.classes[truth], head.multipliers[head.classes[truth]]
    one, two = np.float32(1), np.float32(2)
    if own[place] != 0:
        own[place] = (rules.class_high - found[place]) * multiplier
        if rules.exact:
            own[place] *= rules.classes
        return
    if rules.focal_loss:
        sure = found[place] + np.float32(FOCAL_EPS)
        weight = (sure - one) * (two * sure * math.log(sure) + sure - one)
        for entry in range(5, own.size):
            wanted = one if entry == place else np.float32(0)
            own[entry] = (wanted - found[entry]) * (np.float32(FOCAL_ALPHA) * weight)
        return
    for entry in range(5, own.size):
        wanted = rules.class_high if entry == place else rules.class_low
        own[entry] = wanted - found[entry]
        if rules.exact:
            own[entry] *= rules.classes
    own[place] *= multiplier if rules.exact else multiplier * rules.classes


@compiled
def _sum_up(head: HeadArrays, averages: bool, picture: int) -> None:
    """Average the boxes of a picture's predictions if wanted, and add up the squared deltas."""
    _, anchors, entries, height, width = head.deltas.shape
    boxes = objectness = classes = 0.0
    for anchor in range(anchors):
        own = head.deltas[picture, anchor]
        for row in range(height):
            for column in range(width):
                objectness += np.float64(own[4, row, column]) ** 2
                if not head.taught[picture, anchor, row, column]:
                    continue
                positive = 0
                for entry in range(5, entries):
                    positive += own[entry, row, column] > 0
                    classes += np.float64(own[entry, row, column]) ** 2
                divides = averages and positive > 0 and own[4, row, column] != 0
                for k in range(4):
                    if divides:
                        own[k, row, column] /= np.float32(positive)
                    boxes += np.float64(own[k, row, column]) ** 2
    head.sums[picture, 0], head.sums[picture, 1], head.sums[picture, 2] = boxes, objectness, classes
