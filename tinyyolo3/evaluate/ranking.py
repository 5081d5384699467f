"""The steps of Darknet's ``map`` protocol: detections find their boxes, are ranked, make a curve.

Source: AlexeyAB's detector.c, validate_detector_map.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.evaluate.coco_reference import iou_xywh
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth


class Ranking(NamedTuple):
    """A set's detections, from the most confident down, and what became of each.

    Attributes:
        scores: (N,).
        classes: (N,).
        true_positive: (N,) bool.
        iou: (N,) with the labelled box that it belongs to; 0 without one.
        excused: (N,) bool: it found a difficult object, which is neither right nor wrong.
    """

    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    true_positive: NDArray[np.bool_]
    iou: NDArray[np.float64]
    excused: NDArray[np.bool_]

    def rows(self, chosen: NDArray[np.bool_]) -> "Ranking":
        """Return the chosen detections."""
        return Ranking(
            self.scores[chosen],
            self.classes[chosen],
            self.true_positive[chosen],
            self.iou[chosen],
            self.excused[chosen],
        )


def rank_detections(
    truth: GroundTruth, found: FoundBoxes, *, threshold: float, iou_threshold: float
) -> Ranking:
    """Find what each detection of a set belongs to, and put them in order.

    Equal confidences stay in the order of pictures, and of detections in a picture.

    Args:
        truth: the labelled objects; crowds are left out.
        found: the detections.
        threshold: the confidence above which they are looked at.
        iou_threshold: the overlap above which one belongs to a labelled box.
    """
    rows = np.flatnonzero(found.scores > threshold)
    rows = rows[np.lexsort((-found.scores[rows], found.image[rows]))]
    hit = np.zeros(len(rows), np.bool_)
    iou = np.zeros(len(rows))
    excused = np.zeros(len(rows), np.bool_)
    for own_rows, own_objects in by_picture(found.image[rows], truth):
        own = rows[own_rows]
        difficult = truth.difficults[own_objects]
        overlaps = _own_class_ious(found, own, truth, own_objects[~difficult])
        hit[own_rows], iou[own_rows] = first_of_each(overlaps, iou_threshold)
        if difficult.any():
            others = _own_class_ious(found, own, truth, own_objects[difficult])
            excused[own_rows] = (others > iou_threshold).any(axis=1) & (iou[own_rows] == 0)
    order = np.argsort(-found.scores[rows], kind="stable")
    rows = rows[order]
    return Ranking(found.scores[rows], found.category[rows], hit[order], iou[order], excused[order])


def first_of_each(
    overlaps: NDArray[np.float64], iou_threshold: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which detections are the first of a labelled box, and their overlap with it.

    Args:
        overlaps: (D, G) IoU, the most confident detections first.
        iou_threshold: the overlap above which a detection belongs to a labelled box.

    Returns:
        (D,) bool; and (D,) the overlap with the box it belongs to, 0 where it belongs to none.
    """
    best = overlaps.max(axis=1, initial=0.0)
    owned = best > iou_threshold
    first = np.zeros(len(overlaps), np.bool_)
    if owned.any():
        # DARKNET: a detection whose best box is taken is false, though another might be free.
        owners = overlaps.argmax(axis=1)[owned]
        first[np.flatnonzero(owned)[np.unique(owners, return_index=True)[1]]] = True
    return first, np.where(owned, best, 0.0)


def by_picture(
    image: NDArray[np.int64], truth: GroundTruth
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield, for each picture with detections, their rows and the rows of its labelled boxes.

    Args:
        image: the detections' pictures, in ascending order.
        truth: the labelled objects; crowds are left out.
    """
    objects = np.flatnonzero(~truth.crowds)
    objects = objects[np.argsort(truth.image[objects], kind="stable")]
    pictures = np.unique(image)
    starts, ends = (np.searchsorted(image, pictures, side) for side in ("left", "right"))
    places = truth.image[objects]
    firsts, lasts = (np.searchsorted(places, pictures, side) for side in ("left", "right"))
    for start, end, first, last in zip(starts, ends, firsts, lasts, strict=True):
        yield slice(int(start), int(end)), objects[first:last]


def average_precision(
    true_positive: NDArray[np.bool_], truths: int, points: int = 0
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return a class's AP, and its curve.

    Args:
        true_positive: (K,) bool, for each detection, from the most confident down.
        truths: how many labelled boxes there are.
        points: at how many recalls to read the curve; 0 for the area under it.

    Returns:
        The AP, and (K,) recall and precision after each detection. The curve that is read never
        rises: its precision is the best at that recall or a higher one.
    """
    hits = np.cumsum(true_positive)
    precisions = hits / np.arange(1, len(hits) + 1)
    recalls = hits / max(truths, 1)
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    if points == 0:
        return float((np.diff(recalls, prepend=0.0) * envelope).sum()), recalls, precisions
    places = np.searchsorted(recalls, np.arange(points) / (points - 1))
    return float(np.append(envelope, 0.0)[places].mean()), recalls, precisions


def _own_class_ious(
    found: FoundBoxes,
    detections: NDArray[np.int64],
    truth: GroundTruth,
    objects: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return each detection's IoU with each object, 0 where the classes differ."""
    no_crowds = np.zeros(len(objects), np.bool_)
    iou = iou_xywh(found.boxes_xywh_px[detections], truth.boxes_xywh_px[objects], no_crowds)
    same = found.category[detections][:, None] == truth.category[objects][None, :]
    return np.where(same, iou, 0.0)
