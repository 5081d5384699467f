"""COCO's measures of a detector: what pycocotools' ``COCOeval.summarize`` prints, and per class.

AP is the mean, over classes, IoU thresholds 0.5, 0.55, ..., 0.95 and recalls 0, 0.01, ..., 1, of
precision; AR the mean, over classes and thresholds, of recall. What precision and recall are is in
`tinyyolo3.evaluate.coco_reference`. A measure of which nothing was to be found is -1, as
pycocotools has it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.darknet.files import PathLike
from tinyyolo3.evaluate.annotations import read_ground_truth
from tinyyolo3.evaluate.coco_numba import curves_numba
from tinyyolo3.evaluate.coco_reference import (
    AREA_RANGES_PX2,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    Curves,
    curves_reference,
)
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth, check_fit, select_images
from tinyyolo3.evaluate.results import read_results
from tinyyolo3.parallel import thread_limit
from tinyyolo3.policy import compile_policy

_ALL, _SMALL, _MEDIUM, _LARGE = range(len(AREA_RANGES_PX2))
_BEST_1, _BEST_10, _BEST_100 = range(len(MAX_DETECTIONS))
_IOU_50, _IOU_75 = (int(np.argmin(np.abs(IOU_THRESHOLDS - iou))) for iou in (0.5, 0.75))


@dataclass(frozen=True)
class CocoClass:
    """One class's part of the evaluation; a measure is -1 where the class has no objects for it.

    Attributes:
        name: the class's.
        category_id: its number in COCO's files.
        AP: average precision, the mean over the IoU thresholds.
        AP50: average precision at an IoU of 0.5.
        AP75: average precision at an IoU of 0.75.
        AP_small: of objects up to 32² px².
        AP_medium: of objects from 32² to 96² px².
        AP_large: of objects from 96² px².
        AR: recall of the 100 best detections a picture, the mean over the IoU thresholds.
        objects: how many are to be found.
        crowds: how many more are groups, which need not be found.
        images: in how many pictures the class is to be found.
        detections: how many there are; those after the 100 best of a picture do not count.
    """

    name: str
    category_id: int
    AP: float
    AP50: float
    AP75: float
    AP_small: float
    AP_medium: float
    AP_large: float
    AR: float
    objects: int
    crowds: int
    images: int
    detections: int


@dataclass(frozen=True, eq=False)
class CocoEvaluation(Mapping[str, float]):
    """COCO's twelve measures, by name: ``evaluation["AP50"]``.

    The names are AP, AP50, AP75, AP_small, AP_medium, AP_large, AR_1, AR_10, AR_100, AR_small,
    AR_medium and AR_large, in the order in which pycocotools prints them.

    Attributes:
        measures: the mapping.
        classes: per class, in the order of their ids.
        images: how many pictures were evaluated.
        curves: precision and recall of each class, from which the measures are taken.
    """

    measures: Mapping[str, float]
    classes: tuple[CocoClass, ...] = field(repr=False)
    images: int
    curves: Curves = field(repr=False)

    def __getitem__(self, name: str) -> float:
        return self.measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.measures)

    def __len__(self) -> int:
        return len(self.measures)


def evaluate_coco(
    annotations_json: PathLike,
    results_json: PathLike,
    *,
    image_ids: Iterable[int] | None = None,
    threads: int | None = None,
) -> CocoEvaluation:
    """Evaluate stored detections by COCO's protocol, as pycocotools' ``COCOeval`` does for boxes.

    Both files may be of any size: they are read entry by entry into columns. In two things it is
    not pycocotools: an annotation with the id 0 can be found like any other, and results of
    unknown categories are an error.

    Args:
        annotations_json: a COCO instances file. An annotation without ``iscrowd`` is none, one
            without ``area`` has its box's.
        results_json: COCO's results format, see `tinyyolo3.evaluate.results`.
        image_ids: the pictures to evaluate; all by default.
        threads: how many to use; by default all cores.

    Raises:
        DataError: a file cannot be used; the message names it and the entry: an id that occurs
            twice, annotations or results of unknown images or categories, a score or box that is
            not finite, a negative size.
        InputError: an image of `image_ids` is none or occurs twice, `threads` is not positive, or a
            path is none.
    """
    truth = read_ground_truth(annotations_json)
    found = read_results(results_json, truth)
    if image_ids is not None:
        truth, found = select_images(truth, found, image_ids)
    return evaluate_columns(truth, found, threads=threads)


def evaluate_columns(
    truth: GroundTruth, found: FoundBoxes, *, threads: int | None = None
) -> CocoEvaluation:
    """Do what `evaluate_coco` does with what is in memory.

    Args:
        truth: the labelled objects.
        found: what a detector found; its positions are positions in `truth`'s lists. Equal scores
            rank in the order of pictures, and in one picture in the order in which they come.
        threads: how many to use; by default all cores.

    Raises:
        InputError: a position is none in `truth`'s lists, or `threads` is not positive.
    """
    check_fit(truth, found)
    with thread_limit(threads):
        # Compiled in any case where it may be: in plain Python large sets take minutes.
        compute = curves_reference if compile_policy() == "never" else curves_numba
        curves = compute(truth, found)
    return CocoEvaluation(
        measures=summarize(curves),
        classes=_classes(truth, found, curves),
        images=len(truth.image_ids),
        curves=curves,
    )


def summarize(curves: Curves) -> dict[str, float]:
    """Take COCO's twelve measures from the classes' curves (cocoeval.py, summarize)."""
    precision, recall = curves.precision, curves.recall
    return {
        "AP": mean_of_defined(precision[:, _ALL]),
        "AP50": mean_of_defined(precision[:, _ALL, _IOU_50]),
        "AP75": mean_of_defined(precision[:, _ALL, _IOU_75]),
        "AP_small": mean_of_defined(precision[:, _SMALL]),
        "AP_medium": mean_of_defined(precision[:, _MEDIUM]),
        "AP_large": mean_of_defined(precision[:, _LARGE]),
        "AR_1": mean_of_defined(recall[:, _ALL, :, _BEST_1]),
        "AR_10": mean_of_defined(recall[:, _ALL, :, _BEST_10]),
        "AR_100": mean_of_defined(recall[:, _ALL, :, _BEST_100]),
        "AR_small": mean_of_defined(recall[:, _SMALL, :, _BEST_100]),
        "AR_medium": mean_of_defined(recall[:, _MEDIUM, :, _BEST_100]),
        "AR_large": mean_of_defined(recall[:, _LARGE, :, _BEST_100]),
    }


def mean_of_defined(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not -1, or -1 if all are."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else -1.0


def _classes(truth: GroundTruth, found: FoundBoxes, curves: Curves) -> tuple[CocoClass, ...]:
    count = len(truth.names)
    single = ~truth.crowds
    pairs = np.unique(truth.image[single] * count + truth.category[single])
    images = np.bincount(pairs % max(count, 1), minlength=count)
    crowds = np.bincount(truth.category[truth.crowds], minlength=count)
    detections = np.bincount(found.category, minlength=count)
    rows = []
    for k, (name, category_id) in enumerate(zip(truth.names, truth.category_ids, strict=True)):
        own = summarize(curves.of_class(k))
        measures = {
            measure: own[measure]
            for measure in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
        }
        rows.append(
            CocoClass(
                name,
                category_id,
                **measures,
                AR=own["AR_100"],
                objects=int(curves.objects[k, _ALL]),
                crowds=int(crowds[k]),
                images=int(images[k]),
                detections=int(detections[k]),
            )
        )
    return tuple(rows)
