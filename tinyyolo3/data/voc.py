"""Pascal VOC's form: an XML text a picture (Everingham et al., The Pascal VOC Challenge, 2010).

VOC counts pixels from 1 and both corners belong to the box (VOCdevkit, VOCevaldet.m adds 1 to
every difference). In our frame, where edges are counted from 0, a box is from ``xmin - 1`` to
``xmax``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from tinyyolo3.darknet.files import PathLike
from tinyyolo3.darknet.names import read_names
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
from tinyyolo3.data.voc_xml import (
    ObjectElement,
    object_line,
    object_name,
    parse_object,
    parse_size,
    parse_xml,
)
from tinyyolo3.errors import ConfigError, DataError

#: A list of classes in a folder, a line each, which VOC has not: `write_voc` leaves it there so
#: that classes keep their order.
NAMES_FILE = "classes.names"
#: What pictures are called where an annotation's ``filename`` is not there.
_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp", ".webp")


def read_voc(
    path: PathLike,
    *,
    images: PathLike | None = None,
    split: str = "valid",
    names: Sequence[str] | None = None,
    report: Report = raise_problem,
) -> DataSet:
    """Open a folder of VOC annotations.

    Args:
        path: the folder with ``Annotations``, or a folder of XML files.
        images: the pictures' folder; by default ``JPEGImages`` beside ``Annotations``, or the
            annotations' own. A picture is found by its ``filename``, or by its annotation's name.
        split: the set is ``ImageSets/Main/<split>.txt``, an annotation's name a line ("valid"
            also finds ``val.txt``). Without that folder it is all annotations in their names'
            order.
        names: the classes. By default the lines of ``classes.names`` in the folder, or without it
            all that the annotations of the set name, sorted: that takes a pass over them.
        report: see `tinyyolo3.data.samples`.

    Raises:
        DataError: there are no annotations, or the split is not there; while iterating also the
            first problem, unless `report` does something else with it.
    """
    root = Path(path)
    annotations = root / "Annotations"
    if not annotations.is_dir():
        annotations, root = root, root.parent if root.name == "Annotations" else root
    pictures = Path(images) if images is not None else root / "JPEGImages"
    if images is None and not pictures.is_dir():
        pictures = annotations
    files = partial(_annotation_files, annotations, _split_list(root, split))
    count = sum(1 for _ in files())
    if not count:
        raise DataError(f"{annotations}: expected Pascal VOC annotations, found no .xml file")
    if names is None:
        try:
            stored = root / NAMES_FILE
            names = read_names(stored) if stored.is_file() else _find_names(files())
        except ConfigError as problem:
            raise DataError(str(problem)) from None
        if not names:
            raise DataError(f"{annotations}: the annotations name no class; give the names")
    return DataSet(
        source=Path(path),
        form="voc",
        names=tuple(names),
        category_ids=tuple(range(1, len(names) + 1)),
        count=count,
        samples=partial(_samples, files, pictures, tuple(names), report),
    )


def _split_list(root: Path, split: str) -> Path | None:
    """Return the list of a split; None where there are no splits."""
    folder = root / "ImageSets" / "Main"
    if not folder.is_dir():
        return None
    wanted = [split, "val"] if split == "valid" else [split]
    for name in wanted:
        if (folder / f"{name}.txt").is_file():
            return folder / f"{name}.txt"
    # Lists of single classes, aeroplane_val.txt, are no splits.
    found = sorted(each.stem for each in folder.glob("*.txt") if "_" not in each.stem)
    raise DataError(f"{folder}: has no {split}.txt (found {', '.join(found[:10]) or 'no list'})")


def _annotation_files(annotations: Path, split_list: Path | None) -> Iterator[tuple[Path, str]]:
    """Yield each annotation's file, and the place that names it."""
    if split_list is None:
        for file in sorted(annotations.glob("*.xml")):
            yield file, str(file)
        return
    try:
        with open(split_list, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield annotations / f"{line.split()[0]}.xml", f"{split_list} line {number}"
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{split_list}: cannot be read: {problem}") from None


def _find_names(files: Iterator[tuple[Path, str]]) -> list[str]:
    """Return what all annotations name, sorted; what cannot be read is reported in its turn."""
    found = set()
    for file, _ in files:
        with suppress(BadEntryError):
            for element in parse_xml(file).findall("object"):
                found.add(object_name(element))
    return sorted(found)


def _samples(
    files: Callable[[], Iterator[tuple[Path, str]]],
    pictures: Path,
    names: tuple[str, ...],
    report: Report,
) -> Iterator[Sample]:
    class_ids = {name: index for index, name in reversed(list(enumerate(names)))}
    for position, (file, place) in enumerate(files(), 1):
        try:
            root = parse_xml(file)
            size = parse_size(root)
        except BadEntryError as bad:
            where = f"{place}: {file}" if bad.kind == "missing labels" else str(file)
            report(Problem(bad.kind, where, bad.text))
            continue
        image = _picture(pictures, root.findtext("filename") or "", file.stem)
        size = size or picture_size_px(image, str(file), report)
        if size is None:
            continue
        objects, places = _read_objects(root, file, class_ids, report)
        boxes_xyxy_px = np.array([each.box_xyxy_px for each in objects], np.float64).reshape(-1, 4)
        yield Sample(
            image,
            *size,
            boxes_xyxy_px,
            np.array([class_ids[each.name] for each in objects], np.int64),
            np.zeros(len(objects), np.bool_),
            np.array([each.difficult for each in objects], np.bool_),
            areas_px2(boxes_xyxy_px),
            position,
            places,
        )


def _read_objects(
    root: Element, file: Path, class_ids: Mapping[str, int], report: Report
) -> tuple[list[ObjectElement], tuple[str, ...]]:
    objects, places = [], []
    for element in root.findall("object"):
        place = f"{file} line {object_line(element)}"
        try:
            found = parse_object(element)
            if found.name not in class_ids:
                known = ", ".join(list(class_ids)[:10])
                raise BadEntryError("unknown class", f"{found.name!r:.40} is not one of {known}")
        except BadEntryError as bad:
            report(Problem(bad.kind, place, bad.text))
        else:
            objects.append(found)
            places.append(place)
    return objects, tuple(places)


def _picture(folder: Path, file_name: str, stem: str) -> Path:
    """Find an annotation's picture: as it is called there, or as the annotation is called."""
    named = folder / (file_name.strip() or f"{stem}.jpg")
    if named.is_file():
        return named
    others = (folder / f"{stem}{suffix}" for suffix in _SUFFIXES)
    return next((each for each in others if each.is_file()), named)
