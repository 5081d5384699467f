"""Write data sets in the three forms, a picture at a time.

All forms hold pictures, classes and boxes; what only some can hold is lost in the others: COCO
alone knows crowds, areas and ids of pictures, COCO and Pascal VOC difficult objects. A box comes
back to within 1e-6 px. What is written appears whole or not at all.
"""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tinyyolo3.atomic import output_errors, whole_file, whole_folder
from tinyyolo3.darknet.files import PathLike
from tinyyolo3.data.darknet import UNIT_SLACK
from tinyyolo3.data.pictures import Placing, place_picture
from tinyyolo3.data.samples import DataSet, Sample
from tinyyolo3.data.voc import NAMES_FILE
from tinyyolo3.errors import DataError

#: What XML 1.0 cannot hold at all, not even escaped (its section 2.2).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_darknet(
    dataset: DataSet, folder: PathLike, *, split: str = "valid", placing: Placing = "link"
) -> Path:
    """Write a data set as Darknet reads it.

    The folder gets ``images`` and ``labels``, the list of pictures ``<split>.txt``,
    ``classes.names`` and ``dataset.data``, which names them. The paths in it are relative: Darknet
    itself is to be started in the folder.

    Args:
        dataset: what to write; crowds and difficult objects become boxes like others.
        folder: a new or empty folder.
        split: "train" or "valid".
        placing: link the pictures or copy them.

    Returns:
        The ``.data`` file.

    Raises:
        DataError: the set cannot be read, or the form cannot hold a name or a box: one whose
            centre is outside of its picture, or that is larger.
        OutputError: the folder is not new or empty, or cannot be written.
    """
    place = Path(folder)
    _require_lines(dataset.names)
    with whole_folder(place) as new, output_errors(place):
        images, labels = new / "images", new / "labels"
        images.mkdir()
        labels.mkdir()
        with open(new / f"{split}.txt", "w", encoding="utf-8") as pictures:
            for sample in dataset:
                stem = _free_stem(labels, sample, ".txt")
                name = stem + _plain(sample.image.suffix)
                _write_text(labels / f"{stem}.txt", _label_lines(sample))
                place_picture(sample.image, images / name, placing)
                pictures.write(f"images/{name}\n")
        _write_text(new / NAMES_FILE, dataset.names)
        options = (
            f"classes = {len(dataset.names)}",
            f"{split} = {split}.txt",
            f"names = {NAMES_FILE}",
        )
        _write_text(new / "dataset.data", options)
    return place / "dataset.data"


def write_coco(dataset: DataSet, file: PathLike, *, images: PathLike | None = None) -> Path:
    """Write a data set as a COCO instances file.

    Pictures and categories keep their ids; annotations are counted from 1. Difficult objects get
    ``"ignore": 1``, as other converters from Pascal VOC write it; pycocotools takes no notice.

    Args:
        dataset: what to write.
        file: the JSON file.
        images: the folder that ``file_name`` is relative to, by default the file's own; pictures
            elsewhere are named by their absolute paths.

    Returns:
        The file.

    Raises:
        DataError: the set cannot be read.
        OutputError: the file cannot be written.
    """
    place = Path(file)
    folder = Path(images) if images is not None else place.parent
    categories = [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in zip(dataset.category_ids, dataset.names, strict=True)
    ]
    # The annotations follow the pictures, but one pass over the set gives both.
    with whole_file(place) as output, output_errors(place), TemporaryFile() as annotations:
        output.write(b'{"info": {}, "images": [')
        count = 0
        for index, sample in enumerate(dataset):
            _write_entry(output, index, _coco_image(sample, folder.absolute()))
            for row in range(len(sample.classes)):
                entry = _coco_annotation(sample, row, dataset.category_ids, count + 1)
                _write_entry(annotations, count, entry)
                count += 1
        output.write(b'\n], "annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, output)
        output.write(b'\n], "categories": ' + json.dumps(categories).encode() + b"}\n")
    return place


def write_voc(
    dataset: DataSet, folder: PathLike, *, split: str = "val", placing: Placing = "link"
) -> Path:
    """Write a data set as Pascal VOC's: ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``.

    VOC has no list of classes; ``classes.names`` is added to keep their order.

    Args:
        dataset: what to write; crowds become boxes like others.
        folder: a new or empty folder.
        split: "train", "val", or any other name of the list.
        placing: link the pictures or copy them.

    Returns:
        The folder.

    Raises:
        DataError: the set cannot be read, or XML cannot hold a name.
        OutputError: the folder is not new or empty, or cannot be written.
    """
    place = Path(folder)
    _require_lines(dataset.names)
    if len(set(dataset.names)) < len(dataset.names):
        raise DataError(f"{dataset.source}: two classes have the same name, which VOC cannot hold")
    with whole_folder(place) as new, output_errors(place):
        annotations, images, lists = new / "Annotations", new / "JPEGImages", new / "ImageSets/Main"
        for each in (annotations, images, lists):
            each.mkdir(parents=True)
        with open(lists / f"{split}.txt", "w", encoding="utf-8") as stems:
            for sample in dataset:
                stem = _free_stem(annotations, sample, ".xml")
                name = stem + _plain(sample.image.suffix)
                root = _voc_annotation(sample, name, dataset.names)
                (annotations / f"{stem}.xml").write_bytes(tostring(root, "utf-8") + b"\n")
                place_picture(sample.image, images / name, placing)
                stems.write(f"{stem}\n")
        _write_text(new / NAMES_FILE, dataset.names)
    return place


def _write_text(file: Path, lines: Sequence[str]) -> None:
    with open(file, "w", encoding="utf-8", newline="\n") as output:
        output.writelines(f"{line}\n" for line in lines)


def _require_lines(names: Sequence[str]) -> None:
    for name in names:
        if not name or name != name.strip() or len(name.splitlines()) != 1 or _NOT_XML.search(name):
            raise DataError(f"the class name {name!r:.60} cannot be written as a line of text")


def _free_stem(folder: Path, sample: Sample, suffix: str) -> str:
    """Return the picture's name without suffix, or with its id where another one has it."""
    stem = _plain(sample.image.stem)
    for candidate in (stem, f"{stem}_{sample.image_id}"):
        if not (folder / (candidate + suffix)).exists():
            return candidate
    raise DataError(f"{sample.image}: another picture is called {stem}_{sample.image_id}")


def _plain(name: str) -> str:
    """Replace what lists cannot hold: spaces, at which VOC's are split, and what is no text."""
    return _NOT_XML.sub("_", re.sub(r"\s", "_", name))


def _label_lines(sample: Sample) -> list[str]:
    """Return ``class cx cy w h``, in 12 digits: 1e-6 px of a million."""
    sides = (sample.width, sample.height)
    lines = []
    rows = zip(sample.classes.tolist(), sample.boxes_xyxy_px, sample.places, strict=True)
    for class_id, box_xyxy_px, place in rows:
        centre_unit = (box_xyxy_px[:2] + box_xyxy_px[2:]) / 2 / sides
        size_unit = (box_xyxy_px[2:] - box_xyxy_px[:2]) / sides
        inside = (centre_unit >= -UNIT_SLACK) & (centre_unit <= 1 + UNIT_SLACK)
        if not (inside.all() and (size_unit <= 1 + UNIT_SLACK).all()):
            raise DataError(
                f"{place}: the box {box_xyxy_px.tolist()} reaches so far beyond its picture, "
                f"{sides[0]}×{sides[1]}, that YOLO labels cannot hold it"
            )
        numbers = " ".join(f"{value:.12g}" for value in (*centre_unit, *size_unit))
        lines.append(f"{class_id} {numbers}")
    return lines


def _write_entry(file: IO[bytes], index: int, entry: dict[str, object]) -> None:
    file.write(b",\n" if index else b"\n")
    file.write(json.dumps(entry, allow_nan=False).encode())


def _coco_image(sample: Sample, folder: Path) -> dict[str, object]:
    image = sample.image.absolute()
    name = image.relative_to(folder) if image.is_relative_to(folder) else image
    return {
        "id": sample.image_id,
        "file_name": name.as_posix(),
        "width": sample.width,
        "height": sample.height,
    }


def _coco_annotation(
    sample: Sample, row: int, category_ids: Sequence[int], number: int
) -> dict[str, object]:
    left, top, right, bottom = sample.boxes_xyxy_px[row].tolist()
    entry: dict[str, object] = {
        "id": number,
        "image_id": sample.image_id,
        "category_id": category_ids[sample.classes[row]],
        "bbox": [left, top, right - left, bottom - top],
        "area": float(sample.areas_px2[row]),
        "iscrowd": int(sample.crowds[row]),
        "segmentation": [],
    }
    if sample.difficults[row]:
        entry["ignore"] = 1
    return entry


def _voc_annotation(sample: Sample, file_name: str, names: Sequence[str]) -> Element:
    root = Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", file_name)
    size = SubElement(root, "size")
    for name, value in (("width", sample.width), ("height", sample.height), ("depth", 3)):
        _add(size, name, str(value))
    for row, class_id in enumerate(sample.classes.tolist()):
        element = SubElement(root, "object")
        _add(element, "name", names[class_id])
        _add(element, "difficult", str(int(sample.difficults[row])))
        box = SubElement(element, "bndbox")
        left, top, right, bottom = sample.boxes_xyxy_px[row].tolist()
        # Pixels are counted from 1, and the last one belongs to the box. One without area must not
        # come back with a negative size from rounding.
        xmin, ymin = left + 1, top + 1
        xmax, ymax = max(right, xmin - 1), max(bottom, ymin - 1)
        corners = (("xmin", xmin), ("ymin", ymin), ("xmax", xmax), ("ymax", ymax))
        for name, value in corners:
            _add(box, name, str(int(value)) if value.is_integer() else repr(value))
    indent(root)
    return root


def _add(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = text
