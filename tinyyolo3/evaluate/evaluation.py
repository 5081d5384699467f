"""From a detector and a labelled set, or from stored results, to everything that is measured."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from tinyyolo3.darknet.files import PathLike, read_text
from tinyyolo3.data.samples import DataSet, Sample
from tinyyolo3.detector import Detector
from tinyyolo3.errors import DataError, InputError
from tinyyolo3.evaluate.annotations import read_ground_truth
from tinyyolo3.evaluate.classes import match_classes
from tinyyolo3.evaluate.coco import CocoEvaluation, evaluate_columns
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth, collect_ground_truth, select_images
from tinyyolo3.evaluate.confusion import Confusion, confusion_matrix
from tinyyolo3.evaluate.darknet import (
    DarknetEvaluation,
    DarknetSettings,
    evaluate_darknet_columns,
)
from tinyyolo3.evaluate.log import read_log
from tinyyolo3.evaluate.run import RunSettings, count_classes, detect_set, found_from_log

Protocol: TypeAlias = Literal["coco", "darknet"]
PROTOCOLS: tuple[Protocol, ...] = ("coco", "darknet")

_NOTHING = FoundBoxes(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4)), np.empty(0, np.float64)
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is known of a detector after a run over a set.

    Attributes:
        truth: the labelled objects.
        found: the detections, as COCO's protocol has them.
        coco: by COCO's protocol, or None.
        darknet: by Darknet's, or None.
        confusion: the confusion matrix, at Darknet's confidence threshold.
    """

    truth: GroundTruth
    found: FoundBoxes
    coco: CocoEvaluation | None
    darknet: DarknetEvaluation | None
    confusion: Confusion


def evaluate_detector(
    detector: Detector,
    data: DataSet,
    settings: RunSettings | None = None,
    *,
    protocols: Iterable[Protocol] = PROTOCOLS,
    darknet: DarknetSettings | None = None,
    clip: bool = True,
    batch: int = 8,
    log: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run a detector over a labelled set and measure what it finds.

    Args:
        detector: the detector. Its classes are the set's by name, or by position where it was
            loaded without names.
        data: the set: ``tinyyolo3.data.open.open_dataset(...)``.
        settings: how to detect.
        protocols: by which to measure.
        darknet: the settings of Darknet's protocol.
        clip: for COCO's protocol, cut boxes at the picture's borders, as ``darknet detector valid``
            does. Darknet's ``map`` never does.
        batch: pictures that go through the network at once.
        log: a file that keeps what is found; a run that was interrupted goes on from it.
        progress: called with the number of pictures done, now and then.

    Raises:
        TinyYoloError: the set's classes or pictures do not fit, or something cannot be read or
            written; see `detect_set`.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "detections.jsonl" if log is None else log
        data_classes = match_classes(detector.names, count_classes(detector), data)
        detect_set(detector, data, place, settings, batch=batch, progress=progress)
        truth = read_truth(data)
        found = found_from_log(read_log(place), truth, data_classes, clip=clip)
        as_found = found_from_log(read_log(place), truth, data_classes, clip=False)
    return evaluate_found(truth, found, as_found, protocols=protocols, darknet=darknet)


def evaluate_found(
    truth: GroundTruth,
    found: FoundBoxes,
    as_found: FoundBoxes | None = None,
    *,
    protocols: Iterable[Protocol] = PROTOCOLS,
    darknet: DarknetSettings | None = None,
) -> Evaluation:
    """Measure detections.

    Args:
        truth: the labelled objects.
        found: the detections, their positions being positions in `truth`'s lists.
        as_found: the same without their boxes cut, for Darknet's protocol; `found` by default.
        protocols: by which to measure.
        darknet: the settings of Darknet's protocol.

    Raises:
        InputError: a protocol is unknown.
    """
    chosen = set(protocols)
    if not chosen or not chosen <= set(PROTOCOLS):
        raise InputError(f"protocols must be some of {PROTOCOLS}, not {protocols!r}")
    darknet = darknet or DarknetSettings()
    uncut = found if as_found is None else as_found
    return Evaluation(
        truth=truth,
        found=found,
        coco=evaluate_columns(truth, found) if "coco" in chosen else None,
        darknet=evaluate_darknet_columns(truth, uncut, darknet) if "darknet" in chosen else None,
        confusion=confusion_matrix(truth, uncut, confidence=darknet.confidence),
    )


def read_truth(data: DataSet) -> GroundTruth:
    """Read a set's labels into columns; the pictures themselves are not looked at.

    Raises:
        DataError: a label cannot be used.
    """
    if data.form != "coco":
        return collect_ground_truth(data, str(data.source), data.names, data.category_ids)
    # A box's very numbers, not its corners: an IoU exactly at a threshold depends on them.
    truth = read_ground_truth(data.source)
    if len(truth.image_ids) == data.count:
        return truth
    chosen = (sample.image_id for sample in data)
    return select_images(truth, _NOTHING, chosen)[0]


def only_listed(data: DataSet, listed: PathLike) -> DataSet:
    """Return the pictures of a set that a list names, in the set's order.

    Args:
        data: the set.
        listed: a text with a picture's path a line, of which only the file's name counts: lists
            that come with models were written on another machine.

    Raises:
        DataError: the list cannot be read or is empty; two pictures of the set have the name of a
            line, or none has.
    """
    lines = read_text(listed, "a list of pictures", DataError).split("\n")
    wanted = {
        line.strip().replace("\\", "/").rpartition("/")[2]: number
        for number, line in enumerate(lines, 1)
        if line.strip()
    }
    if not wanted:
        raise DataError(f"{listed}: expected a picture a line, found only blank lines")
    chosen: dict[str, int] = {}
    for sample in data:
        name = sample.image.name
        if name in wanted and chosen.setdefault(name, sample.image_id) != sample.image_id:
            raise DataError(f"{listed} line {wanted[name]}: {data.source} has two pictures {name}")
    for name, number in wanted.items():
        if name not in chosen:
            raise DataError(f"{listed} line {number}: {data.source} has no picture {name}")
    return replace(data, count=len(chosen), samples=partial(_chosen, data, {*chosen.values()}))


def _chosen(data: DataSet, image_ids: set[int]) -> Iterator[Sample]:
    return (sample for sample in data if sample.image_id in image_ids)
