"""Evaluation: how good a detector is, as COCO and Darknet measure it.

    evaluation = evaluate_coco("instances_val2017.json", "results.json")
    print(evaluation["AP50"], evaluation.classes[0])

- `columns` is what the protocols work on: a set's objects and detections as plain columns.
- `annotations` and `results` read COCO's files into them; `results` writes its own, too.
- `coco_reference` says what COCO's protocol is, `coco_numba` and `coco_curves` do it quickly,
  `coco` takes the measures.
- `ranking` and `darknet` are Darknet's ``map`` protocol, `confusion` is the confusion matrix.
- `run` runs a detector over a set, `log` makes that resumable, `classes` says which of the set's
  classes are the model's, `evaluation` puts it all together and `report` writes it down.
"""

from tinyyolo3.evaluate.coco import CocoClass, CocoEvaluation, evaluate_coco, evaluate_columns
from tinyyolo3.evaluate.confusion import Confusion, confusion_matrix
from tinyyolo3.evaluate.darknet import (
    DarknetClass,
    DarknetEvaluation,
    DarknetSettings,
    evaluate_darknet,
)
from tinyyolo3.evaluate.evaluation import Evaluation, evaluate_detector
from tinyyolo3.evaluate.run import RunSettings

__all__ = [
    "CocoClass",
    "CocoEvaluation",
    "Confusion",
    "DarknetClass",
    "DarknetEvaluation",
    "DarknetSettings",
    "Evaluation",
    "RunSettings",
    "confusion_matrix",
    "evaluate_coco",
    "evaluate_columns",
    "evaluate_darknet",
    "evaluate_detector",
]
