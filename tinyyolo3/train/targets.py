"""Which predictions a truth makes responsible, and what they should have been.

YOLOv3 (Redmon and Farhadi, 2018, section 2.1): the anchor whose shape fits an object best, in the
cell that holds its centre, is to predict it. The shape is compared with *all* anchors of all heads,
and the head whose mask has the best one takes the object. Source: AlexeyAB's yolo_layer.c,
process_batch and delta_yolo_box.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.boxes.iou import iou_matrix_cxcywh
from tinyyolo3.train.options import HeadRules


def predicted_boxes(activated: FloatArray, rules: HeadRules) -> FloatArray:
    """Return the boxes that a head predicts for one picture (yolo_layer.c, get_yolo_box).

    Args:
        activated: (A, 5 + classes, H, W), the head's activated map with an axis for its anchors.
        rules: the head's.

    Returns:
        (A, H, W, 4): centres and sizes, fractions of the network's input.
    """
    _, _, height, width = activated.shape
    dtype = activated.dtype
    anchors_px = np.array([rules.anchors_px[n] for n in rules.mask], dtype)
    anchors_unit = anchors_px / np.array(rules.network_size_px, dtype)
    boxes = np.empty((len(rules.mask), height, width, 4), dtype)
    boxes[..., 0] = (np.arange(width, dtype=dtype) + activated[:, 0]) / width
    boxes[..., 1] = (np.arange(height, dtype=dtype)[:, None] + activated[:, 1]) / height
    with np.errstate(over="ignore"):  # an infinite box overlaps with nothing
        boxes[..., 2] = np.exp(activated[:, 2]) * anchors_unit[:, 0, None, None]
        boxes[..., 3] = np.exp(activated[:, 3]) * anchors_unit[:, 1, None, None]
    return boxes


def responsible_anchors(size_unit: FloatArray, rules: HeadRules) -> list[int]:
    """Return the positions in the head's mask of the anchors that an object's size makes its own.

    Args:
        size_unit: (2,) width and height of the object, fractions of the network's input.
        rules: the head's.

    Returns:
        The best of all anchors, if it is in the mask; the first of equal ones. Behind it, with an
        ``iou_thresh`` below 1, others of the mask whose sizes' IoU exceeds that.
    """
    dtype = size_unit.dtype
    shapes = np.zeros((len(rules.anchors_px), 4), dtype)
    shapes[:, 2:] = np.array(rules.anchors_px, dtype) / np.array(rules.network_size_px, dtype)
    own = np.concatenate([np.zeros(2, dtype), size_unit])[None]
    iou = iou_matrix_cxcywh(shapes, own)[:, 0]
    best = int(iou.argmax())
    found = [best] if best in rules.mask else []
    if rules.iou_thresh < 1:
        # DARKNET: they do so whichever head has the best one.
        others = (n for n in range(len(iou)) if n != best and n in rules.mask)
        found += [n for n in others if iou[n] > rules.iou_thresh]
    return [rules.mask.index(n) for n in found]


def box_target(
    box_cxcywh_unit: FloatArray,
    cell: tuple[int, int],
    grid: tuple[int, int],
    anchor_px: tuple[float, float],
    network_size_px: tuple[int, int],
) -> FloatArray:
    """Return x, y, w and h with which a prediction would be the box (delta_yolo_box).

    Args:
        box_cxcywh_unit: (4,) the object.
        cell: (column, row) of the prediction.
        grid: (width, height) of the head's map in cells.
        anchor_px: (width, height) of its anchor.
        network_size_px: (width, height) of the network's input.

    Returns:
        (4,): the centre in cells from the cell's corner, and ln(size / anchor).
    """
    dtype = box_cxcywh_unit.dtype
    centre = box_cxcywh_unit[:2] * np.array(grid, dtype) - np.array(cell, dtype)
    size_px = box_cxcywh_unit[2:] * np.array(network_size_px, dtype)
    return np.concatenate([centre, np.log(size_px / np.array(anchor_px, dtype))])
