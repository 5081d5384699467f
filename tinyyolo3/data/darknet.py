"""Darknet's form: a ``.data`` file, lists of pictures, and a text of labels beside each picture.

Nothing but the place in the list is held: a list of a million pictures is counted line by line,
and every label text is read when its picture's turn comes.
"""

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.darknet.files import PathLike, require_file
from tinyyolo3.darknet.names import read_data, read_names
from tinyyolo3.data.label_files import parse_number, read_label_file
from tinyyolo3.data.pictures import picture_size_px
from tinyyolo3.data.samples import (
    BadEntryError,
    DataSet,
    Problem,
    Report,
    Sample,
    areas_px2,
    raise_problem,
)
from tinyyolo3.errors import ConfigError, DataError

#: Labels are fractions of the picture, rounded to some digits; what is further out than this is in
#: another unit, or nowhere.
UNIT_SLACK = 1e-3

#: No path is longer (Linux: 4096 bytes); a binary file may have no end of line at all.
MAX_LINE_CHARS = 1 << 14

#: One label: class, and centre x, centre y, width, height as fractions of the picture.
_Label = tuple[int, float, float, float, float]


def read_darknet_data(
    path: PathLike,
    *,
    split: str = "valid",
    names: Sequence[str] | None = None,
    report: Report = raise_problem,
) -> DataSet:
    """Open a list of pictures that a ``.data`` file names.

    Its options are ``train`` and ``valid``, lists of pictures; ``names``, a list of classes, a
    line each; and ``classes``, their number. Relative paths begin in the ``.data`` file's own
    folder, or if nothing is there in the working directory, as in Darknet. (Were that first, a
    set's files would be hidden by those of the same name of the set in which one stands.)

    Args:
        path: the ``.data`` file.
        split: which of its options names the list.
        names: classes, instead of the file's ``names``.
        report: see `tinyyolo3.data.samples`.

    Raises:
        DataError: a file cannot be read, the split is not there, or ``classes`` is not the number
            of names; while iterating also the first problem, unless `report` does something else
            with it.
    """
    place = Path(path)
    try:
        options = read_data(place)
        if not options.get(split):
            found = ", ".join(f"{name}=" for name in options) or "nothing"
            raise DataError(f"{place}: has no {split}= (found {found})")
        if names is None:
            if not options.get("names"):
                raise DataError(f"{place}: has no names=, which would name the classes")
            names = read_names(_resolve(options["names"], [place.parent]))
    except ConfigError as problem:
        raise DataError(str(problem)) from None
    classes = options.get("classes", str(len(names)))
    if classes != str(len(names)):
        raise DataError(f"{place}: classes={classes:.40}, but there are {len(names)} names")
    images = _resolve(options[split], [place.parent])
    return _open_list(place, images, [images.parent, place.parent], tuple(names), report)


def read_darknet_list(
    path: PathLike, *, names: Sequence[str], report: Report = raise_problem
) -> DataSet:
    """Open a list of pictures: a path a line, blank lines skipped.

    Relative paths begin in the list's own folder, or if nothing is there in the working directory,
    as in Darknet. Labels are found by `label_places`; a picture without a label file is one without
    objects, as in Darknet (which prints a warning), and a harmless problem.

    Args:
        path: the list, of any length.
        names: the classes.
        report: see `tinyyolo3.data.samples`.

    Raises:
        DataError: as `read_darknet_data`.
    """
    place = Path(path)
    return _open_list(place, place, [place.parent], tuple(names), report)


def label_places(image: Path) -> list[Path]:
    """Return where the labels of a picture may be, in the order in which they are looked for.

    The file is named as the picture with ``.txt`` for its suffix. It is in the folder ``labels``
    that stands for a folder ``images`` or ``JPEGImages`` of the picture's path, the last one first
    (utils.c replace_image_to_label), or beside the picture.
    """
    text = image.with_suffix(".txt")
    parts = text.parts
    places = [
        Path(*parts[:index], "labels", *parts[index + 1 :])
        for index in reversed(range(len(parts) - 1))
        if parts[index] in ("images", "JPEGImages")
    ]
    return [*places, text]


def _resolve(name: str, folders: Sequence[Path]) -> Path:
    """Return the first that is there: in one of the folders, or in the working directory."""
    if os.path.isabs(name):
        return Path(name)
    candidates = (folder / name for folder in folders)
    return next((each for each in candidates if each.exists()), Path(name))


def _open_list(
    source: Path, images: Path, folders: list[Path], names: tuple[str, ...], report: Report
) -> DataSet:
    require_file(images, "a list of pictures", DataError)
    count = sum(1 for _ in _list_lines(images))
    if not count:
        raise DataError(f"{images}: expected a picture a line, found only blank lines")
    return DataSet(
        source=source,
        form="darknet",
        names=names,
        category_ids=tuple(range(1, len(names) + 1)),
        count=count,
        samples=partial(_samples, images, folders, len(names), report),
    )


def _list_lines(images: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a list that are not blank, with their numbers from 1."""
    try:
        with open(images, encoding="utf-8-sig") as file:
            number = 0
            while line := file.readline(MAX_LINE_CHARS):
                number += 1
                if len(line) == MAX_LINE_CHARS or "\0" in line:
                    raise DataError(
                        f"{images}:{number} expected a picture's path, found {line[:40]!r}..."
                    )
                if line.strip():
                    yield number, line.strip()
    except UnicodeDecodeError as problem:
        byte = problem.object[problem.start]
        raise DataError(f"{images}: not UTF-8 after line {number}: byte 0x{byte:02x}") from None
    except OSError as problem:
        raise DataError(f"{images}: cannot be read: {problem.strerror or problem}") from None


def _samples(
    images: Path, folders: list[Path], class_count: int, report: Report
) -> Iterator[Sample]:
    for position, (number, name) in enumerate(_list_lines(images), 1):
        image = _resolve(name, folders)
        place = f"{images} line {number}"
        size = picture_size_px(image, place, report)
        if size is None:
            continue
        labels, places = _read_labels(image, place, class_count, report)
        boxes_xyxy_px = _boxes_xyxy_px(labels, *size)
        yield Sample(
            image,
            *size,
            boxes_xyxy_px,
            np.array([label[0] for label in labels], np.int64),
            np.zeros(len(labels), np.bool_),
            np.zeros(len(labels), np.bool_),
            areas_px2(boxes_xyxy_px),
            position,
            places,
        )


def _boxes_xyxy_px(labels: list[_Label], width: int, height: int) -> NDArray[np.float64]:
    boxes_cxcywh_unit = np.array([label[1:] for label in labels], np.float64).reshape(-1, 4)
    half_unit = boxes_cxcywh_unit[:, 2:] / 2
    corners_unit = np.hstack(
        [boxes_cxcywh_unit[:, :2] - half_unit, boxes_cxcywh_unit[:, :2] + half_unit]
    )
    return corners_unit * (width, height, width, height)


def _read_labels(
    image: Path, place: str, class_count: int, report: Report
) -> tuple[list[_Label], tuple[str, ...]]:
    """Read a picture's labels; with each goes its place."""
    text_file = next((each for each in label_places(image) if each.is_file()), None)
    if text_file is None:
        expected = " or ".join(str(each) for each in label_places(image))
        text = f"{image} has no labels: expected {expected}"
        report(Problem("missing labels", place, text, harmless=True))
        return [], ()
    labels, places = [], []
    for number, line in enumerate(_label_lines(text_file, report), 1):
        if not line.strip():
            continue
        line_place = f"{text_file} line {number}"
        try:
            labels.append(_parse_label(line, class_count))
            places.append(line_place)
        except BadEntryError as bad:
            report(Problem(bad.kind, line_place, bad.text))
    return labels, tuple(places)


def _label_lines(text_file: Path, report: Report) -> list[str]:
    try:
        return read_label_file(text_file).decode("utf-8-sig").splitlines()
    except BadEntryError as bad:
        report(Problem(bad.kind, str(text_file), bad.text))
    except UnicodeDecodeError as problem:
        text = f"expected labels, found no UTF-8 (byte {problem.start})"
        report(Problem("malformed", str(text_file), text))
    return []


def _parse_label(line: str, class_count: int) -> _Label:
    """Read ``class cx cy w h``.

    Raises:
        BadEntryError: it is no such line, or no such box can be in a picture.
    """
    words = line.split()
    if len(words) != 5:
        raise BadEntryError(
            "malformed",
            f"expected class, cx, cy, w, h, found {len(words)} words: {line.strip():.60}",
        )
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", words[0], re.ASCII):
        raise BadEntryError("malformed", f"expected a class's number, found {words[0]:.40}")
    class_id = int(words[0])
    if not 0 <= class_id < class_count:
        last = class_count - 1
        raise BadEntryError("unknown class", f"class {class_id} is not one of 0 to {last}")
    cx, cy, w, h = (
        _parse_fraction(name, word)
        for name, word in zip(("cx", "cy", "w", "h"), words[1:], strict=True)
    )
    return class_id, cx, cy, w, h


def _parse_fraction(name: str, word: str) -> float:
    value = parse_number(name, word)
    lowest = 0.0 if name in ("w", "h") else -UNIT_SLACK
    if not lowest <= value <= 1 + UNIT_SLACK:
        text = f"{name}={word:.40} is no fraction of the picture, from 0 to 1"
        raise BadEntryError("bad box", text)
    return value
