"""A COCO file's annotations as columns of numbers, in whatever order the file has its parts.

Some 70 bytes an annotation are kept, whatever the length of its segmentation, which is passed over.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tinyyolo3.data.coco_entries import ObjectEntry, entry_id
from tinyyolo3.data.json_stream import stream_members
from tinyyolo3.data.samples import BadEntryError, Problem, Report, raise_problem
from tinyyolo3.errors import DataError

MEMBERS = ("images", "annotations", "categories")

_Entry = TypeVar("_Entry")


def int64s() -> "array[int]":
    """Return an empty column of int64."""
    return array("q")


def float64s() -> "array[float]":
    """Return an empty column of float64."""
    return array("d")


@dataclass
class ObjectColumns:
    """The annotations of a file; entry i of each column belongs to annotation i."""

    ids: "array[int]" = field(default_factory=int64s)
    image_ids: "array[int]" = field(default_factory=int64s)
    category_ids: "array[int]" = field(default_factory=int64s)
    boxes_xywh_px: "array[float]" = field(default_factory=float64s)  # four a box
    areas_px2: "array[float]" = field(default_factory=float64s)
    crowds: bytearray = field(default_factory=bytearray)
    difficults: bytearray = field(default_factory=bytearray)

    def add(self, found: ObjectEntry) -> None:
        """Append an annotation."""
        self.ids.append(found.id)
        self.image_ids.append(found.image_id)
        self.category_ids.append(found.category_id)
        self.boxes_xywh_px.extend(found.box_xywh_px)
        self.areas_px2.append(found.area_px2)
        self.crowds.append(found.crowd)
        self.difficults.append(found.difficult)


def stream_lists(place: Path) -> Iterator[tuple[str, Iterator[Any]]]:
    """Yield the name and the entries of each of `MEMBERS`, as the file has them.

    Raises:
        DataError: one of them is missing or no array, or the file is no JSON.
    """
    found = set()
    for name, entries in stream_members(place, "a COCO data set"):
        if name not in MEMBERS:
            continue
        if entries is None:
            raise DataError(f"{place}: {name}: expected an array in brackets")
        found.add(name)
        yield name, entries
    for name in MEMBERS:
        if name not in found:
            raise DataError(f"{place}: expected a COCO data set, found no {name}")


def read_entries(
    entries: Iterator[Any],
    parse: Callable[[Any], _Entry],
    add: Callable[[_Entry], None],
    what: str,
    report: Report = raise_problem,
) -> None:
    """Parse and add each entry, or report it by its id, or else by its position from 0."""
    for index, entry in enumerate(entries):
        try:
            add(parse(entry))
        except BadEntryError as bad:
            number = entry_id(entry)
            place = f"{what} at position {index}" if number is None else f"{what} {number}"
            report(Problem(bad.kind, place, bad.text))
