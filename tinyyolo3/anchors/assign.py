"""Which anchor fits a box best: the largest IoU of the two laid into the same corner.

    IoU = I / U        I = min(w, a_w) · min(h, a_h)        U = w·h + a_w·a_h - I

A head predicts a box as a scaling of an anchor at its own centre, so only sizes matter (Redmon and
Farhadi, YOLO9000, 2017, section 2, "Dimension Clusters"). ``1 - IoU`` is the distance that
Darknet's matrix.c (AlexeyAB), dist, and detector.c, calc_anchors, cluster by; unlike Euclid's it
does not let large boxes count for more than small ones. Sizes have no places, so it takes less
than `tinyyolo3.boxes.iou`, with which it agrees.

An IoU rises or falls with the logarithm of its anchor's width like this, and likewise the height:

    ∂IoU/∂ln a_w  =  IoU · w·h / U  where w > a_w        -IoU · a_w·a_h / U  where w < a_w

and has its peak, where no slope counts, where they are equal.
"""

from dataclasses import dataclass

import numpy as np

from tinyyolo3.arrays import FloatArray, IntArray
from tinyyolo3.parallel import compiled, parallel_for

#: Sizes are worked off, and their sums taken, in blocks that a first-level cache holds. Blocks are
#: added up in their order, so that sums are the same for any number of threads.
BLOCK = 1024
#: No thread gets fewer blocks: a tenth of a millisecond.
GRAIN = 8


@dataclass(frozen=True)
class Assignment:
    """What becomes of sizes when each goes to its best of K anchors.

    A size stands for as many boxes as its weight says, in all sums.

    Attributes:
        nearest: (N,) int64, the anchor of the largest IoU; the first of equals.
        iou: (N,) float64, that IoU.
        boxes: (K,) float64, how many boxes each anchor has got.
        size_sums: (K, 2) float64, the sums of their widths and heights.
        iou_sums: (K,) float64, the sums of their IoU.
        slopes: (K, 2) float64, the derivatives of `iou_sums` by the logarithms of the anchors'
            widths and heights.
    """

    nearest: IntArray
    iou: FloatArray
    boxes: FloatArray
    size_sums: FloatArray
    iou_sums: FloatArray
    slopes: FloatArray

    @property
    def mean_iou(self) -> float:
        """The mean IoU of all boxes with their anchors: Darknet's "avg IoU", from 0 to 1."""
        return float(self.iou_sums.sum() / self.boxes.sum())


def _assignment(nearest: IntArray, iou: FloatArray, sums: FloatArray) -> Assignment:
    return Assignment(nearest, iou, sums[:, 0], sums[:, 1:3], sums[:, 3], sums[:, 4:6])


def assign_reference(sizes: FloatArray, weights: FloatArray, anchors: FloatArray) -> Assignment:
    """Give each size its best anchor.

    Args:
        sizes: (N, 2) float64, widths and heights, positive, in any unit.
        weights: (N,) float64, how many boxes have this size.
        anchors: (K, 2) float64, widths and heights in the same unit.
    """
    smaller = np.minimum(sizes[:, None], anchors)
    intersection = smaller[..., 0] * smaller[..., 1]
    areas, anchor_areas = sizes[:, 0] * sizes[:, 1], anchors[:, 0] * anchors[:, 1]
    union = areas[:, None] + anchor_areas - intersection
    ious = intersection / union
    nearest = ious.argmax(axis=1)
    own = np.arange(len(sizes)), nearest
    iou, anchor = ious[own], anchors[nearest]
    rise, fall = (iou * area / union[own] for area in (areas, anchor_areas[nearest]))
    slopes = np.where(sizes > anchor, rise[:, None], np.where(sizes < anchor, -fall[:, None], 0.0))
    terms = np.column_stack([np.ones_like(iou), sizes, iou, slopes])
    sums = np.zeros((len(anchors), terms.shape[1]))
    np.add.at(sums, nearest, weights[:, None] * terms)
    return _assignment(nearest, iou, sums)


@compiled
def _assign_blocks(
    start: int,
    stop: int,
    widths: FloatArray,
    heights: FloatArray,
    weights: FloatArray,
    anchors: FloatArray,
    nearest: IntArray,
    best: FloatArray,
    sums: FloatArray,
) -> None:
    for block in range(start, stop):
        first, last = block * BLOCK, min(block * BLOCK + BLOCK, len(widths))
        w, h, weight = widths[first:last], heights[first:last], weights[first:last]
        own, iou = nearest[first:last], best[first:last]
        own[:] = 0
        iou[:] = 0.0
        # Sizes in the inner loop, and choices instead of branches: it becomes vector instructions.
        for k in range(len(anchors)):
            width, height = anchors[k, 0], anchors[k, 1]
            area = width * height
            for i in range(len(w)):
                smaller_width = w[i] if w[i] < width else width
                smaller_height = h[i] if h[i] < height else height
                intersection = smaller_width * smaller_height
                found = intersection / (w[i] * h[i] + area - intersection)
                better = found > iou[i]
                own[i] = k if better else own[i]
                iou[i] = found if better else iou[i]
        sums[block] = 0.0
        for i in range(len(w)):
            k = own[i]
            width, height = anchors[k, 0], anchors[k, 1]
            area, anchor_area = w[i] * h[i], width * height
            intersection = min(w[i], width) * min(h[i], height)
            scale = weight[i] * iou[i] / (area + anchor_area - intersection)
            sums[block, k, 0] += weight[i]
            sums[block, k, 1] += weight[i] * w[i]
            sums[block, k, 2] += weight[i] * h[i]
            sums[block, k, 3] += weight[i] * iou[i]
            sums[block, k, 4] += scale * (area * (w[i] > width) - anchor_area * (w[i] < width))
            sums[block, k, 5] += scale * (area * (h[i] > height) - anchor_area * (h[i] < height))


def assign_numba(sizes: FloatArray, weights: FloatArray, anchors: FloatArray) -> Assignment:
    """Give each size its best anchor like `assign_reference`, with a compiled loop.

    `nearest` and `iou` are the reference's bit for bit. Sums are of the same terms in another
    order, which does not depend on the number of threads.
    """
    widths, heights = np.ascontiguousarray(sizes.T)
    blocks = -(-len(sizes) // BLOCK)
    nearest = np.empty(len(sizes), np.int64)
    iou = np.empty(len(sizes))
    sums = np.empty((blocks, len(anchors), 6))
    per_anchor = np.ascontiguousarray(anchors)
    arrays = (widths, heights, np.ascontiguousarray(weights), per_anchor, nearest, iou, sums)
    parallel_for(_assign_blocks, blocks, *arrays, grain=GRAIN)
    return _assignment(nearest, iou, sums.sum(axis=0))
