"""Anchors as a cfg's [yolo] sections say them: rounded, on one line, and shared out by masks."""

from dataclasses import dataclass

import numpy as np

from tinyyolo3.anchors.kmeans import DECIMALS, Clusters, assign_boxes
from tinyyolo3.arrays import FloatArray

#: What rounding may cost of the mean IoU: a tenth of a point in a hundred.
ROUNDING_LOSS = 0.001


@dataclass(frozen=True)
class Head:
    """A [yolo] section's share of the anchors.

    Attributes:
        stride: pixels of the network's input to a cell of its map.
        mask: which anchors are its own.
    """

    stride: int
    mask: tuple[int, ...]


def round_anchors(sizes_px: FloatArray, clusters: Clusters) -> Clusters:
    """Round anchors to whole pixels, or to as few decimals as cost no more than `ROUNDING_LOSS`.

    Darknet's calc_anchors rounds to whole pixels whatever it costs; that is too much for an input
    of few pixels. Anchors stay positive and different from each other.

    Args:
        sizes_px: (N, 2), the boxes that the anchors were found for.
        clusters: the anchors.

    Returns:
        The rounded anchors, and what becomes of the boxes with them.
    """
    for decimals in range(DECIMALS):
        anchors = np.round(clusters.anchors_px, decimals)
        if (anchors > 0).all() and len(np.unique(anchors, axis=0)) == len(anchors):
            rounded = assign_boxes(sizes_px, anchors, clusters.start_ious)
            if rounded.mean_iou >= clusters.mean_iou - ROUNDING_LOSS:
                return rounded
    return clusters


def anchors_option(anchors_px: FloatArray) -> str:
    """Return the line for a cfg: ``anchors = 10,13,  16,30,  33,23``."""
    pairs = (",".join(np.format_float_positional(v, trim="-") for v in a) for a in anchors_px)
    return "anchors = " + ",  ".join(pairs)


def masks(anchors: int, heads: int) -> list[Head]:
    """Share anchors out: the largest to the coarsest head, to each as many as to the others.

    Where they cannot have equally many, those of finer heads have one more.

    Args:
        anchors: how many, sorted from the smallest to the largest.
        heads: how many [yolo] sections, at most one for each anchor.

    Returns:
        The heads, coarsest first: in the order of yolov3.cfg and yolov3-tiny.cfg.
    """
    shares = np.array_split(np.arange(anchors), heads)
    return [
        Head(32 >> position, tuple(share.tolist()))
        for position, share in enumerate(reversed(shares))
    ]
