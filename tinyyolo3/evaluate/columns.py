"""A whole set's boxes as plain columns: what the protocols of evaluation work on.

One row is one box. Pictures and classes are positions in the set's own lists, so that a protocol
is arithmetic on arrays; what they are called is kept beside for messages and tables. An object
takes 74 bytes and a detection 56.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.data.samples import Sample
from tinyyolo3.errors import DataError, InputError


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The labelled objects of a set, in its order.

    Attributes:
        source: the file or folder, for messages.
        image_ids: each picture's number, ascending, of those without objects too.
        names: the classes.
        category_ids: each class's number in COCO's files.
        image: (N,) int64, the object's position in `image_ids`.
        category: (N,) int64, its position in `names`.
        boxes_xywh_px: (N, 4) float64, left, top, width, height.
        areas_px2: (N,) float64, of the object where known (COCO's segmentation), or of its box.
        crowds: (N,) bool, several objects as one region (COCO's iscrowd).
        difficults: (N,) bool, hard to recognise (Pascal VOC); COCO's protocol does not look at it.

    Raises:
        InputError: the columns do not fit each other.
    """

    source: str
    image_ids: tuple[int, ...]
    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    image: NDArray[np.int64]
    category: NDArray[np.int64]
    boxes_xywh_px: NDArray[np.float64]
    areas_px2: NDArray[np.float64]
    crowds: NDArray[np.bool_]
    difficults: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if len(self.category_ids) != len(self.names):
            raise InputError(f"{len(self.names)} names and {len(self.category_ids)} category ids")
        _check_columns(
            self.image.size,
            [
                ("image", self.image, np.int64, ()),
                ("category", self.category, np.int64, ()),
                ("boxes_xywh_px", self.boxes_xywh_px, np.float64, (4,)),
                ("areas_px2", self.areas_px2, np.float64, ()),
                ("crowds", self.crowds, np.bool_, ()),
                ("difficults", self.difficults, np.bool_, ()),
            ],
        )
        _check_positions("image", self.image, len(self.image_ids))
        _check_positions("category", self.category, len(self.names))


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """What a detector found in a set, in the order in which it was stored.

    Attributes:
        image: (N,) int64, position in the ground truth's `image_ids`.
        category: (N,) int64, position in its `names`.
        boxes_xywh_px: (N, 4) float64, left, top, width, height; no size is negative.
        scores: (N,) float64, finite.

    Raises:
        InputError: the columns do not fit each other, or a number is none.
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    boxes_xywh_px: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        _check_columns(
            self.image.size,
            [
                ("image", self.image, np.int64, ()),
                ("category", self.category, np.int64, ()),
                ("boxes_xywh_px", self.boxes_xywh_px, np.float64, (4,)),
                ("scores", self.scores, np.float64, ()),
            ],
        )
        if not np.isfinite(self.scores).all():
            row = int(np.argmin(np.isfinite(self.scores)))
            raise InputError(f"scores[{row}] is {self.scores[row]}, not a finite number")
        usable = np.isfinite(self.boxes_xywh_px).all(axis=1)
        usable &= (self.boxes_xywh_px[:, 2:] >= 0).all(axis=1)
        if not usable.all():
            row = int(np.argmin(usable))
            box = self.boxes_xywh_px[row].tolist()
            raise InputError(f"boxes_xywh_px[{row}] is {box}: not finite, or of negative size")

    def __len__(self) -> int:
        return len(self.scores)


def collect_ground_truth(
    samples: Iterable[Sample],
    source: str,
    names: Sequence[str],
    category_ids: Sequence[int],
) -> GroundTruth:
    """Gather the labels of a set's samples; the pictures themselves are not opened.

    Args:
        samples: of the whole set, or of the pictures that count.
        source: where they come from, for messages.
        names: the classes.
        category_ids: each class's number in COCO's files.

    Raises:
        DataError: two samples have the same `image_id`.
    """
    image_ids: list[int] = []
    counts, classes, boxes, areas, crowds, difficults = [], [], [], [], [], []
    for sample in samples:
        image_ids.append(sample.image_id)
        counts.append(len(sample.classes))
        classes.append(sample.classes)
        boxes.append(xywh_from_xyxy(sample.boxes_xyxy_px))
        areas.append(sample.areas_px2)
        crowds.append(sample.crowds)
        difficults.append(sample.difficults)
    ordered = ascending_ids(image_ids, source)
    position = positions_of(ordered)
    place = np.array([position[image_id] for image_id in image_ids], np.int64)
    return GroundTruth(
        source=source,
        image_ids=ordered,
        names=tuple(names),
        category_ids=tuple(category_ids),
        image=np.repeat(place, np.array(counts, np.int64)),
        category=_joined(classes, np.empty(0, np.int64)),
        boxes_xywh_px=_joined(boxes, np.empty((0, 4))),
        areas_px2=_joined(areas, np.empty(0)),
        crowds=_joined(crowds, np.empty(0, np.bool_)),
        difficults=_joined(difficults, np.empty(0, np.bool_)),
    )


def ascending_ids(image_ids: Iterable[int], source: str) -> tuple[int, ...]:
    """Return the numbers of a set's pictures in ascending order.

    Raises:
        DataError: one occurs twice.
    """
    ordered = sorted(image_ids)
    for one, other in pairwise(ordered):
        if one == other:
            raise DataError(f"{source}: two images have the id {one}")
    return tuple(ordered)


def check_fit(truth: GroundTruth, found: FoundBoxes) -> None:
    """Check that the positions of detections are positions in the set's lists.

    Raises:
        InputError: one is not.
    """
    _check_positions("image", found.image, len(truth.image_ids))
    _check_positions("category", found.category, len(truth.names))


def positions_of(ids: Iterable[int]) -> dict[int, int]:
    """Return where each of some numbers stands."""
    return {number: position for position, number in enumerate(ids)}


def select_images(
    truth: GroundTruth, found: FoundBoxes, image_ids: Iterable[int]
) -> tuple[GroundTruth, FoundBoxes]:
    """Leave out all but some pictures.

    Raises:
        InputError: a number is of no picture, occurs twice, or there is none.
    """
    position = positions_of(truth.image_ids)
    chosen = sorted(image_ids)
    if not chosen:
        raise InputError("image_ids names no image")
    for number, following in zip(chosen, [*chosen[1:], None], strict=True):
        if number not in position or number == following:
            problem = "occurs twice" if number in position else f"is no image of {truth.source}"
            raise InputError(f"image_ids: {number!r} {problem}")
    new_position = np.full(len(truth.image_ids), -1)
    new_position[[position[number] for number in chosen]] = np.arange(len(chosen))
    objects, detections = new_position[truth.image], new_position[found.image]
    kept, kept_found = objects >= 0, detections >= 0
    return (
        replace(
            truth,
            image_ids=tuple(chosen),
            image=objects[kept],
            category=truth.category[kept],
            boxes_xywh_px=truth.boxes_xywh_px[kept],
            areas_px2=truth.areas_px2[kept],
            crowds=truth.crowds[kept],
            difficults=truth.difficults[kept],
        ),
        FoundBoxes(
            detections[kept_found],
            found.category[kept_found],
            found.boxes_xywh_px[kept_found],
            found.scores[kept_found],
        ),
    )


def xywh_from_xyxy(boxes_xyxy_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn corners (N, 4) into left, top, width and height."""
    return np.concatenate([boxes_xyxy_px[:, :2], boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]], 1)


def _joined(parts: Sequence[NDArray[Any]], none: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else none


def _check_columns(
    rows: int, columns: Iterable[tuple[str, NDArray[Any], DTypeLike, tuple[int, ...]]]
) -> None:
    """Check names, arrays, dtypes and the shapes of a row.

    Raises:
        InputError: one is not as it should be.
    """
    for name, column, dtype, row in columns:
        if column.shape != (rows, *row) or column.dtype != dtype:
            raise InputError(
                f"{name} must be {np.dtype(dtype)} of shape {(rows, *row)}, "
                f"not {column.dtype} of shape {column.shape}"
            )


def _check_positions(name: str, column: NDArray[np.int64], count: int) -> None:
    if column.size and not (column.min() >= 0 and column.max() < count):
        row = int(np.argmax((column < 0) | (column >= count)))
        raise InputError(f"{name}[{row}] is {column[row]}, not a position among {count}")
