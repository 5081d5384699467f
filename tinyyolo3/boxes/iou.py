"""How much two boxes overlap, in Darknet's arithmetic.

Intersection over union of boxes a and b, given as centre and size:

    IoU = |a ∩ b| / |a ∪ b|          |a ∪ b| = |a| + |b| - |a ∩ b|

and DIoU as Darknet's suppression uses it, where centres far apart weaken the overlap,

    DIoU = IoU - (d² / c²)^β

with d the distance of the centres and c the diagonal of the smallest box around both (Zheng et
al., Distance-IoU Loss, 2020, section 3.4; β is AlexeyAB's). Sources: box.c, overlap,
box_intersection, box_union, box_iou, box_c and box_diounms.

Sides are ``x ∓ w/2`` and are rounded as such, so boxes of which one is the other moved need not
overlap by exactly the same number. `sides_of_boxes` works them out once per box; the reference
takes whole matrices, the compiled functions a pair, and finite boxes get the same bits.
"""

from typing import Any

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.parallel import compiled


def check_boxes(boxes: FloatArray) -> None:
    """Check that an array holds boxes.

    Raises:
        InputError: its shape is not (K, 4) or its dtype neither float32 nor float64.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"boxes must have shape (K, 4), not {boxes.shape}")
    if boxes.dtype not in (np.float32, np.float64):
        raise InputError(f"boxes must be float32 or float64, not {boxes.dtype}")


def sides_of_boxes(boxes_cxcywh: FloatArray) -> FloatArray:
    """Lay out boxes as planes: left, top, right, bottom, area, cx, cy.

    Args:
        boxes_cxcywh: centres and sizes (K, 4), float32 or float64, any unit.

    Returns:
        A contiguous array (7, K) of the same dtype.

    Raises:
        InputError: the shape is not (K, 4) or the dtype neither float32 nor float64.
    """
    check_boxes(boxes_cxcywh)
    cx, cy, width, height = boxes_cxcywh.T
    sides = np.empty((7, len(boxes_cxcywh)), boxes_cxcywh.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite boxes are the caller's right
        half_width, half_height = width / 2, height / 2
        sides[0], sides[1] = cx - half_width, cy - half_height
        sides[2], sides[3] = cx + half_width, cy + half_height
        sides[4] = width * height
    sides[5], sides[6] = cx, cy
    # Comparisons may choose the other box's side over a NaN; through the area it reaches the IoU.
    sides[4, np.isnan(boxes_cxcywh).any(axis=1)] = np.nan
    return sides


def iou_matrix_cxcywh(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersect every box of `a` with every box of `b` (box.c, box_iou).

    Args:
        a: centres and sizes (A, 4), float32 or float64.
        b: centres and sizes (B, 4), the same unit and dtype.

    Returns:
        IoU (A, B) in that dtype: 0 where boxes do not meet or have no area, NaN where a
        coordinate is NaN or the infinities in it cancel.

    Raises:
        InputError: a shape is not (K, 4) or a dtype neither float32 nor float64.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _iou(sides_of_boxes(a)[:, :, None], sides_of_boxes(b)[:, None, :])


def diou_matrix_cxcywh(a: FloatArray, b: FloatArray, beta: float) -> FloatArray:
    """Take ``IoU - (d²/c²)^β`` of every box of `a` with every box of `b` (box.c, box_diounms).

    Args:
        a: centres and sizes (A, 4), float32 or float64.
        b: centres and sizes (B, 4), the same unit and dtype.
        beta: the exponent, ``beta_nms`` of the cfg.

    Returns:
        (A, B) in that dtype, in (-1, 1] for finite boxes; the plain IoU where both boxes are
        one and the same point.

    Raises:
        InputError: a shape is not (K, 4) or a dtype neither float32 nor float64.
    """
    sides_a, sides_b = sides_of_boxes(a)[:, :, None], sides_of_boxes(b)[:, None, :]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        iou = _iou(sides_a, sides_b)
        width = np.maximum(sides_a[2], sides_b[2]) - np.minimum(sides_a[0], sides_b[0])
        height = np.maximum(sides_a[3], sides_b[3]) - np.minimum(sides_a[1], sides_b[1])
        dx, dy = sides_a[5] - sides_b[5], sides_a[6] - sides_b[6]
        diagonal = width * width + height * height
        ratio = (dx * dx + dy * dy) / diagonal
        penalty = np.power(ratio.astype(np.float64), beta).astype(iou.dtype)
        return np.where(diagonal == 0, iou, iou - penalty)


def _iou(a: FloatArray, b: FloatArray) -> FloatArray:
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    intersection = np.where((width < 0) | (height < 0), a.dtype.type(0), width * height)
    union = a[4] + b[4] - intersection
    return np.where((intersection == 0) | (union == 0), a.dtype.type(0), intersection / union)


@compiled
def iou_scalar(sides: FloatArray, i: int | np.uint64, j: int | np.uint64) -> np.floating[Any]:
    """Return the IoU of boxes `i` and `j`, in the planes' dtype.

    It chooses instead of branching, so that a loop over it becomes vector instructions, seven
    times as quick, if the loop counts in unsigned numbers: those need no check for wrap-around.
    """
    zero = sides.dtype.type(0)
    width = min(sides[2, i], sides[2, j]) - max(sides[0, i], sides[0, j])
    height = min(sides[3, i], sides[3, j]) - max(sides[1, i], sides[1, j])
    intersection = zero if (width < 0) | (height < 0) else width * height
    union = sides[4, i] + sides[4, j] - intersection
    return zero if (intersection == 0) | (union == 0) else intersection / union


@compiled
def diou_scalar(
    sides: FloatArray, i: int | np.uint64, j: int | np.uint64, iou: np.floating[Any], beta: float
) -> np.floating[Any]:
    """Turn the IoU of boxes `i` and `j` into their DIoU, in the planes' dtype."""
    width = max(sides[2, i], sides[2, j]) - min(sides[0, i], sides[0, j])
    height = max(sides[3, i], sides[3, j]) - min(sides[1, i], sides[1, j])
    dx, dy = sides[5, i] - sides[5, j], sides[6, i] - sides[6, j]
    diagonal = width * width + height * height
    if diagonal == 0:
        return iou
    ratio = (dx * dx + dy * dy) / diagonal
    return iou - sides.dtype.type(np.float64(ratio) ** beta)
