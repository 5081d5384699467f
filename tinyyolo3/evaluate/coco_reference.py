"""COCO's protocol, written to be read: matching and counting in plain NumPy and Python.

For one class, one range of areas and one IoU threshold:

1. Objects that are crowds, or whose area is outside the range, are *ignored*: finding one is
   neither right nor wrong.
2. In every picture the detections, the best first and at most a hundred, each take the free object
   with the largest IoU of at least the threshold; an ignored one only where no other is to be had.
   A crowd is never used up. Its IoU is the part of the detection that lies in it.
3. A detection that took an object is a true positive, of an ignored one is ignored; one that took
   nothing is a false positive, or ignored if its own area is outside the range.
4. With the detections of all pictures by falling score, precision and recall are taken after each
   of them. Precision at recall r is the best at r or any higher recall (the curve never rises).
5. AP is the mean of it at 0, 0.01, ..., 1; AR is the recall after the last detection.

Every step, its order in ties included, is pycocotools' (cocoeval.py: computeIoU, evaluateImg and
accumulate; maskApi.c: bbIou). The compiled form is `tinyyolo3.evaluate.coco_numba`.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth

#: IoU from which an object counts as found: 0.5, 0.55, ..., 0.95 (cocoeval.py, setDetParams).
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
#: The recalls at which precision is read.
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)
#: Areas of objects, least and most, both included.
AREA_RANGES_PX2 = {
    "all": (0.0, 1e10),
    "small": (0.0, 1024.0),
    "medium": (1024.0, 9216.0),
    "large": (9216.0, 1e10),
}
#: How many detections of a class count in a picture, the best first.
MAX_DETECTIONS = (1, 10, 100)
#: An IoU of one is reached in spite of rounding (cocoeval.py, evaluateImg).
LARGEST_THRESHOLD = 1 - 1e-10

#: What a detection is at one threshold in one range of areas.
IGNORED, TRUE_POSITIVE, FALSE_POSITIVE = 0, 1, 2


class Curves(NamedTuple):
    """What the protocol measures: -1 where a class has no object in a range of areas.

    The axes are K classes, the 4 `AREA_RANGES_PX2` and the 10 `IOU_THRESHOLDS`.

    Attributes:
        precision: (K, 4, 10, 101) float64, at each of `RECALL_LEVELS`, of the 100 best detections.
        recall: (K, 4, 10, 3) float64, the highest, of the `MAX_DETECTIONS` best detections.
        objects: (K, 4) int64, how many there are to be found.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    objects: NDArray[np.int64]

    def of_class(self, k: int) -> "Curves":
        """Return those of one class."""
        own = slice(k, k + 1)
        return Curves(self.precision[own], self.recall[own], self.objects[own])


def curves_reference(truth: GroundTruth, found: FoundBoxes) -> Curves:
    """Measure precision and recall, class by class.

    Args:
        truth: the labelled objects.
        found: what a detector found; its positions are positions in `truth`'s lists.
    """
    objects_of = _rows_by_category(truth.category, truth.image)
    found_of = _rows_by_category(found.category, found.image)
    leading = (len(truth.names), len(AREA_RANGES_PX2))
    precision = np.full((*leading, len(IOU_THRESHOLDS), len(RECALL_LEVELS)), -1.0)
    recall = np.full((*leading, len(IOU_THRESHOLDS), len(MAX_DETECTIONS)), -1.0)
    objects = np.zeros(leading, np.int64)
    for k in range(len(truth.names)):
        for a, (least, most) in enumerate(AREA_RANGES_PX2.values()):
            outside = (truth.areas_px2 < least) | (truth.areas_px2 > most)
            ignored = truth.crowds | outside
            objects[k, a] = np.count_nonzero(~ignored & (truth.category == k))
            if objects[k, a] == 0:
                continue
            scores, ranks, outcomes = [], [], []
            for image in sorted(found_of[k]):
                rows = np.array(found_of[k][image])
                # Stable: equal scores stay in the order of the file.
                rows = rows[np.argsort(-found.scores[rows], kind="stable")][: MAX_DETECTIONS[-1]]
                boxes_xywh_px = found.boxes_xywh_px[rows]
                true = np.array(objects_of[k].get(image, []), np.int64)
                iou = iou_xywh(boxes_xywh_px, truth.boxes_xywh_px[true], truth.crowds[true])
                scores.append(found.scores[rows])
                ranks.append(np.arange(len(rows)))
                outcomes.append(
                    match_picture(
                        iou,
                        truth.crowds[true],
                        ignored[true],
                        outside_range(boxes_xywh_px, least, most),
                    )
                )
            precision[k, a], recall[k, a] = _class_curves(scores, ranks, outcomes, objects[k, a])
    return Curves(precision, recall, objects)


def _rows_by_category(
    category: NDArray[np.int64], image: NDArray[np.int64]
) -> defaultdict[int, dict[int, list[int]]]:
    """Return, for each class and then picture, which rows are theirs, in ascending order."""
    rows: defaultdict[int, dict[int, list[int]]] = defaultdict(dict)
    for row, (k, i) in enumerate(zip(category.tolist(), image.tolist(), strict=True)):
        rows[k].setdefault(i, []).append(row)
    return rows


def _class_curves(
    scores: list[NDArray[np.float64]],
    ranks: list[NDArray[np.int64]],
    outcomes: list[NDArray[np.int8]],
    objects: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return one class's precision (10, 101) and recall (10, 3), of all its pictures together.

    Args:
        scores: of each picture's detections, the best first.
        ranks: their places in their picture, from 0.
        outcomes: (10, D) what they are.
        objects: how many there are to be found.
    """
    precision = np.zeros((len(IOU_THRESHOLDS), len(RECALL_LEVELS)))
    recall = np.zeros((len(IOU_THRESHOLDS), len(MAX_DETECTIONS)))
    if not scores:
        return precision, recall
    # Stable: equal scores stay in the order of pictures.
    order = np.argsort(-np.concatenate(scores), kind="stable")
    rank = np.concatenate(ranks)[order]
    for t, outcome in enumerate(np.concatenate(outcomes, axis=1)[:, order]):
        precision[t] = precision_at_levels(outcome, objects)
        for m, limit in enumerate(MAX_DETECTIONS):
            recall[t, m] = np.count_nonzero((outcome == TRUE_POSITIVE) & (rank < limit)) / objects
    return precision, recall


def iou_xywh(
    detections: NDArray[np.float64], objects: NDArray[np.float64], crowds: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Intersect every detection (D, 4) with every object (G, 4), in pycocotools' arithmetic.

    `tinyyolo3.boxes.iou` is Darknet's, of centres and sizes: sides are rounded otherwise there, and
    whether an IoU is exactly at a threshold depends on it.

    Returns:
        (D, G): the IoU, or for a crowd the part of the detection that lies in it.
    """
    d, g = detections[:, None, :], objects[None, :, :]
    # Areas may under- and overflow: then the quotient is what pycocotools gets, NaN included.
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        first = np.maximum(d[..., :2], g[..., :2])
        last = np.minimum(d[..., :2] + d[..., 2:], g[..., :2] + g[..., 2:])
        width, height = np.moveaxis(last - first, -1, 0)
        meet = (width > 0) & (height > 0)
        shared = np.where(meet, width * height, 0.0)
        area_d, area_g = d[..., 2] * d[..., 3], g[..., 2] * g[..., 3]
        whole = np.where(crowds, area_d, area_d + area_g - shared)
        return np.divide(shared, whole, out=np.zeros_like(shared), where=meet)


def outside_range(
    boxes_xywh_px: NDArray[np.float64], least: float, most: float
) -> NDArray[np.bool_]:
    """Return which boxes (N, 4) have an area outside the range."""
    with np.errstate(over="ignore", under="ignore"):
        area_px2 = boxes_xywh_px[:, 2] * boxes_xywh_px[:, 3]
    return (area_px2 < least) | (area_px2 > most)


def match_picture(
    iou: NDArray[np.float64],
    crowds: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    outside: NDArray[np.bool_],
) -> NDArray[np.int8]:
    """Decide what the detections of one class in one picture are (cocoeval.py, evaluateImg).

    Args:
        iou: (D, G), the best detections first.
        crowds: (G,), objects that many detections may take.
        ignored: (G,), objects that need not be found.
        outside: (D,), detections that are ignored where they take nothing.

    Returns:
        (10, D): `TRUE_POSITIVE`, `FALSE_POSITIVE` or `IGNORED`, at each of `IOU_THRESHOLDS`.
    """
    detections, objects = iou.shape
    outcome = np.empty((len(IOU_THRESHOLDS), detections), np.int8)
    # Those that count come first, and the search ends there if one of them is taken.
    order = np.argsort(ignored, kind="stable")
    for row, threshold in zip(outcome, IOU_THRESHOLDS, strict=True):
        taken = np.zeros(objects, np.bool_)
        for d in range(detections):
            best, largest = None, min(threshold, LARGEST_THRESHOLD)
            for g in order:
                if taken[g] and not crowds[g]:
                    continue
                if best is not None and ignored[g] and not ignored[best]:
                    break
                if not iou[d, g] < largest:  # of equals the last
                    best, largest = g, iou[d, g]
            if best is None:
                row[d] = IGNORED if outside[d] else FALSE_POSITIVE
            else:
                row[d] = IGNORED if ignored[best] else TRUE_POSITIVE
                taken[best] = True
    return outcome


def precision_at_levels(outcome: NDArray[np.int8], objects: int) -> NDArray[np.float64]:
    """Return the precision at each of `RECALL_LEVELS` (cocoeval.py, accumulate).

    Args:
        outcome: (D,), the best detections first.
        objects: how many there are to be found.

    Returns:
        (101,), 0 at recalls that are not reached.
    """
    right = np.cumsum(outcome == TRUE_POSITIVE).astype(np.float64)
    wrong = np.cumsum(outcome == FALSE_POSITIVE).astype(np.float64)
    precision = right / (wrong + right + np.spacing(1))
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(right / objects, RECALL_LEVELS, side="left")
    return np.append(falling, 0.0)[first]
