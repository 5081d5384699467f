"""Which predictions a truth makes responsible, and what they should have been.

YOLOv3 (Redmon and Farhadi, 2018, section 2.1): the anchor whose shape fits an object best, in the
cell that holds its centre, is to predict it. The shape is compared with *all* anchors of all heads,
and the head whose mask has the best one takes the object. Source: AlexeyAB's yolo_layer.c,
process_batch and delta_yolo_box.
"""

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.boxes.iou import iou_matrix_cxcywh
from tinyyolo3.train.iou_loss import overlap_scores
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
    anchors_px = np.array([rules.anchors_px[n] for n in rules.mask])
    anchors_unit = anchors_px / rules.network_size_px
    boxes = np.empty((len(rules.mask), height, width, 4), dtype)
    boxes[..., 0] = (np.arange(width, dtype=dtype) + activated[:, 0]) / width
    boxes[..., 1] = (np.arange(height, dtype=dtype)[:, None] + activated[:, 1]) / height
    with np.errstate(over="ignore"):  # an infinite box overlaps with nothing
        for axis in range(2):
            # In float64 and rounded once, as in C.
            factor = np.exp(activated[:, 2 + axis], dtype=np.float64)
            boxes[..., 2 + axis] = factor * anchors_unit[:, axis, None, None]
    return boxes


def responsible_anchors(sizes_unit: FloatArray, rules: HeadRules) -> NDArray[np.bool_]:
    """Return which anchors of the head's mask objects' sizes make their own.

    Args:
        sizes_unit: (T, 2) width and height of each object, fractions of the network's input.
        rules: the head's.

    Returns:
        (T, A): the best of all anchors, if it is in the mask; the first of equal ones. Besides it,
        with an ``iou_thresh`` below 1, others of the mask whose sizes' IoU exceeds that.
    """
    dtype = sizes_unit.dtype
    shapes = np.zeros((len(rules.anchors_px), 4), dtype)
    shapes[:, 2:] = np.array(rules.anchors_px, dtype) / np.array(rules.network_size_px, dtype)
    own = np.concatenate([np.zeros_like(sizes_unit), sizes_unit], axis=1)
    best = iou_matrix_cxcywh(shapes, own).argmax(axis=0)
    chosen = np.zeros((len(own), len(shapes)), np.bool_)
    if rules.iou_thresh < 1:
        # DARKNET: they do so whichever head has the best one.
        chosen = rules.iou_thresh < overlap_scores(rules.iou_thresh_kind, shapes, own).T
    chosen[np.arange(len(own)), best] = True
    return chosen[:, list(rules.mask)]


def cell_of(box_cxcywh_unit: FloatArray, width: int, height: int) -> tuple[int, int]:
    """Return the (column, row) of the cell that holds a box's centre, of a grid of so many."""
    # A centre on the right or lower border, by rounding, belongs to the last cell.
    column, row = int(box_cxcywh_unit[0] * width), int(box_cxcywh_unit[1] * height)
    return min(column, width - 1), min(row, height - 1)


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
