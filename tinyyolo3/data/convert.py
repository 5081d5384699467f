"""From one form of labelled data to another, and what the new one could not hold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyyolo3.darknet.files import PathLike
from tinyyolo3.data.pictures import Placing
from tinyyolo3.data.samples import DataSet, Form, Sample, areas_px2
from tinyyolo3.data.write import write_coco, write_darknet, write_voc
from tinyyolo3.errors import InputError, OutputError

#: An area that differs by less is the box's own, computed in another order.
_AREA_SLACK = 1e-9


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        place: what opens the new set: a ``.data`` file, a JSON file or a folder.
        pictures: how many.
        boxes: how many.
        not_kept: what the new form cannot hold, in words: "3 crowd flags".
    """

    place: Path
    pictures: int
    boxes: int
    not_kept: tuple[str, ...]


def convert_dataset(
    dataset: DataSet,
    form: Form,
    out: PathLike,
    *,
    images: PathLike | None = None,
    split: str = "valid",
    placing: Placing = "link",
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write a set in another form, or anew in its own. Boxes keep their places to 1e-6 px.

    Args:
        dataset: what to convert, read strictly: the first label that cannot be read ends it.
        form: "darknet", "coco" or "voc".
        out: what there is not yet: a folder, or for COCO a file ``.json``.
        images: of a COCO file, the folder that its ``file_name`` is to be relative to; by default
            the file's own.
        split: "train" or "valid", how the list of pictures is called that Darknet and VOC have.
        placing: link the pictures into the new folder, or copy them. COCO's file names them.
        progress: is told after each picture how many are done, and of how many.

    Raises:
        DataError: the set cannot be read, or the form cannot hold a name or box of it.
        InputError: `out` does not end in ``.json``, for COCO, or `form` is none.
        OutputError: `out` is there already, or cannot be written. Nothing is left behind.
    """
    place = Path(out)
    if form == "coco" and place.suffix.lower() != ".json":
        raise InputError(f"{place}: expected a file to write with the ending .json, for COCO")
    if form == "coco" and place.exists():  # the other forms' writers see to it themselves
        raise OutputError(f"{place}: is there already, and is not written over")
    tally = _Tally()
    watched = replace(dataset, samples=lambda: _watch(dataset, tally, progress))
    if form == "coco":
        written = write_coco(watched, place, images=images)
    elif form == "darknet":
        written = write_darknet(watched, place, split=split, placing=placing)
    elif form == "voc":
        name = "val" if split == "valid" else split
        written = write_voc(watched, place, split=name, placing=placing)
    else:
        raise InputError(f"expected the form darknet, coco or voc, found {form!r}")
    return Conversion(written, tally.pictures, tally.boxes, _not_kept(dataset, form, tally))


@dataclass
class _Tally:
    """Counts of what only some forms can hold."""

    pictures: int = 0
    boxes: int = 0
    crowds: int = 0
    difficults: int = 0
    own_areas: int = 0
    own_ids: int = 0


def _watch(
    dataset: DataSet, tally: _Tally, progress: Callable[[int, int], None] | None
) -> Iterator[Sample]:
    """Yield a set's samples, and count."""
    for sample in dataset:
        yield sample
        tally.pictures += 1
        tally.boxes += len(sample.classes)
        tally.crowds += int(sample.crowds.sum())
        tally.difficults += int(sample.difficults.sum())
        areas = areas_px2(sample.boxes_xyxy_px)
        tally.own_areas += int((~np.isclose(sample.areas_px2, areas, _AREA_SLACK, 0)).sum())
        tally.own_ids += sample.image_id != tally.pictures
        if progress:
            progress(tally.pictures, dataset.count)


def _not_kept(dataset: DataSet, form: Form, tally: _Tally) -> tuple[str, ...]:
    """Say what is lost: COCO holds everything, VOC difficult flags, and Darknet boxes alone."""
    if form == "coco":
        return ()
    counted = [("crowd flag", tally.crowds), ("area", tally.own_areas)]
    if form == "darknet":
        counted.insert(1, ("difficult flag", tally.difficults))
    counted.append(("picture id", tally.own_ids))
    lost = [f"{count:,} {what}{'s' * (count > 1)}" for what, count in counted if count]
    if dataset.category_ids != tuple(range(1, len(dataset.names) + 1)):
        lost.append("category ids")
    return tuple(lost)
