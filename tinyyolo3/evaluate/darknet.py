"""Darknet's ``map`` protocol: what ``darknet detector map`` prints.

A detection belongs to the labelled box of its class that it overlaps most, if by more than the IoU
threshold. From the most confident down, the first detection of a labelled box is a true positive;
all others are false ones. A class's average precision is the area under its curve of precision
over recall, or the mean of the curve at 11 or 101 recalls; the mAP is the mean over the classes.
Source: AlexeyAB's detector.c, validate_detector_map.

Two things are not followed. Darknet goes through a picture's boxes in the order in which its
suppression left them, which differs from that of confidence for boxes reported under several
classes; it moves the counts at the confidence threshold, never the AP. And older builds left the
area before the first detection out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.darknet.files import PathLike
from tinyyolo3.errors import InputError
from tinyyolo3.evaluate.annotations import read_ground_truth
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth, check_fit, select_images
from tinyyolo3.evaluate.ranking import Ranking, average_precision, rank_detections
from tinyyolo3.evaluate.results import read_results

#: Detections below are not looked at (validate_detector_map's ``thresh``).
THRESHOLD = 0.005
#: At what overlap a labelled box is found (its ``-iou_thresh``).
IOU_THRESHOLD = 0.5
#: At what confidence precision, recall and F1 are counted (its ``-thresh``).
CONFIDENCE = 0.25


@dataclass(frozen=True)
class DarknetSettings:
    """How to evaluate.

    Attributes:
        threshold: only detections with a confidence above this are looked at.
        iou_threshold: a labelled box is found by an overlap above this.
        confidence: precision, recall, F1 and the counts are of detections above this.
        points: at how many recalls the curve is read: 0 for the area under it (ImageNet, Pascal VOC
            2010 to 2012), 11 (Pascal VOC 2007), 101 (COCO).

    Raises:
        InputError: a value is out of range.
    """

    threshold: float = THRESHOLD
    iou_threshold: float = IOU_THRESHOLD
    confidence: float = CONFIDENCE
    points: int = 0

    def __post_init__(self) -> None:
        for name in ("threshold", "iou_threshold", "confidence"):
            check_fraction(name, getattr(self, name))
        whole = isinstance(self.points, int) and not isinstance(self.points, bool)
        if not whole or self.points < 0 or self.points == 1:
            raise InputError(f"points must be 0 or a number of recalls from 2, not {self.points!r}")


@dataclass(frozen=True)
class Counts:
    """How many detections at the confidence threshold were right.

    Attributes:
        true_positives: labelled boxes that were found.
        false_positives: detections of nothing, or of what a more confident one had found.
        truths: labelled boxes.
        iou_sum: of the true positives.
    """

    true_positives: int
    false_positives: int
    truths: int
    iou_sum: float

    @property
    def false_negatives(self) -> int:
        """Labelled boxes that were not found."""
        return self.truths - self.true_positives

    @property
    def precision(self) -> float:
        """The part of the detections that is right; 0 where there is none."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """The part of the labelled boxes that was found; 0 where there is none."""
        return _ratio(self.true_positives, self.truths)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where nothing was right."""
        # DARKNET: prints -nan for this and for the others, where there is nothing to divide by.
        return _ratio(2 * self.precision * self.recall, self.precision + self.recall)

    @property
    def average_iou(self) -> float:
        """The mean overlap of the detections."""
        # DARKNET: a false positive counts with an IoU of 0.
        return _ratio(self.iou_sum, self.true_positives + self.false_positives)


@dataclass(frozen=True, eq=False)
class DarknetClass:
    """One class's part of the evaluation.

    Attributes:
        name: the class's.
        average_precision: its AP.
        counts: at the confidence threshold.
        scores: (K,) the confidences of its detections, from the most confident down.
        recalls: (K,) recall after each of them.
        precisions: (K,) precision there.
    """

    name: str
    average_precision: float
    counts: Counts
    scores: NDArray[np.float64]
    recalls: NDArray[np.float64]
    precisions: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DarknetEvaluation:
    """What ``darknet detector map`` prints.

    Attributes:
        settings: how it was evaluated.
        mean_average_precision: the mAP.
        classes: per class, in the order of the names.
        counts: of all classes together, at the confidence threshold.
        detections: how many were ranked.
    """

    settings: DarknetSettings
    mean_average_precision: float
    classes: tuple[DarknetClass, ...]
    counts: Counts
    detections: int


def evaluate_darknet(
    annotations_json: PathLike,
    results_json: PathLike,
    *,
    image_ids: Iterable[int] | None = None,
    threshold: float = THRESHOLD,
    iou_threshold: float = IOU_THRESHOLD,
    confidence: float = CONFIDENCE,
    points: int = 0,
) -> DarknetEvaluation:
    """Evaluate stored detections by Darknet's ``map`` protocol.

    Args:
        annotations_json: a COCO instances file.
        results_json: COCO results, as `tinyyolo3.evaluate.evaluate_coco` takes them.
        image_ids: the pictures to evaluate; all by default.
        threshold: see `DarknetSettings`, and so for all that follow.
        iou_threshold: the overlap of what is found.
        confidence: where precision, recall and F1 are counted.
        points: at how many recalls precision is read.

    Raises:
        DataError: a file cannot be used; see `tinyyolo3.evaluate.evaluate_coco`.
        InputError: a setting is out of range, or an image of `image_ids` is none.
    """
    settings = DarknetSettings(threshold, iou_threshold, confidence, points)
    truth = read_ground_truth(annotations_json)
    found = read_results(results_json, truth)
    if image_ids is not None:
        truth, found = select_images(truth, found, image_ids)
    return evaluate_darknet_columns(truth, found, settings)


def evaluate_darknet_columns(
    truth: GroundTruth, found: FoundBoxes, settings: DarknetSettings | None = None
) -> DarknetEvaluation:
    """Evaluate a set by Darknet's ``map`` protocol.

    Args:
        truth: the labelled objects. Difficult ones need not be found. Crowds are left out, as
            Darknet's labels cannot hold a group of objects.
        found: what a detector found; its positions are positions in `truth`'s lists.
        settings: how; Darknet's own by default.

    Raises:
        InputError: a position is none in `truth`'s lists.
    """
    check_fit(truth, found)
    settings = settings or DarknetSettings()
    ranking = rank_detections(
        truth, found, threshold=settings.threshold, iou_threshold=settings.iou_threshold
    )
    expected = ~truth.crowds & ~truth.difficults
    truths = np.bincount(truth.category[expected], minlength=len(truth.names))
    classes = tuple(
        _evaluate_class(name, ranking.rows(ranking.classes == index), int(truths[index]), settings)
        for index, name in enumerate(truth.names)
    )
    # DARKNET: a class without a labelled box has an AP of 0, and counts in the mean.
    mean = _ratio(sum(one.average_precision for one in classes), len(classes))
    counts = _count(ranking, int(truths.sum()), settings.confidence)
    return DarknetEvaluation(settings, mean, classes, counts, int((~ranking.excused).sum()))


def check_fraction(name: str, value: object) -> None:
    """Check that an option is a number from 0 to 1.

    Raises:
        InputError: it is not.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:  # type: ignore[operator]  # NaN is not
        raise InputError(f"{name} must be a number from 0 to 1, not {value!r}")


def _evaluate_class(
    name: str, own: Ranking, truths: int, settings: DarknetSettings
) -> DarknetClass:
    ranked = own.rows(~own.excused)
    mean, recalls, precisions = average_precision(ranked.true_positive, truths, settings.points)
    counts = _count(own, truths, settings.confidence)
    return DarknetClass(name, mean, counts, ranked.scores, recalls, precisions)


def _count(own: Ranking, truths: int, confidence: float) -> Counts:
    # DARKNET: a detection of a difficult object is left out of the curve, but is a false positive
    # among the counts.
    counted = own.rows(own.scores > confidence)
    hits = int(counted.true_positive.sum())
    iou_sum = float(counted.iou[counted.true_positive].sum())
    return Counts(hits, len(counted.scores) - hits, truths, iou_sum)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
