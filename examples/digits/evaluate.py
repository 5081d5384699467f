"""How good a model is on the three sets that were fixed before it was trained.

By COCO's protocol, with suppression within each digit and all detections from 0.005 on; and as a
user sees it: detections above 0.25 with suppression across digits, so that each place is read once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digits.scenes import Scene
from digits.sets import SETS, EvaluationSet
from tinyyolo3.detections import Detections
from tinyyolo3.detector import Detector
from tinyyolo3.evaluate import confusion_matrix, evaluate_columns
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth, xywh_from_xyxy
from tinyyolo3.image.files import ImageSource

NAMES = tuple("0123456789")
#: Least confidence and overlap that suppresses, in COCO's protocol.
THRESHOLD, NMS = 0.005, 0.45
#: Least confidence of what a user sees.
SHOWN = 0.25
#: Pictures at hand at once.
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class SetResult:
    """What a model reaches on a set.

    Attributes:
        name: the set's.
        pictures: how many.
        objects: digits on them.
        measures: COCO's, by name.
        classes: AP50 of each digit.
        confusion: (11, 11): what is there, by row, and what a user sees; the last is nothing.
        passed: whether the set's goals are reached; None where only a part was evaluated.
    """

    name: str
    pictures: int
    objects: int
    measures: dict[str, float]
    classes: tuple[float, ...]
    confusion: NDArray[np.int64]
    passed: bool | None

    @property
    def precision(self) -> float:
        """Of what a user sees, how much is there and read right."""
        return float(np.trace(self.confusion[:10, :10]) / max(1, self.confusion[:, :10].sum()))

    @property
    def recall(self) -> float:
        """Of what is there, how much a user sees read right."""
        return float(np.trace(self.confusion[:10, :10]) / max(1, self.confusion[:10].sum()))

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "set": self.name,
            "pictures": self.pictures,
            "digits": self.objects,
            **{name: round(value, 4) for name, value in self.measures.items()},
            "AP50 of each digit": [round(value, 4) for value in self.classes],
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "confusion": self.confusion.tolist(),
            "passed": self.passed,
        }


def evaluate_sets(
    detector: Detector, sets: Sequence[EvaluationSet] = SETS, *, most: int | None = None
) -> list[SetResult]:
    """Evaluate a model.

    Args:
        detector: the model.
        sets: on which sets.
        most: pictures of each; all by default.
    """
    return [_evaluate_set(detector, one, most) for one in sets]


def _evaluate_set(detector: Detector, one: EvaluationSet, most: int | None) -> SetResult:
    count = one.count if most is None else min(most, one.count)
    scenes, found, shown = [], [], []
    pictures = one.pictures(range(count))
    while chunk := list(islice(pictures, _CHUNK)):
        images: list[ImageSource] = [scene.picture for scene in chunk]
        found += detector.detect(
            images, threshold=THRESHOLD, nms=NMS, agnostic=False, size=one.input_px, clip=True
        )
        shown += detector.detect(
            images, threshold=SHOWN, nms=NMS, agnostic=True, multi_label=False, size=one.input_px
        )
        scenes += chunk
    truth = _truth(one.name, scenes)
    coco = evaluate_columns(truth, _found(found))
    confusion = confusion_matrix(truth, _found(shown), confidence=SHOWN)
    passed = coco["AP50"] >= one.least_AP50 and coco["AP"] >= one.least_AP
    return SetResult(
        one.name,
        count,
        len(truth.image),
        dict(coco),
        tuple(row.AP50 for row in coco.classes),
        confusion.counts,
        passed if count == one.count else None,
    )


def result_lines(results: Iterable[SetResult]) -> Iterator[str]:
    """Yield a table: a set a line, and how ones and sevens were read."""
    yield f"{'set':17}{'pictures':>9}{'digits':>8}{'AP50':>8}{'AP':>8}{'prec.':>8}{'recall':>8}"
    results = list(results)
    for one in results:
        numbers = (one.measures["AP50"], one.measures["AP"], one.precision, one.recall)
        measures = "".join(f"{number:8.3f}" for number in numbers)
        goal = {None: "", True: "  reached", False: "  missed"}[one.passed]
        yield f"{one.name:17}{one.pictures:9}{one.objects:8}{measures}{goal}"
    for one in results:
        for there in (1, 7):
            row = one.confusion[there]
            other = row[:10].sum() - row[1] - row[7]
            yield (
                f"{one.name}: of {row.sum()} {there}s, {row[1]} read as 1, {row[7]} as 7, "
                f"{other} as others, {row[10]} not seen"
            )


def _truth(source: str, scenes: Sequence[Scene]) -> GroundTruth:
    counts = [len(scene.digits) for scene in scenes]
    boxes = xywh_from_xyxy(np.concatenate([scene.boxes_xyxy_px for scene in scenes]))
    nowhere = np.zeros(sum(counts), np.bool_)
    return GroundTruth(
        source=source,
        image_ids=tuple(range(len(scenes))),
        names=NAMES,
        category_ids=tuple(range(10)),
        image=np.repeat(np.arange(len(scenes)), counts),
        category=np.concatenate([scene.digits for scene in scenes]),
        boxes_xywh_px=boxes,
        areas_px2=boxes[:, 2] * boxes[:, 3],
        crowds=nowhere,
        difficults=nowhere,
    )


def _found(detections: Sequence[Detections]) -> FoundBoxes:
    counts = [len(one) for one in detections]
    corners = np.concatenate([one.boxes_xyxy_px for one in detections]).astype(np.float64)
    return FoundBoxes(
        image=np.repeat(np.arange(len(counts)), counts),
        category=np.concatenate([one.class_id for one in detections]),
        boxes_xywh_px=xywh_from_xyxy(corners),
        scores=np.concatenate([one.confidence for one in detections]).astype(np.float64),
    )
