"""The log of a detection run: what makes it resumable.

A text file of JSON lines. The first says what was run: settings, model, data set. Each further line
is one picture's detections, in the set's order. A run that is interrupted leaves it as it is, and
the same run goes on after the last whole line; another run is refused.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.atomic import output_errors
from tinyyolo3.errors import DataError, OutputError

#: The first member of the first line, and the version of the format.
FORMAT = "tinyyolo3 detections 1"


@dataclass(frozen=True, eq=False)
class PictureFound:
    """What a detector found in one picture, as the log holds it.

    Attributes:
        image_id: the picture's `Sample.image_id`.
        width: the picture's, in pixels.
        height: likewise.
        boxes_xyxy_px: (N, 4) float64, to a thousandth of a pixel: left, top, right, bottom, which
            may lie beyond the picture's borders.
        scores: (N,) float64, confidences, to a millionth.
        classes: (N,) int64, positions in the model's names.
    """

    image_id: int
    width: int
    height: int
    boxes_xyxy_px: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]


@contextmanager
def open_log(
    path: Path, about: Mapping[str, Any]
) -> Iterator[tuple[list[int], Callable[[PictureFound], None]]]:
    """Begin a log, or go on with one; it keeps what it has however the block ends.

    Args:
        path: the file; its last line may be half written.
        about: settings, model and data set, as JSON has them.

    Yields:
        The ids of the pictures that are done, in order, and the function that appends one.

    Raises:
        DataError: the file is no log, is damaged, or is of another run.
        OutputError: it cannot be written.
    """
    done = _resume(path, about) if path.exists() else []
    with output_errors(path):
        file = open(path, "ab", buffering=0)  # noqa: SIM115 (closed below; its errors are named)
    try:
        if file.tell() == 0:
            _append(file, path, {"format": FORMAT, **about})

        def append(found: PictureFound) -> None:
            _append(
                file,
                path,
                {
                    "image_id": found.image_id,
                    "width": found.width,
                    "height": found.height,
                    "boxes": found.boxes_xyxy_px.tolist(),
                    "scores": found.scores.tolist(),
                    "classes": found.classes.tolist(),
                },
            )

        yield done, append
    finally:
        file.close()


def read_log(path: Path) -> Iterator[PictureFound]:
    """Yield what the log holds, picture by picture.

    Raises:
        DataError: the file cannot be read, is no log, or is damaged.
    """
    for _, entry in islice(_whole_lines(path), 1, None):
        yield PictureFound(
            image_id=entry["image_id"],
            width=entry["width"],
            height=entry["height"],
            boxes_xyxy_px=np.array(entry["boxes"], np.float64).reshape(-1, 4),
            scores=np.array(entry["scores"], np.float64),
            classes=np.array(entry["classes"], np.int64),
        )


def _append(file: IO[bytes], path: Path, entry: Mapping[str, Any]) -> None:
    """Write a line in one go: unbuffered, so that what fails once is not tried again at the end."""
    try:
        data = json.dumps(entry, allow_nan=False).encode() + b"\n"
    except ValueError:
        raise OutputError(
            f"{path}: JSON has no infinite numbers, and a box found in picture "
            f"{entry['image_id']} is not finite"
        ) from None
    with output_errors(path):
        while data:
            data = data[file.write(data) :]


def _resume(path: Path, about: Mapping[str, Any]) -> list[int]:
    """Check a log's first line, drop a half-written last one, and return the pictures' ids."""
    whole_bytes, done = 0, []
    for number, (end, entry) in enumerate(_whole_lines(path)):
        whole_bytes = end
        if number == 0:
            _check_same_run(path, entry, about)
        else:
            done.append(int(entry["image_id"]))
    with output_errors(path), open(path, "r+b") as file:
        file.truncate(whole_bytes)
    return done


def _check_same_run(path: Path, head: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    before = {name: value for name, value in head.items() if name != "format"}
    now = json.loads(json.dumps(about))
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            raise DataError(
                f"{path}: was begun with {name}={before.get(name)!r}, not {now.get(name)!r}; "
                "remove it to begin anew, or write to another folder"
            )


def _whole_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield where each line ends, and what it holds; not a last line without its line break."""
    try:
        with open(path, "rb") as file:
            end = 0
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield end, _parse_line(path, number, line)
    except OSError as problem:
        raise DataError(f"{path}: cannot be read: {problem.strerror or problem}") from None


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    wanted = {"format"} if number == 1 else {"image_id", "width", "height", "boxes", "scores"}
    if not isinstance(entry, dict) or not wanted <= entry.keys():
        raise DataError(
            f"{path} line {number}: expected {'the head' if number == 1 else 'a picture'} of a log "
            f"of detections, found {line[:40]!r}; remove the file to begin anew"
        )
    if number == 1 and entry["format"] != FORMAT:
        raise DataError(f"{path} line 1: expected {FORMAT!r}, found {entry['format']!r:.60}")
    return entry
