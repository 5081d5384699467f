"""From what each detection is to curves of precision and recall, in compiled loops.

Precision is read off backwards, from the last detection to the first: the largest seen so far is
the highest at that recall or any later one, and it is the answer for those levels of recall that
are not reached without the detection at hand. The definition is `coco_reference`'s.
"""

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.evaluate.coco_reference import (
    AREA_RANGES_PX2,
    FALSE_POSITIVE,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    RECALL_LEVELS,
    TRUE_POSITIVE,
    Curves,
)
from tinyyolo3.evaluate.columns import GroundTruth
from tinyyolo3.parallel import compiled, parallel_for

_EPSILON = np.spacing(1.0)


def curves_of(
    outcome: NDArray[np.int8],
    rank: NDArray[np.int64],
    detections: NDArray[np.int64],
    truth: GroundTruth,
) -> Curves:
    """Turn what the detections are into curves.

    Args:
        outcome: (D, 4, 10), class by class, the best first.
        rank: (D,) of each in its picture and class, from 0.
        detections: (K,), how many each class has.
        truth: the labelled objects.
    """
    categories = len(truth.names)
    objects = np.empty((categories, len(AREA_RANGES_PX2)), np.int64)
    for area, (least, most) in enumerate(AREA_RANGES_PX2.values()):
        inside = (truth.areas_px2 >= least) & (truth.areas_px2 <= most)
        counted = truth.category[inside & ~truth.crowds]
        objects[:, area] = np.bincount(counted, minlength=categories)
    shape = (*objects.shape, len(IOU_THRESHOLDS))
    precision = np.full((*shape, len(RECALL_LEVELS)), -1.0)
    recall = np.full((*shape, len(MAX_DETECTIONS)), -1.0)
    parallel_for(
        _fill_curves,
        objects.size,
        np.concatenate([[0], np.cumsum(detections)]),
        outcome,
        rank,
        objects,
        RECALL_LEVELS,
        np.array(MAX_DETECTIONS),
        precision,
        recall,
    )
    return Curves(precision, recall, objects)


@compiled
def _fill_curves(
    start: int,
    stop: int,
    bounds: NDArray[np.int64],
    outcome: NDArray[np.int8],
    rank: NDArray[np.int64],
    objects: NDArray[np.int64],
    levels: NDArray[np.float64],
    limits: NDArray[np.int64],
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
) -> None:
    """Fill the curves of some classes and ranges of areas, all thresholds at once.

    They are numbered range by range, so that threads share a class with many detections.
    """
    categories, _, thresholds, _ = precision.shape
    for number in range(start, stop):
        area, category = number // categories, number % categories
        total = objects[category, area]
        if total == 0:
            continue
        right, wrong = np.zeros((thresholds, limits.size), np.int64), np.zeros(thresholds, np.int64)
        for row in range(bounds[category], bounds[category + 1]):
            for t in range(thresholds):
                what = outcome[row, area, t]
                wrong[t] += what == FALSE_POSITIVE
                if what == TRUE_POSITIVE:
                    for limit in range(limits.size):
                        right[t, limit] += rank[row] < limits[limit]
        for t in range(thresholds):
            for limit in range(limits.size):
                recall[category, area, t, limit] = right[t, limit] / total
            _fill_precision(
                outcome[bounds[category] : bounds[category + 1], area, t],
                right[t, -1],
                wrong[t],
                total,
                levels,
                precision[category, area, t],
            )


@compiled
def _fill_precision(
    outcome: NDArray[np.int8],
    right: int,
    wrong: int,
    total: int,
    levels: NDArray[np.float64],
    precision: NDArray[np.float64],
) -> None:
    """Write the precision at each level of recall, going from the last detection to the first."""
    level = levels.size - 1
    while level >= 0 and levels[level] > right / total:
        precision[level] = 0
        level -= 1
    highest = 0.0
    for row in range(outcome.size - 1, -1, -1):
        if outcome[row] == TRUE_POSITIVE:
            # Between two true positives precision only falls, so these are all that matter.
            highest = max(highest, right / (wrong + right + _EPSILON))
            right -= 1
            while level >= 0 and levels[level] > right / total:
                precision[level] = highest
                level -= 1
        elif outcome[row] == FALSE_POSITIVE:
            wrong -= 1
    precision[: level + 1] = highest  # recall 0 is reached before anything is found
