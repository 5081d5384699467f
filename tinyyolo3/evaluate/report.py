"""How an evaluation is written down: tables of text, CSV, JSON and charts.

The lines are those that users of pycocotools and Darknet know, and have parsers for.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.atomic import output_errors, whole_file
from tinyyolo3.charts import draw_confusion_matrix, draw_precision_recall
from tinyyolo3.evaluate.coco import CocoEvaluation
from tinyyolo3.evaluate.coco_reference import IOU_THRESHOLDS, RECALL_LEVELS
from tinyyolo3.evaluate.darknet import DarknetEvaluation
from tinyyolo3.evaluate.evaluation import Evaluation

#: pycocotools' summary: measure, AP or AR, IoU, area, detections a picture.
_SUMMARY = (
    ("AP", "AP", "0.50:0.95", "all", 100),
    ("AP50", "AP", "0.50", "all", 100),
    ("AP75", "AP", "0.75", "all", 100),
    ("AP_small", "AP", "0.50:0.95", "small", 100),
    ("AP_medium", "AP", "0.50:0.95", "medium", 100),
    ("AP_large", "AP", "0.50:0.95", "large", 100),
    ("AR_1", "AR", "0.50:0.95", "all", 1),
    ("AR_10", "AR", "0.50:0.95", "all", 10),
    ("AR_100", "AR", "0.50:0.95", "all", 100),
    ("AR_small", "AR", "0.50:0.95", "small", 100),
    ("AR_medium", "AR", "0.50:0.95", "medium", 100),
    ("AR_large", "AR", "0.50:0.95", "large", 100),
)
_KINDS = {"AP": "Average Precision  (AP)", "AR": "Average Recall     (AR)"}
#: The IoU thresholds that have a panel each in the chart of COCO's curves.
_PANELS = (0, 5)


def coco_lines(evaluation: CocoEvaluation) -> list[str]:
    """Return the twelve lines that pycocotools' ``summarize`` prints."""
    return [
        f" {_KINDS[kind]} @[ IoU={iou:<9} | area={area:>6} | maxDets={most:>3} ] "
        f"= {evaluation[measure]:0.3f}"
        for measure, kind, iou, area, most in _SUMMARY
    ]


def darknet_lines(evaluation: DarknetEvaluation) -> list[str]:
    """Return the lines that ``darknet detector map`` prints, in its words."""
    counts, settings = evaluation.counts, evaluation.settings
    at = f" for conf_thresh = {settings.confidence:0.2f}, "
    area = "Area-Under-Curve for each unique Recall"
    used = f"{settings.points} Recall-points" if settings.points else area
    mean = evaluation.mean_average_precision
    return [
        f" detections_count = {evaluation.detections}, unique_truth_count = {counts.truths}",
        *(
            f"class_id = {index}, name = {own.name}, ap = {100 * own.average_precision:.2f}%  "
            f"(TP = {own.counts.true_positives}, FP = {own.counts.false_positives})"
            for index, own in enumerate(evaluation.classes)
        ),
        "",
        f"{at}precision = {counts.precision:.2f}, recall = {counts.recall:.2f}, "
        f"F1-score = {counts.f1:.2f}",
        f"{at}TP = {counts.true_positives}, FP = {counts.false_positives}, "
        f"FN = {counts.false_negatives}, average IoU = {100 * counts.average_iou:.2f} %",
        "",
        f" IoU threshold = {100 * settings.iou_threshold:.0f} %, used {used}",
        f" mean average precision (mAP@{settings.iou_threshold:0.2f}) = {mean:f}, "
        f"or {100 * mean:.2f} %",
    ]


def class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return a row for each class: what either protocol says of it."""
    truth = evaluation.truth
    rows: list[dict[str, Any]] = [
        {"class": name, "category_id": category_id}
        for name, category_id in zip(truth.names, truth.category_ids, strict=True)
    ]
    if evaluation.coco is not None:
        for row, own in zip(rows, evaluation.coco.classes, strict=True):
            measures = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR")
            counts = ("objects", "crowds", "images", "detections")
            row |= {name: getattr(own, name) for name in (*counts, *measures)}
    if evaluation.darknet is not None:
        for row, part in zip(rows, evaluation.darknet.classes, strict=True):
            row |= {
                "darknet_AP": part.average_precision,
                "TP": part.counts.true_positives,
                "FP": part.counts.false_positives,
                "FN": part.counts.false_negatives,
                "precision": part.counts.precision,
                "recall": part.counts.recall,
                "F1": part.counts.f1,
                "average_IoU": part.counts.average_iou,
            }
    return rows


def write_class_csv(path: Path, evaluation: Evaluation) -> None:
    """Write the classes' rows as CSV (RFC 4180, UTF-8).

    Raises:
        OutputError: it cannot be written.
    """
    rows, text = class_rows(evaluation), io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(
        {name: f"{v:.6f}" if isinstance(v, float) else v for name, v in row.items()} for row in rows
    )
    with whole_file(path) as file, output_errors(path):
        file.write(text.getvalue().encode())


def write_summary(path: Path, evaluation: Evaluation, settings: Mapping[str, Any]) -> None:
    """Write all numbers, and the settings that gave them, as JSON.

    Raises:
        OutputError: it cannot be written.
    """
    content: dict[str, Any] = {"settings": dict(settings)}
    if evaluation.coco is not None:
        content["coco"] = dict(evaluation.coco)
    if evaluation.darknet is not None:
        counts = evaluation.darknet.counts
        content["darknet"] = {
            "mAP": evaluation.darknet.mean_average_precision,
            "precision": counts.precision,
            "recall": counts.recall,
            "F1": counts.f1,
            "TP": counts.true_positives,
            "FP": counts.false_positives,
            "FN": counts.false_negatives,
            "average_IoU": counts.average_iou,
        }
    content["classes"] = class_rows(evaluation)
    with whole_file(path) as file, output_errors(path):
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")


def draw_curves(path: Path, evaluation: Evaluation, title: str) -> None:
    """Draw precision over recall: COCO's curves if there are any, otherwise Darknet's.

    Raises:
        OutputError: matplotlib is missing, or the file cannot be written.
    """
    if evaluation.coco is not None:
        precision = evaluation.coco.curves.precision[:, 0][:, _PANELS].transpose(1, 0, 2)
        average = precision.mean(axis=2)
        thresholds: Sequence[float] = IOU_THRESHOLDS[list(_PANELS)].tolist()
        subtitle = "COCO's protocol, all areas, 100 detections a picture and class"
    elif evaluation.darknet is not None:
        precision = _read_curves(evaluation.darknet)[None]
        average = np.array([[own.average_precision for own in evaluation.darknet.classes]])
        thresholds = [evaluation.darknet.settings.iou_threshold]
        subtitle = "Darknet's protocol"
    else:
        return
    has_objects = precision[:, :, 0] >= 0
    precision = np.where(has_objects[:, :, None], precision, np.nan)
    average = np.where(has_objects, average, np.nan)
    draw_precision_recall(
        path,
        RECALL_LEVELS,
        precision,
        average,
        iou_thresholds=thresholds,
        names=evaluation.truth.names,
        title=title,
        subtitle=subtitle,
    )


def draw_confusion(path: Path, evaluation: Evaluation, title: str) -> None:
    """Draw the confusion matrix of the classes that have objects or detections.

    Raises:
        OutputError: matplotlib is missing, or the file cannot be written.
    """
    confusion = evaluation.confusion.seen()
    without = len(evaluation.confusion.names) - len(confusion.names)
    draw_confusion_matrix(
        path,
        confusion.counts,
        confusion.names,
        title=title,
        subtitle=f"confidence above {confusion.confidence:g}, IoU above "
        f"{confusion.iou_threshold:g}"
        + (f"; {without} without objects and detections left out" if without else ""),
    )


def _read_curves(evaluation: DarknetEvaluation) -> NDArray[np.float64]:
    """Return each class's best precision from each of COCO's recalls on, -1 without objects."""
    read = np.full((len(evaluation.classes), len(RECALL_LEVELS)), -1.0)
    for row, own in zip(read, evaluation.classes, strict=True):
        if own.counts.truths:
            envelope = np.maximum.accumulate(own.precisions[::-1])[::-1]
            row[:] = np.append(envelope, 0.0)[np.searchsorted(own.recalls, RECALL_LEVELS)]
    return read
