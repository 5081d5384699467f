"""Gradients of IoUs in compiled code; `tinyyolo3.train.iou_loss` has the definitions."""

import math

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.parallel import compiled
from tinyyolo3.train.iou_loss import ALPHA_EPS, IOU_KINDS

IOU, GIOU, DIOU, CIOU = (IOU_KINDS.index(kind) for kind in ("iou", "giou", "diou", "ciou"))


@compiled
def write_overlap_gradient(
    kind: int,
    predicted: NDArray[np.float32],
    truth: NDArray[np.float32],
    exact: bool,
    gradient: NDArray[np.float32],
) -> None:
    """Do what `overlap_gradient_reference` does, in float32.

    Args:
        kind: a position in `IOU_KINDS`.
        predicted, truth: (4,) centre and size.
        exact: as there.
        gradient: (4,), written.
    """
    zero, one, two, half = np.float32(0), np.float32(1), np.float32(2), np.float32(0.5)
    shared, extent, outer = (
        np.empty(2, np.float32),
        np.empty(2, np.float32),
        np.empty(2, np.float32),
    )
    # Of each axis, by the side: how much of the intersection's and the outer box's extent follows.
    inner_low, inner_high = np.empty(2, np.bool_), np.empty(2, np.bool_)
    outer_low, outer_high = np.empty(2, np.bool_), np.empty(2, np.bool_)
    flat = np.empty(2, np.bool_)
    true_area, apart, reach = one, False, zero
    for axis in range(2):
        size = predicted[2 + axis]
        if not exact and size == 0:
            size = one
        low, high = predicted[axis] - size / two, predicted[axis] + size / two
        true_low = truth[axis] - truth[2 + axis] / two
        true_high = truth[axis] + truth[2 + axis] / two
        shared[axis] = min(high, true_high) - max(low, true_low)
        outer[axis] = max(high, true_high) - min(low, true_low)
        extent[axis] = high - low
        true_area *= true_high - true_low
        inner_low[axis], inner_high[axis] = low > true_low, high < true_high
        outer_low[axis], outer_high[axis] = low < true_low, high > true_high
        flat[axis] = not low < high
        apart |= shared[axis] <= 0
        distance = truth[axis] - predicted[axis]
        reach += distance * distance
    if exact and apart:
        shared[:] = zero
    intersection = shared[0] * shared[1]
    union = extent[0] * extent[1] + true_area - intersection
    iou = intersection / union
    box, diagonal = outer[0] * outer[1], outer[0] * outer[0] + outer[1] * outer[1]
    for axis in range(2):
        across, along = shared[1 - axis], extent[1 - axis]
        by_low = -across if inner_low[axis] else zero
        by_high = across if inner_high[axis] else zero
        union_by_low, union_by_high = -along - by_low, along - by_high
        if union > 0 and (exact or kind == IOU or not apart):
            by_low = (by_low - iou * union_by_low) / union
            by_high = (by_high - iou * union_by_high) / union
        else:
            by_low = by_high = zero
        if flat[axis] and not exact:
            by_low = by_high
        if kind == GIOU:
            grown = union / box * outer[1 - axis]
            by_low += (union_by_low + (grown if outer_low[axis] else zero)) / box
            by_high += (union_by_high - (grown if outer_high[axis] else zero)) / box
        gradient[axis] = by_low + by_high
        gradient[2 + axis] = (by_high - by_low) * (half if exact else one)
        if kind in (DIOU, CIOU):
            grown = two * (reach / diagonal) * outer[axis]
            moved = (grown if outer_high[axis] else zero) - (grown if outer_low[axis] else zero)
            ahead = two * (truth[axis] - predicted[axis])
            gradient[axis] += (ahead + (moved if exact else -moved)) / diagonal
            sides = (half if outer_high[axis] else zero) + (half if outer_low[axis] else zero)
            gradient[2 + axis] += grown * sides / diagonal
    if kind == CIOU:
        _add_aspect(predicted, truth, iou, exact, gradient)


@compiled
def _add_aspect(
    predicted: NDArray[np.float32],
    truth: NDArray[np.float32],
    iou: np.float32,
    exact: bool,
    gradient: NDArray[np.float32],
) -> None:
    """Add the gradient of −α·v by the size."""
    one = np.float32(1)
    width, height = predicted[2], predicted[3]
    if not exact:
        width = one if width == 0 else width
        height = one if height == 0 else height
    turn = math.atan(np.float64(truth[2] / truth[3])) - math.atan(np.float64(width / height))
    aspect = np.float32(4 / math.pi**2 * turn * turn)
    alpha = aspect / (one - iou + aspect + np.float32(ALPHA_EPS))
    slope = alpha * np.float32(8 / math.pi**2 * turn)
    if exact:
        slope = slope / (width * width + height * height)
    gradient[2] += slope * height
    gradient[3] -= slope * width
