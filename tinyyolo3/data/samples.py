"""The one plain structure that all forms of labelled data are read into.

A reader hands what it cannot read to a function, ``report(problem)``, and goes on without it.
The default, `raise_problem`, raises `DataError` at the first one, which is what training and
evaluation want; ``open_dataset(path, report=problems.append)`` collects them instead. What can be
read but may be unwanted (boxes without area, beyond their picture, twice) is not the readers'
business: they keep it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.errors import DataError

Form: TypeAlias = Literal["darknet", "coco", "voc"]

#: What may be wrong, for counting. "malformed" is an entry whose parts are missing, of the wrong
#: type or no numbers; "bad box" one with NaN, a negative size or numbers that cannot be a box's.
ProblemKind: TypeAlias = Literal[
    "missing image",
    "unreadable image",
    "missing labels",
    "malformed",
    "bad box",
    "unknown class",
    "unknown image",
    "duplicate id",
]


@dataclass(frozen=True)
class Problem:
    """Something in a data set that is not as it should be.

    Attributes:
        kind: see `ProblemKind`.
        place: where, file first: "labels/a.txt line 3", "a.json annotation 17".
        text: what was expected and what was found.
        harmless: the strict reading goes on: Darknet takes a picture without a label file as a
            picture without objects.
    """

    kind: ProblemKind
    place: str
    text: str
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


Report: TypeAlias = Callable[[Problem], None]


def raise_problem(problem: Problem) -> None:
    """Raise a problem as the `DataError` that it is, unless it is harmless."""
    if not problem.harmless:
        raise DataError(str(problem))


class BadEntryError(Exception):
    """An entry that cannot be read, raised where its place is unknown: its reader reports it."""

    def __init__(self, kind: ProblemKind, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled picture.

    Attributes:
        image: its file.
        width: px.
        height: px.
        boxes_xyxy_px: (N, 4) float64: left, top, right, bottom; 0 is the left edge of the leftmost
            pixel, `width` the right edge of the last one.
        classes: (N,) int64, positions in the data set's `names`.
        crowds: (N,) bool: a group of objects as one region (COCO's iscrowd).
        difficults: (N,) bool (Pascal VOC).
        areas_px2: (N,) float64: of the objects, as COCO gives them (segmentation), otherwise of
            the boxes.
        image_id: the set's own number of the picture (COCO id; otherwise its position, from 1).
        places: (N,) where each box stands, for messages: "labels/a.txt line 3",
            "a.json annotation 17".
    """

    image: Path
    width: int
    height: int
    boxes_xyxy_px: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowds: NDArray[np.bool_]
    difficults: NDArray[np.bool_]
    areas_px2: NDArray[np.float64]
    image_id: int
    places: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DataSet:
    """A labelled set: read lazily, so that a million pictures need bounded memory.

    Iterating yields `Sample`s in the set's order, as often as it is asked to.

    Attributes:
        source: the file or folder it was opened from.
        form: "darknet", "coco" or "voc".
        names: the classes.
        category_ids: each class's number in COCO files; otherwise 1, 2, ...
        count: how many pictures.
        samples: starts a new reading.
    """

    source: Path
    form: Form
    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    count: int
    samples: Callable[[], Iterator[Sample]] = field(repr=False)

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples.

        Raises:
            DataError: at the first label that cannot be read, unless the set was opened with
                another `report`.
        """
        return self.samples()

    def __len__(self) -> int:
        return self.count


def areas_px2(boxes_xyxy_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return width × height of boxes (N, 4)."""
    sides = boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1], np.float64)
