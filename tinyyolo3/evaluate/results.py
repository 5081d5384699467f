"""COCO's results JSON: what a detector found, as benchmark servers and pycocotools take it.

    [{"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.236}, ...]

The files are long, half a million entries for the 5,000 pictures of val2017, so they are read a
thousand entries at a time into columns: 56 bytes an entry, less than half of its text. Other
members of an entry (``segmentation``, ``file_name``) are passed over.
"""

import json
import math
import reprlib
from array import array
from collections.abc import Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from tinyyolo3.atomic import output_errors, whole_file
from tinyyolo3.darknet.files import PathLike
from tinyyolo3.data.json_stream import stream_entries
from tinyyolo3.errors import DataError
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth, positions_of

#: Entries that are read and checked, or written, at once.
CHUNK = 1024
_MEMBERS = ("image_id", "category_id", "bbox", "score")
_quote = reprlib.repr  # short, however long or deep what is found may be


def read_results(path: PathLike, truth: GroundTruth) -> FoundBoxes:
    """Read a results file of any size.

    Args:
        path: the JSON file; ``[]`` is a detector that found nothing.
        truth: the set that it is of.

    Raises:
        DataError: the file is no JSON array; or the first entry, counted from 0, that is of no
            image or category of `truth`, lacks a member, or has a score or box that cannot be:
            NaN, infinite, or of negative size.
    """
    positions = (positions_of(truth.image_ids), positions_of(truth.category_ids))
    image, category = array("q"), array("q")
    boxes_xywh_px, scores = array("d"), array("d")
    entries = stream_entries(path, "COCO results")
    while chunk := list(islice(entries, CHUNK)):
        try:
            found = _columns_of(chunk, *positions)
        except (KeyError, TypeError, ValueError, OverflowError):
            # Something in it is wrong: now each entry is looked at on its own.
            for index, entry in enumerate(chunk, len(scores)):
                _check_entry(entry, f"{Path(path)} entry {index}", truth.source, *positions)
            raise
        image.frombytes(found.image.tobytes())
        category.frombytes(found.category.tobytes())
        boxes_xywh_px.frombytes(found.boxes_xywh_px.tobytes())
        scores.frombytes(found.scores.tobytes())
    return FoundBoxes(
        np.frombuffer(image, np.int64),
        np.frombuffer(category, np.int64),
        np.frombuffer(boxes_xywh_px).reshape(-1, 4),
        np.frombuffer(scores),
    )


def write_results(path: PathLike, truth: GroundTruth, found: FoundBoxes) -> None:
    """Write a results file, an entry a line; reading it gives the same numbers, bit for bit.

    Args:
        path: where to; the file appears whole or not at all.
        truth: the set that was searched.
        found: what was found in it.

    Raises:
        OutputError: it cannot be written.
    """
    place = Path(path)
    with whole_file(place) as file, output_errors(place):
        file.write(b"[")
        for start in range(0, len(found), CHUNK):
            rows = slice(start, start + CHUNK)
            lines = [
                json.dumps(
                    {
                        "image_id": truth.image_ids[image],
                        "category_id": truth.category_ids[category],
                        "bbox": box,
                        "score": score,
                    },
                    separators=(",", ":"),
                )
                for image, category, box, score in zip(
                    found.image[rows].tolist(),
                    found.category[rows].tolist(),
                    found.boxes_xywh_px[rows].tolist(),
                    found.scores[rows].tolist(),
                    strict=True,
                )
            ]
            file.write((",\n" if start else "\n").encode() + ",\n".join(lines).encode())
        file.write(b"\n]\n")


def _columns_of(
    entries: list[Any], images: Mapping[int, int], categories: Mapping[int, int]
) -> FoundBoxes:
    """Turn entries into columns.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: one of them is none.
    """
    image_ids, category_ids, boxes, scores = (
        [entry[member] for entry in entries] for member in _MEMBERS
    )
    if not set(map(type, boxes)) == {list} or not set(map(len, boxes)) == {4}:
        raise TypeError
    sides = list(chain.from_iterable(boxes))
    if not set(map(type, chain(sides, scores))) <= {int, float}:
        raise TypeError
    if not set(map(type, chain(image_ids, category_ids))) == {int}:
        raise TypeError
    return FoundBoxes(
        np.array([images[number] for number in image_ids], np.int64),
        np.array([categories[number] for number in category_ids], np.int64),
        np.array(sides, np.float64).reshape(-1, 4),
        np.array(scores, np.float64),
    )


def _check_entry(
    entry: Any, place: str, source: str, images: Mapping[int, int], categories: Mapping[int, int]
) -> None:
    """Raise the error for an entry that cannot be used.

    Raises:
        DataError: it cannot.
    """
    if not isinstance(entry, dict):
        raise DataError(f"{place}: expected an object in braces, found {_quote(entry)}")
    for member in _MEMBERS:
        if member not in entry:
            raise DataError(f"{place}: has no {member}")
    for member, known in (("image_id", images), ("category_id", categories)):
        number = entry[member]
        if type(number) is not int:
            raise DataError(f"{place}: {member}: expected an integer, found {_quote(number)}")
        if number not in known:
            kind = member.removesuffix("_id")
            raise DataError(
                f"{place}: {member}={_quote(number)} is the id of no {kind} in {source}"
            )
    box, score = entry["bbox"], entry["score"]
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{place}: expected bbox=[x, y, width, height], found {_quote(box)}")
    for member, numbers in (("bbox", box), ("score", [score])):
        if not set(map(type, numbers)) <= {int, float}:
            raise DataError(f"{place}: {member}: expected numbers, found {_quote(entry[member])}")
        if not all(_is_finite(number) for number in numbers):
            raise DataError(f"{place}: {member}={_quote(entry[member])} is not finite")
    if box[2] < 0 or box[3] < 0:
        raise DataError(f"{place}: bbox={_quote(box)} has a negative size")


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer of hundreds of digits
        return False
