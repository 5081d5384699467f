"""Losses of boxes by how much they overlap the truth, and their gradients: IoU, GIoU, DIoU, CIoU.

With a predicted box p, a truth t, their intersection I and union U, the smallest box around both
of area C and diagonal c, and the distance ρ of their centres, the loss is one minus

    IoU   I / U
    GIoU  IoU − (C − U) / C              (Rezatofighi et al., Generalized Intersection over Union,
                                          2019, section 3, algorithm 1)
    DIoU  IoU − ρ² / c²                  (Zheng et al., Distance-IoU Loss, 2020, equations 6 and 7)
    CIoU  DIoU − α·v                     (the same, equations 8 to 11)
          v = 4/π² (atan(w_t/h_t) − atan(w_p/h_p))²,   α = v / (1 − IoU + v)

where α is held to be a constant when differentiated. The gradient goes by the sides. With
I = I_x·I_y, moving the low side of p along x changes I by −I_y where it is the inner one, the area
of p by −h_p and C by −C_y where it is the outer one, and

    ∂IoU = (∂I − IoU·∂U) / U      ∂(U/C) = (∂U − U/C·∂C) / C      ∂U = ∂|p| − ∂I

Source: AlexeyAB's box.c, box_giou, box_ciou and dx_box_iou, which differs from the gradient in the
ways that are marked. It divides by squares of areas, which are too large for float32 where a box
has 10⁹ times the sides of the picture, and then teaches no box; quotients of quotients still do.
"""

import math

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.boxes.iou import iou_matrix_cxcywh

#: The kinds of IoU.
IOU_KINDS = ("iou", "giou", "diou", "ciou")

#: The losses of boxes: the squared error of what is predicted, and those of IoUs.
BOX_LOSSES = ("mse", *IOU_KINDS)

#: Keeps α finite where boxes are equal (box.c, box_ciou).
ALPHA_EPS = 1e-6


def overlap_scores(kind: str, a_cxcywh: FloatArray, b_cxcywh: FloatArray) -> FloatArray:
    """Return the IoU of a kind of every box of `a` with every box of `b`.

    Args:
        kind: one of `IOU_KINDS`.
        a_cxcywh: centres and sizes (A, 4), float32 or float64.
        b_cxcywh: centres and sizes (B, 4), the same unit and dtype: for CIoU, the truths.

    Returns:
        (A, B) in that dtype, in (-1, 1] for GIoU and DIoU; the plain IoU where both boxes are one
        and the same point.

    Raises:
        InputError: a shape is not (K, 4) or a dtype neither float32 nor float64.
    """
    iou = iou_matrix_cxcywh(a_cxcywh, b_cxcywh)
    if kind == "iou":
        return iou
    a, b = a_cxcywh[:, None], b_cxcywh[None]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        low, high = a[..., :2] - a[..., 2:] / 2, a[..., :2] + a[..., 2:] / 2
        other_low, other_high = b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2
        outer = np.maximum(high, other_high) - np.minimum(low, other_low)
        if kind == "giou":
            shared = (np.minimum(high, other_high) - np.maximum(low, other_low)).clip(0)
            union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared.prod(-1)
            around = outer.prod(-1)
            return np.where(around == 0, iou, iou - (around - union) / around)
        around = np.square(outer).sum(-1)
        penalty = np.square(a[..., :2] - b[..., :2]).sum(-1) / around
        if kind == "ciou":
            turn = np.arctan(b[..., 2] / b[..., 3]) - np.arctan(a[..., 2] / a[..., 3])
            aspect = 4 / math.pi**2 * np.square(turn)
            penalty = penalty + aspect * aspect / (1 - iou + aspect + ALPHA_EPS)
        return np.where(around == 0, iou, iou - penalty)


def overlap_gradient_reference(
    kind: str, predicted_cxcywh: FloatArray, truth_cxcywh: FloatArray, *, exact: bool
) -> FloatArray:
    """Return how an IoU of a kind changes with the predicted box.

    Args:
        kind: one of `IOU_KINDS`.
        predicted_cxcywh: (4,) centre and size.
        truth_cxcywh: (4,) in the same unit and dtype, of a size above 0.
        exact: whether to return the gradient, or what Darknet takes for it.

    Returns:
        (4,) by the centre and the size, in that dtype; not finite where a size is not, or too
        small a number to divide by.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        centre, size = predicted_cxcywh[:2], predicted_cxcywh[2:]
        if not exact:
            # DARKNET: a side of 0 is taken to be as long as the network's input.
            size = np.where(size == 0, size.dtype.type(1), size)
        low, high = centre - size / 2, centre + size / 2
        true_centre, true_size = truth_cxcywh[:2], truth_cxcywh[2:]
        true_low, true_high = true_centre - true_size / 2, true_centre + true_size / 2
        sides = (low, high, true_low, true_high)
        gradient = _gradient_of_areas(kind, *sides, exact=exact)
        if kind in ("diou", "ciou"):
            gradient += _gradient_of_distance(centre, true_centre, *sides, exact=exact)
        if kind == "ciou":
            iou = _signed_iou(*sides, exact=exact)
            gradient[2:] += _gradient_of_aspect(size, true_size, iou, exact=exact)
        return gradient


def _signed_iou(
    low: FloatArray, high: FloatArray, true_low: FloatArray, true_high: FloatArray, *, exact: bool
) -> float:
    shared = np.minimum(high, true_high) - np.maximum(low, true_low)
    if exact:
        shared = np.maximum(shared, 0)
    # DARKNET: the intersection of boxes that do not meet is a product of negative lengths here.
    intersection = shared[0] * shared[1]
    extent, true_extent = high - low, true_high - true_low
    union = extent[0] * extent[1] + true_extent[0] * true_extent[1] - intersection
    iou: float = intersection / union
    return iou


def _gradient_of_areas(
    kind: str,
    low: FloatArray,
    high: FloatArray,
    true_low: FloatArray,
    true_high: FloatArray,
    *,
    exact: bool,
) -> FloatArray:
    """Return the gradient of I/U, and of U/C for GIoU, by centre and size."""
    shared = np.minimum(high, true_high) - np.maximum(low, true_low)
    apart = bool((shared <= 0).any())
    if exact and apart:
        shared = np.zeros_like(shared)  # see _signed_iou
    extent, true_extent = high - low, true_high - true_low
    intersection = shared[0] * shared[1]
    union = extent[0] * extent[1] + true_extent[0] * true_extent[1] - intersection
    # What an area changes by with a side is the extent along the other axis.
    across = shared[::-1]
    intersection_by_low = np.where(low > true_low, -across, 0)
    intersection_by_high = np.where(high < true_high, across, 0)
    union_by_low = -extent[::-1] - intersection_by_low
    union_by_high = extent[::-1] - intersection_by_high
    by_low, by_high = np.zeros_like(low), np.zeros_like(low)
    if union > 0 and (exact or kind == "iou" or not apart):
        iou = intersection / union
        by_low = (intersection_by_low - iou * union_by_low) / union
        by_high = (intersection_by_high - iou * union_by_high) / union
    # DARKNET: where a box is so small that its sides are one number, both are the high one.
    by_low = np.where((low < high) | exact, by_low, by_high)
    if kind == "giou":
        outer = np.maximum(high, true_high) - np.minimum(low, true_low)
        around = outer[0] * outer[1]
        filled = union / around
        by_low = (
            by_low + (union_by_low + np.where(low < true_low, filled * outer[::-1], 0)) / around
        )
        by_high = (
            by_high + (union_by_high - np.where(high > true_high, filled * outer[::-1], 0)) / around
        )
    by_size = by_high - by_low
    # DARKNET: by the size it is not halved, though a side moves by half of it.
    return np.concatenate([by_low + by_high, by_size / 2 if exact else by_size])


def _gradient_of_distance(
    centre: FloatArray,
    true_centre: FloatArray,
    low: FloatArray,
    high: FloatArray,
    true_low: FloatArray,
    true_high: FloatArray,
    *,
    exact: bool,
) -> FloatArray:
    """Return the gradient of −ρ²/c² by centre and size."""
    outer = np.maximum(high, true_high) - np.minimum(low, true_low)
    around = outer[0] * outer[0] + outer[1] * outer[1]
    apart = true_centre - centre
    share = (apart[0] * apart[0] + apart[1] * apart[1]) / around
    low_is_outer, high_is_outer = low < true_low, high > true_high
    by_centre = 2 * share * outer * np.where(high_is_outer, 1, 0)
    by_centre -= 2 * share * outer * np.where(low_is_outer, 1, 0)
    # DARKNET: the way in which the centre changes the diagonal has the wrong sign.
    by_centre = (2 * apart + (by_centre if exact else -by_centre)) / around
    by_size = 2 * share * outer * (np.where(high_is_outer, 0.5, 0) + np.where(low_is_outer, 0.5, 0))
    return np.concatenate([by_centre, by_size / around]).astype(centre.dtype)


def _gradient_of_aspect(
    size: FloatArray, true_size: FloatArray, iou: float, *, exact: bool
) -> FloatArray:
    """Return the gradient of −α·v by the size."""
    dtype = size.dtype.type
    wanted, found = true_size[0] / true_size[1], size[0] / size[1]
    turn = math.atan(wanted) - math.atan(found)
    aspect = dtype(4 / math.pi**2 * turn * turn)
    alpha = aspect / (1 - iou + aspect + dtype(ALPHA_EPS))
    slope = alpha * dtype(8 / math.pi**2 * turn)
    if exact:
        slope = slope / (size[0] * size[0] + size[1] * size[1])
    # DARKNET: 1/(w² + h²) is taken to be 1, as by the paper's authors (section 3.3).
    return np.array([slope * size[1], -slope * size[0]], size.dtype)
