"""COCO's instances JSON: ``images``, ``annotations`` and ``categories`` (cocodataset.org, format).

A file is read once from front to end (`json_stream`) into `coco_columns`: some 70 bytes an
annotation, whatever the length of its segmentation, which is passed over. Boxes are
``[x, y, width, height]`` in our own frame: 0 is the left edge of the leftmost pixel.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.darknet.files import PathLike, require_file
from tinyyolo3.data.coco_columns import ObjectColumns, int64s, read_entries, stream_lists
from tinyyolo3.data.coco_entries import (
    CategoryEntry,
    ImageEntry,
    parse_category,
    parse_image,
    parse_object,
)
from tinyyolo3.data.pictures import picture_size_px
from tinyyolo3.data.samples import BadEntryError, DataSet, Problem, Report, Sample, raise_problem
from tinyyolo3.errors import DataError


def read_coco(
    path: PathLike, *, images: PathLike | None = None, report: Report = raise_problem
) -> DataSet:
    """Open a COCO instances file.

    Classes are the categories in the order of their ids, as pycocotools evaluates them; ids may
    have gaps. Pictures come in the file's order.

    Args:
        path: the JSON file, of any size.
        images: the folder that ``file_name`` is relative to. By default the first of these that
            has the first picture: beside the file, or below it or its parent folder ``images``,
            ``val2017`` for ``instances_val2017.json``, or ``images/val2017``.
        report: see `tinyyolo3.data.samples`. Most problems are found here, while opening.

    Raises:
        DataError: the file is no COCO file or holds no picture or category; or the first problem,
            unless `report` does something else with it.
        InputError: `path` is no path.
    """
    place = require_file(path, "a COCO data set", DataError)
    columns = _read_columns(place, report)
    if not columns.image_ids:
        raise DataError(f"{place}: expected pictures, found images=[]")
    if not columns.categories:
        raise DataError(f"{place}: expected classes, found categories=[]")
    categories = sorted(columns.categories, key=lambda category: category.id)
    category_ids = tuple(category.id for category in categories)
    objects = _group_by_image(place, columns, np.array(category_ids), report)
    folder = _image_folder(place, columns.file_name(0)) if images is None else Path(images)
    return DataSet(
        source=place,
        form="coco",
        names=tuple(category.name for category in categories),
        category_ids=category_ids,
        count=len(columns.image_ids),
        samples=partial(_samples, place, folder, columns, objects, report),
    )


@dataclass
class _Columns:
    """The numbers of a file; entry i of each column belongs to image i."""

    image_ids: "array[int]" = field(default_factory=int64s)
    image_sizes_px: "array[int]" = field(default_factory=int64s)  # width, height, ...
    file_names: bytearray = field(default_factory=bytearray)  # one after the other
    file_name_ends: "array[int]" = field(default_factory=int64s)
    categories: list[CategoryEntry] = field(default_factory=list)
    objects: ObjectColumns = field(default_factory=ObjectColumns)

    def add_image(self, image: ImageEntry) -> None:
        self.image_ids.append(image.id)
        self.image_sizes_px.extend((image.width, image.height))
        # A lone surrogate is JSON but no UTF-8; the file system's own names may have them.
        self.file_names += image.file_name.encode("utf-8", "surrogatepass")
        self.file_name_ends.append(len(self.file_names))

    def file_name(self, index: int) -> str:
        start = self.file_name_ends[index - 1] if index else 0
        return self.file_names[start : self.file_name_ends[index]].decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class _Objects:
    """The annotations grouped by image: those of image i are rows[starts[i] : starts[i + 1]]."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    classes: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes_xywh_px: NDArray[np.float64]
    areas_px2: NDArray[np.float64]
    crowds: NDArray[np.bool_]
    difficults: NDArray[np.bool_]


def _read_columns(place: Path, report: Report) -> _Columns:
    columns = _Columns()
    image_ids: set[int] = set()
    category_ids: set[int] = set()

    def add_image(image: ImageEntry) -> None:
        _refuse_second(image.id, image_ids)
        columns.add_image(image)

    def add_category(category: CategoryEntry) -> None:
        _refuse_second(category.id, category_ids)
        columns.categories.append(category)

    for name, entries in stream_lists(place):
        if name == "images":
            read_entries(entries, parse_image, add_image, f"{place} image", report)
        elif name == "annotations":
            what = f"{place} annotation"
            read_entries(entries, parse_object, columns.objects.add, what, report)
        else:
            read_entries(entries, parse_category, add_category, f"{place} category", report)
    return columns


def _refuse_second(number: int, seen: set[int]) -> None:
    if number in seen:
        raise BadEntryError("duplicate id", "another one before it has the same id")
    seen.add(number)


def _group_by_image(
    place: Path, columns: _Columns, category_ids: NDArray[np.int64], report: Report
) -> _Objects:
    """Find each annotation's image and class, and report those that have none."""
    objects = columns.objects
    ids = _numbers(objects.ids)
    images = _positions(_numbers(columns.image_ids), _numbers(objects.image_ids))
    classes = _positions(category_ids, _numbers(objects.category_ids))
    for row in np.flatnonzero(images < 0).tolist():
        text = f"image_id={objects.image_ids[row]} is the id of no image"
        report(Problem("unknown image", f"{place} annotation {ids[row]}", text))
    for row in np.flatnonzero(classes < 0).tolist():
        text = f"category_id={objects.category_ids[row]} is the id of no category"
        report(Problem("unknown class", f"{place} annotation {ids[row]}", text))
    by_id = np.argsort(ids, kind="stable")
    for row in np.sort(by_id[1:][np.diff(ids[by_id]) == 0]).tolist():
        text = "another one before it has the same id"
        report(Problem("duplicate id", f"{place} annotation {ids[row]}", text))

    rows = np.argsort(images, kind="stable")
    rows = rows[(images[rows] >= 0) & (classes[rows] >= 0)]
    starts = np.searchsorted(images[rows], np.arange(len(columns.image_ids) + 1))
    return _Objects(
        rows,
        starts,
        classes,
        ids,
        np.frombuffer(objects.boxes_xywh_px, np.float64).reshape(-1, 4),
        np.frombuffer(objects.areas_px2, np.float64),
        np.frombuffer(objects.crowds, np.bool_),
        np.frombuffer(objects.difficults, np.bool_),
    )


def _numbers(column: "array[int]") -> NDArray[np.int64]:
    return np.frombuffer(column, np.int64)


def _positions(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where in `ids`, which are all different, each of `wanted` is; -1 where nowhere."""
    order = np.argsort(ids)
    found = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    return np.where(ids[order[found]] == wanted, order[found], -1)


def _image_folder(place: Path, file_name: str) -> Path:
    """Guess where the pictures are: where the first one is."""
    beside, parent = place.parent, place.parent.parent
    split = place.stem.partition("_")[2] or place.stem
    for folder in (
        beside,
        beside / "images",
        beside / split,
        parent / split,
        parent / "images",
        parent / "images" / split,
    ):
        try:
            if (folder / file_name).is_file():
                return folder
        except (OSError, ValueError):  # a name that is too long, or has a NUL
            return beside
    return beside


def _samples(
    place: Path, folder: Path, columns: _Columns, objects: _Objects, report: Report
) -> Iterator[Sample]:
    for index, image_id in enumerate(columns.image_ids):
        image = folder / columns.file_name(index)
        width, height = columns.image_sizes_px[2 * index : 2 * index + 2]
        if width == 0:  # the file does not say
            size = picture_size_px(image, f"{place} image {image_id}", report)
            if size is None:
                continue
            width, height = size
        rows = objects.rows[objects.starts[index] : objects.starts[index + 1]]
        boxes_px = objects.boxes_xywh_px[rows]
        boxes_px[:, 2:] += boxes_px[:, :2]  # now left, top, right, bottom
        yield Sample(
            image,
            width,
            height,
            boxes_px,
            objects.classes[rows],
            objects.crowds[rows],
            objects.difficults[rows],
            objects.areas_px2[rows],
            image_id,
            tuple(f"{place} annotation {number}" for number in objects.ids[rows].tolist()),
        )
