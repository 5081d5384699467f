"""A COCO file's annotations as columns, to be evaluated as pycocotools would.

`tinyyolo3.data.coco` reads the same files as samples, for whatever needs the pictures. Evaluation
needs none: here ids are enough, neither file names nor sizes nor names of categories are asked
for, and boxes keep the very numbers of the file, on which an IoU exactly at a threshold depends.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinyyolo3.darknet.files import PathLike
from tinyyolo3.data.coco_entries import ObjectEntry, entry_id, parse_object
from tinyyolo3.data.json_stream import stream_members
from tinyyolo3.data.samples import BadEntryError
from tinyyolo3.errors import DataError
from tinyyolo3.evaluate.columns import GroundTruth, ascending_ids, positions_of

_MEMBERS = ("images", "annotations", "categories")


def read_ground_truth(path: PathLike) -> GroundTruth:
    """Read a COCO instances file of any size; classes are in the order of their ids.

    Raises:
        DataError: the file is no COCO file, or has no image or category; an id occurs twice; an
            annotation is of no image or category, or has a box that cannot be.
    """
    place = Path(path)
    image_ids: list[int] = []
    names: dict[int, str] = {}
    objects = _Objects()
    missing = set(_MEMBERS)
    for member, entries in stream_members(place, "a COCO data set"):
        if member not in _MEMBERS:
            continue
        if entries is None:
            raise DataError(f"{place}: {member}: expected an array in brackets")
        missing.remove(member)
        if member == "images":
            image_ids.extend(number for number, _ in _identified(entries, f"{place} image"))
        elif member == "categories":
            for number, entry in _identified(entries, f"{place} category"):
                if number in names:
                    raise DataError(f"{place} category {number}: another one has the same id")
                names[number] = str(entry.get("name", number))
        else:
            _read_objects(entries, objects, f"{place} annotation")
    for member in _MEMBERS:
        if member in missing:
            raise DataError(f"{place}: expected a COCO data set, found no {member}")
    for member, found in (("images", image_ids), ("categories", names)):
        if not found:
            raise DataError(f"{place}: has no {member}: {member}=[]")
    return objects.columns(str(place), ascending_ids(image_ids, str(place)), names)


def _int64s() -> "array[int]":
    return array("q")


def _float64s() -> "array[float]":
    return array("d")


@dataclass
class _Objects:
    """The annotations of a file; entry i of each column belongs to annotation i."""

    ids: "array[int]" = field(default_factory=_int64s)
    image_ids: "array[int]" = field(default_factory=_int64s)
    category_ids: "array[int]" = field(default_factory=_int64s)
    boxes_xywh_px: "array[float]" = field(default_factory=_float64s)  # four a box
    areas_px2: "array[float]" = field(default_factory=_float64s)
    crowds: bytearray = field(default_factory=bytearray)
    difficults: bytearray = field(default_factory=bytearray)

    def add(self, found: ObjectEntry) -> None:
        self.ids.append(found.id)
        self.image_ids.append(found.image_id)
        self.category_ids.append(found.category_id)
        self.boxes_xywh_px.extend(found.box_xywh_px)
        self.areas_px2.append(found.area_px2)
        self.crowds.append(found.crowd)
        self.difficults.append(found.difficult)

    def columns(
        self, source: str, image_ids: tuple[int, ...], names: dict[int, str]
    ) -> GroundTruth:
        """Turn ids into positions.

        Raises:
            DataError: an annotation's id occurs twice, or those of its image or category nowhere.
        """
        category_ids = tuple(sorted(names))
        images, categories = positions_of(image_ids), positions_of(category_ids)
        seen: set[int] = set()
        for number, image_id, category_id in zip(
            self.ids, self.image_ids, self.category_ids, strict=True
        ):
            place = f"{source} annotation {number}"
            if image_id not in images:
                raise DataError(f"{place}: image_id={image_id} is the id of no image")
            if category_id not in categories:
                raise DataError(f"{place}: category_id={category_id} is the id of no category")
            if number in seen:
                raise DataError(f"{place}: another one before it has the same id")
            seen.add(number)
        return GroundTruth(
            source=source,
            image_ids=image_ids,
            names=tuple(names[number] for number in category_ids),
            category_ids=category_ids,
            image=np.array([images[number] for number in self.image_ids], np.int64),
            category=np.array([categories[number] for number in self.category_ids], np.int64),
            boxes_xywh_px=np.frombuffer(self.boxes_xywh_px).reshape(-1, 4),
            areas_px2=np.frombuffer(self.areas_px2),
            crowds=np.frombuffer(self.crowds, np.bool_),
            difficults=np.frombuffer(self.difficults, np.bool_),
        )


def _identified(entries: Iterator[Any], what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each entry with its id.

    Raises:
        DataError: it has none.
    """
    for index, entry in enumerate(entries):
        number = entry_id(entry)
        if number is None:
            raise DataError(f"{what} at position {index}: expected an object with an integer id")
        yield number, entry


def _read_objects(entries: Iterator[Any], objects: _Objects, what: str) -> None:
    for index, entry in enumerate(entries):
        try:
            objects.add(parse_object(entry))
        except BadEntryError as bad:
            number = entry_id(entry)
            place = f"{what} at position {index}" if number is None else f"{what} {number}"
            raise DataError(f"{place}: {bad.text}") from None
