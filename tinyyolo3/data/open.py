"""Open a data set, whatever its form."""

import os
from collections.abc import Sequence
from pathlib import Path

from tinyyolo3.darknet.files import PathLike
from tinyyolo3.darknet.names import read_names
from tinyyolo3.data.coco import read_coco
from tinyyolo3.data.darknet import read_darknet_data, read_darknet_list
from tinyyolo3.data.samples import DataSet, Report, raise_problem
from tinyyolo3.data.voc import read_voc
from tinyyolo3.errors import ConfigError, DataError, InputError

#: What can be opened, for messages.
_FORMS = (
    "a Darknet .data file, a list of pictures (.txt), a COCO .json file or a folder of Pascal VOC "
    "annotations"
)


def open_dataset(
    path: PathLike,
    *,
    images: PathLike | None = None,
    split: str = "valid",
    names: PathLike | Sequence[str] | None = None,
    report: Report = raise_problem,
) -> DataSet:
    """Open a labelled data set; what lies at `path` tells its form.

    Args:
        path: a folder of Pascal VOC annotations (`read_voc`), a COCO file ``.json``
            (`read_coco`), a Darknet file ``.data`` (`read_darknet_data`), or a list of pictures
            ``.txt`` (`read_darknet_list`), which also needs `names`.
        images: the pictures' folder, for COCO and Pascal VOC.
        split: "train" or "valid", for ``.data`` files and Pascal VOC.
        names: a file of classes, a line each, or the classes; COCO files have their own.
        report: is told of each problem; the default raises the first (`tinyyolo3.data.samples`).

    Raises:
        DataError: nothing of these is there, or it cannot be read.
        InputError: an argument is of the wrong type, or the form has no use for it.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"expected the path of a data set, not {path!r}")
    place = Path(path)
    classes = _read_classes(names)
    suffix = place.suffix.lower()
    try:
        is_folder, exists = place.is_dir(), place.exists()
    except (OSError, ValueError) as problem:
        raise DataError(f"{place}: cannot be read: {problem}") from None
    if not exists:
        raise DataError(f"{place}: no such file or folder (expected {_FORMS})")
    if is_folder:
        return read_voc(place, images=images, split=split, names=classes, report=report)
    if suffix == ".json":
        if classes is not None:
            raise InputError(f"{place}: a COCO file names its own classes, names= is not for it")
        return read_coco(place, images=images, report=report)
    if images is not None and suffix in (".data", ".txt"):
        raise InputError(f"{place}: a list of pictures says where they are, images= is not for it")
    if suffix == ".data":
        return read_darknet_data(place, split=split, names=classes, report=report)
    if suffix == ".txt":
        if classes is None:
            raise DataError(f"{place}: a list of pictures needs names: a .names file")
        return read_darknet_list(place, names=classes, report=report)
    raise DataError(f"{place}: expected {_FORMS}")


def _read_classes(names: PathLike | Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, str | os.PathLike):
        if not isinstance(names, Sequence) or not names:
            raise InputError(f"names must be a path or a list of classes, not {names!r}")
        return tuple(names)
    try:
        return read_names(names)
    except ConfigError as problem:
        raise DataError(str(problem)) from None
