"""A COCO file's annotations as columns, to be evaluated as pycocotools would.

`tinyyolo3.data.coco` reads the same files as samples, for whatever needs the pictures. Evaluation
needs none: here ids are enough, neither file names nor sizes nor names of categories are asked
for, and boxes keep the very numbers of the file, on which an IoU exactly at a threshold depends.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyyolo3.darknet.files import PathLike, require_file
from tinyyolo3.data.coco_columns import ObjectColumns, read_entries, stream_lists
from tinyyolo3.data.coco_entries import entry_id, parse_object
from tinyyolo3.errors import DataError
from tinyyolo3.evaluate.columns import GroundTruth, ascending_ids, positions_of


def read_ground_truth(path: PathLike) -> GroundTruth:
    """Read a COCO instances file of any size; classes are in the order of their ids.

    Raises:
        DataError: the file is no COCO file, or has no image or category; an id occurs twice; an
            annotation is of no image or category, or has a box that cannot be.
        InputError: `path` is no path.
    """
    place = require_file(path, "a COCO data set", DataError)
    image_ids: list[int] = []
    names: dict[int, str] = {}
    objects = ObjectColumns()
    for member, entries in stream_lists(place):
        if member == "images":
            image_ids.extend(number for number, _ in _identified(entries, f"{place} image"))
        elif member == "categories":
            for number, entry in _identified(entries, f"{place} category"):
                if number in names:
                    raise DataError(f"{place} category {number}: another one has the same id")
                names[number] = str(entry.get("name", number))
        else:
            read_entries(entries, parse_object, objects.add, f"{place} annotation")
    for member, found in (("images", image_ids), ("categories", names)):
        if not found:
            raise DataError(f"{place}: has no {member}: {member}=[]")
    return _as_positions(objects, str(place), ascending_ids(image_ids, str(place)), names)


def _as_positions(
    objects: ObjectColumns, source: str, image_ids: tuple[int, ...], names: dict[int, str]
) -> GroundTruth:
    """Turn ids into positions.

    Raises:
        DataError: an annotation's id occurs twice, or those of its image or category nowhere.
    """
    category_ids = tuple(sorted(names))
    images, categories = positions_of(image_ids), positions_of(category_ids)
    seen: set[int] = set()
    for number, image_id, category_id in zip(
        objects.ids, objects.image_ids, objects.category_ids, strict=True
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
        image=np.array([images[number] for number in objects.image_ids], np.int64),
        category=np.array([categories[number] for number in objects.category_ids], np.int64),
        boxes_xywh_px=np.frombuffer(objects.boxes_xywh_px).reshape(-1, 4),
        areas_px2=np.frombuffer(objects.areas_px2),
        crowds=np.frombuffer(objects.crowds, np.bool_),
        difficults=np.frombuffer(objects.difficults, np.bool_),
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
