"""A detector over a whole labelled set: in batches, resumable, into the columns of evaluation."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.data.samples import DataSet, Sample
from tinyyolo3.detections import Detections
from tinyyolo3.detector import Detector
from tinyyolo3.errors import DataError
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth, xywh_from_xyxy
from tinyyolo3.evaluate.log import PictureFound, open_log
from tinyyolo3.image.geometry import ResizeMode
from tinyyolo3.selection import require_heads

#: Batches handed to the detector at once: it reads the next ones while the first is at work. More
#: would be in memory, and be lost when a run is interrupted.
BATCHES_AT_ONCE = 8
#: Digits after the point: a thousandth of a pixel, a millionth of a confidence.
BOX_DIGITS, SCORE_DIGITS = 3, 6


@dataclass(frozen=True)
class RunSettings:
    """How to detect; the fields are `Detector.detect`'s arguments.

    Attributes:
        threshold: least confidence. What is below cannot count, so it is low.
        nms: overlap above which a box suppresses a less confident one.
        resize: "letterbox" or "stretch".
        exif_orientation: turn pictures upright as their EXIF tag says.
        precision: in which the network was loaded; part of the record, it changes nothing.
    """

    threshold: float = 0.001
    nms: float | None = 0.45
    resize: ResizeMode = "letterbox"
    exif_orientation: bool = True
    precision: str = "fp32"


def detect_set(
    detector: Detector,
    data: DataSet,
    log: Path,
    settings: RunSettings | None = None,
    *,
    batch: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Detect in every picture of a set, into a log; go on where an earlier run was interrupted.

    Args:
        detector: the detector.
        data: the set.
        log: the file; see `tinyyolo3.evaluate.log`.
        settings: how to detect.
        batch: pictures that go through the network at once.
        progress: called with the number of pictures done, now and then.

    Returns:
        What was run, as the log's first line says it.

    Raises:
        DataError: a label cannot be used, a picture is not of the size that the labels are for, or
            the log is of another run.
        ImageError: a picture cannot be read.
        OutputError: the log cannot be written.
    """
    settings = settings or RunSettings()
    about = describe_run(detector, data, settings)
    with open_log(log, about) as (done, append):
        samples = iter(data)
        _pass_done(done, samples, log)
        count = len(done)
        while chunk := list(islice(samples, batch * BATCHES_AT_ONCE)):
            if progress is not None:
                progress(count)
            results = detector.detect(
                [sample.image for sample in chunk],
                threshold=settings.threshold,
                nms=settings.nms,
                resize=settings.resize,
                batch=batch,
                exif_orientation=settings.exif_orientation,
            )
            for sample, found in zip(chunk, results, strict=True):
                append(_entry(sample, found, data))
            count += len(chunk)
    return about


def describe_run(detector: Detector, data: DataSet, settings: RunSettings) -> dict[str, Any]:
    """Return what a log's first line says: a run with another is another run."""
    graph = detector.network.graph
    _, height, width = graph.input_shape
    return {
        "data": str(data.source.resolve()),
        "pictures": data.count,
        "model": digest_model(detector),
        "size": f"{width}x{height}",
        "parity": graph.parity.name,
        **asdict(settings),
    }


def digest_model(detector: Detector) -> str:
    """Return the SHA-256 of a model: its sections' options and its parameters."""
    graph, digest = detector.network.graph, hashlib.sha256()
    for section in (graph.config.net, *graph.config.layers):
        options = {name: option.text for name, option in sorted(section.options.items())}
        digest.update(repr((section.kind, options)).encode())
    parameters = detector.network.parameters
    for index in parameters:
        for name, array in sorted(parameters[index].items()):
            digest.update(f"{index} {name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def found_from_log(
    entries: Iterable[PictureFound],
    truth: GroundTruth,
    data_classes: NDArray[np.int64],
    *,
    clip: bool,
) -> FoundBoxes:
    """Gather what a log holds into columns.

    Args:
        entries: of the log.
        truth: the set's labels.
        data_classes: for each of the model's classes its position in the set's names; detections
            of a class with -1 are left out.
        clip: cut boxes at the picture's borders.
    """
    position = {image_id: index for index, image_id in enumerate(truth.image_ids)}
    images, categories, boxes, scores = [], [], [np.empty((0, 4))], [np.empty(0)]
    for entry in entries:
        classes = data_classes[entry.classes]
        known = classes >= 0
        corners = entry.boxes_xyxy_px[known]
        if clip:
            sides = np.array([entry.width, entry.height] * 2, np.float64)
            corners = np.clip(corners, 0.0, sides)
        images.append(np.full(len(corners), position[entry.image_id]))
        categories.append(classes[known])
        boxes.append(corners)
        scores.append(entry.scores[known])
    boxes_xywh_px = np.round(xywh_from_xyxy(np.concatenate(boxes)), BOX_DIGITS)
    none = [np.empty(0, np.int64)]
    return FoundBoxes(
        image=np.concatenate(none + images),
        category=np.concatenate(none + categories),
        boxes_xywh_px=boxes_xywh_px,
        scores=np.concatenate(scores),
    )


def count_classes(detector: Detector) -> int:
    """Return how many classes a detector tells apart.

    Raises:
        InputError: it is a classifier.
    """
    return int(require_heads(detector.network.graph)[0].classes)


def _pass_done(done: list[int], samples: Iterator[Sample], log: Path) -> None:
    """Pass the samples that are in the log; they must be the set's first.

    Raises:
        DataError: they are not.
    """
    for index, image_id in enumerate(done):
        sample = next(samples, None)
        if sample is None or sample.image_id != image_id:
            raise DataError(
                f"{log} line {index + 2}: expected the set's next picture, "
                f"{'none' if sample is None else sample.image_id}, found {image_id}; "
                "remove the file to begin anew"
            )


def _entry(sample: Sample, found: Detections, data: DataSet) -> PictureFound:
    if (found.width, found.height) != (sample.width, sample.height):
        lying = (found.height, found.width) == (sample.width, sample.height)
        hint = " (is it turned by its EXIF orientation in one of them?)" if lying else ""
        raise DataError(
            f"{sample.image}: is {found.width} x {found.height} pixels, but its labels in "
            f"{data.source} are for {sample.width} x {sample.height}{hint}"
        )
    return PictureFound(
        image_id=sample.image_id,
        width=sample.width,
        height=sample.height,
        boxes_xyxy_px=found.boxes_xyxy_px.astype(np.float64).round(BOX_DIGITS),
        scores=found.confidence.astype(np.float64).round(SCORE_DIGITS),
        classes=found.class_id,
    )
