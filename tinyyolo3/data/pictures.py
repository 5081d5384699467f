"""The files of pictures: their sizes, and their places in a new data set."""

import os
import shutil
from pathlib import Path
from typing import Literal, TypeAlias

from tinyyolo3.atomic import output_errors
from tinyyolo3.data.samples import Problem, Report
from tinyyolo3.errors import DataError, ImageError
from tinyyolo3.image.files import read_image_size

#: How a new data set gets its pictures: symbolic links to where they are, or copies.
Placing: TypeAlias = Literal["link", "copy"]


def picture_size_px(image: Path, place: str, report: Report) -> tuple[int, int] | None:
    """Return a picture's width and height, turned upright as it is read; None after a report.

    Args:
        image: the file, of which only the header is read.
        place: where the data set speaks of it, for the report.
        report: is told of a picture that is missing or cannot be read.
    """
    try:
        return read_image_size(image)
    except ImageError as problem:
        kind: Literal["missing image", "unreadable image"] = (
            "unreadable image" if image.exists() else "missing image"
        )
        report(Problem(kind, place, str(problem)))
        return None


def place_picture(image: Path, target: Path, placing: Placing) -> None:
    """Put a picture into a new data set.

    Raises:
        DataError: it is not there.
        OutputError: it cannot be linked or copied.
    """
    if not image.is_file():
        raise DataError(f"{image}: no such picture, which the new data set needs")
    with output_errors(target):
        if placing == "copy":
            shutil.copyfile(image, target)
        else:
            os.symlink(image.absolute(), target)
