"""The confusion matrix: which class was taken for which, at one confidence and one overlap.

Detections and labelled boxes are paired by overlap, whatever their classes: of all pairs that
overlap by more than the IoU threshold, each detection keeps the box it overlaps most, then each
box the detection that overlaps it most. A pair counts in the row of what is there and the column
of what was detected; a detection without a box in the last row, a box without a detection in the
last column: background. Pairing and defaults are those of ultralytics' ConfusionMatrix, whose
rows and columns are the other way round.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.evaluate.coco_reference import iou_xywh
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth, check_fit
from tinyyolo3.evaluate.darknet import check_fraction
from tinyyolo3.evaluate.ranking import by_picture

#: Of the detections that a user would be shown.
CONFIDENCE = 0.25
IOU_THRESHOLD = 0.45


@dataclass(frozen=True, eq=False)
class Confusion:
    """A confusion matrix.

    Attributes:
        names: the K classes.
        counts: (K + 1, K + 1) int64: row, what is there; column, what was detected; the last of
            both is the background.
        confidence: it is of detections above this.
        iou_threshold: they are paired with boxes that they overlap by more than this.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    confidence: float
    iou_threshold: float

    def seen(self) -> "Confusion":
        """Return it without the classes that have neither objects nor detections.

        A model of 80 classes on pictures of nine makes a chart of empty rows otherwise. Where no
        class has any, all stay.
        """
        kept = np.flatnonzero(self.counts.sum(axis=0) + self.counts.sum(axis=1))
        chosen = np.union1d(kept, [len(self.names)])
        if len(chosen) == 1:
            return self
        names = tuple(self.names[row] for row in chosen[:-1])
        return replace(self, names=names, counts=self.counts[np.ix_(chosen, chosen)])


def confusion_matrix(
    truth: GroundTruth,
    found: FoundBoxes,
    *,
    confidence: float = CONFIDENCE,
    iou_threshold: float = IOU_THRESHOLD,
) -> Confusion:
    """Count which class was taken for which.

    Args:
        truth: the labelled objects. Crowds are left out; of difficult ones neither a detection
            nor the lack of one counts.
        found: what a detector found; its positions are positions in `truth`'s lists.
        confidence: only detections above this count.
        iou_threshold: a detection and a box are a pair if they overlap by more than this.

    Raises:
        InputError: a threshold is out of range, or a position is none in `truth`'s lists.
    """
    check_fit(truth, found)
    check_fraction("confidence", confidence)
    check_fraction("iou_threshold", iou_threshold)
    background = len(truth.names)
    counts = np.zeros((background + 1, background + 1), np.int64)
    expected = ~truth.crowds & ~truth.difficults
    # All boxes count as missed until their detection is met.
    counts[:background, background] = np.bincount(truth.category[expected], minlength=background)
    rows = np.flatnonzero(found.scores > confidence)
    rows = rows[np.argsort(found.image[rows], kind="stable")]
    for own_rows, objects in by_picture(found.image[rows], truth):
        own = rows[own_rows]
        no_crowds = np.zeros(len(objects), np.bool_)
        iou = iou_xywh(found.boxes_xywh_px[own], truth.boxes_xywh_px[objects], no_crowds)
        partner = pair_by_overlap(iou, iou_threshold)
        paired = partner >= 0
        there = np.full(len(own), background)
        there[paired] = truth.category[objects[partner[paired]]]
        matters = np.ones(len(own), np.bool_)
        matters[paired] = expected[objects[partner[paired]]]
        np.add.at(counts, (there[matters], found.category[own[matters]]), 1)
        np.subtract.at(counts[:, background], there[matters & paired], 1)
    return Confusion(truth.names, counts, confidence, iou_threshold)


def pair_by_overlap(iou: NDArray[np.float64], iou_threshold: float) -> NDArray[np.int64]:
    """Return each detection's box, -1 for none.

    Args:
        iou: (D, G) of detections with boxes.
        iou_threshold: the overlap above which they may be a pair.
    """
    detections, boxes = np.nonzero(iou > iou_threshold)
    order = np.argsort(-iou[detections, boxes], kind="stable")
    detections, boxes = detections[order], boxes[order]
    keep = np.sort(np.unique(detections, return_index=True)[1])
    detections, boxes = detections[keep], boxes[keep]
    keep = np.unique(boxes, return_index=True)[1]
    partner = np.full(len(iou), -1)
    partner[detections[keep]] = boxes[keep]
    return partner
