"""What verbs write: JSON, and drawn pictures; each appears whole or not at all.

Everything is opened before the first picture is looked at, so that a mistyped folder does not cost
an hour of detection.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import IO, TYPE_CHECKING, Any

from tinyyolo3.atomic import output_errors, whole_file
from tinyyolo3.errors import OutputError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Formats that hold a picture whole, in colour, at its size; of those, what this Pillow can write
#: keeps its suffix and all else becomes PNG.
_KEPT_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".png"}
    | {".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
#: Chroma at full resolution: thin coloured lines would bleed otherwise.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 90},
}


def check_chart(path: str) -> None:
    """See that a chart can be drawn and written, before a million pictures are looked at.

    Raises:
        OutputError: matplotlib is missing, or there is no folder for the file.
    """
    from tinyyolo3.charts import require_matplotlib

    require_matplotlib(path)
    with output_errors(path):
        Path(path).absolute().parent.stat()


@contextmanager
def json_array(target: str) -> Iterator[Callable[[object], None]]:
    """Open a JSON array and give the function that appends an element to it.

    Elements are written as they come, a line each, so that memory does not grow with them.

    Args:
        target: a file, or ``-`` for standard output.

    Raises:
        OutputError: the file cannot be written.
    """
    name = _name(target)
    with _open_target(target) as stream:
        separator = b"[\n"

        def append(element: object) -> None:
            nonlocal separator
            with output_errors(name):
                stream.write(separator + _encode(element))
                separator = b",\n"
                if target == "-":  # who reads the other end need not wait for the buffer
                    stream.flush()

        yield append
        with output_errors(name):
            stream.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


@contextmanager
def json_value(target: str) -> Iterator[Callable[[object], None]]:
    """Open a place for a JSON value and give the function that writes it, on one line.

    Args:
        target: a file, or ``-`` for standard output.

    Raises:
        OutputError: the file cannot be written.
    """
    with _open_target(target) as stream:

        def write(value: object) -> None:
            with output_errors(_name(target)):
                stream.write(_encode(value) + b"\n")

        yield write


def _name(target: str) -> str:
    return "standard output" if target == "-" else target


@contextmanager
def _open_target(target: str) -> Iterator[IO[bytes]]:
    if target == "-":
        if sys.stdout is None:
            raise OutputError("standard output: cannot be written: it is closed")
        yield sys.stdout.buffer
        return
    place = Path(os.path.realpath(target))  # a link stays, and what it points to is replaced
    if place.exists() and not place.is_file():
        # A device or a pipe is written to: renaming a file over /dev/null would do harm.
        with output_errors(target):
            stream = open(place, "wb")  # noqa: SIM115 (its errors are told apart from the block's)
        try:
            yield stream
        finally:
            with output_errors(target):
                stream.close()
        return
    with whole_file(place) as file:
        yield file


def _encode(element: object) -> bytes:
    try:
        text = json.dumps(element, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise OutputError(
            "JSON has no infinite numbers, and a box has infinite corners; "
            "--clip cuts it at the picture's borders"
        ) from None
    # A file name that is no UTF-8 keeps its bytes as lone surrogates, which JSON can escape.
    return text.encode("utf-8", "backslashreplace")


def plan_drawings(folder: str, sources: Sequence[str]) -> list[Path]:
    """Make the folder and choose a file in it for each source's drawing.

    A drawing has its source's name; where two sources share one, the later is numbered:
    ``dog.jpg``, ``dog-2.jpg``. Names that differ in case alone count as one, as on many disks.

    Raises:
        OutputError: the folder cannot be made or written in, or a drawing would overwrite one of
            the sources.
    """
    place = Path(folder)
    with output_errors(folder):
        place.mkdir(parents=True, exist_ok=True)
        probe = place / f".tinyyolo3-{token_hex(8)}.part"
        probe.touch()
        probe.unlink()
    originals = {_identity(source) for source in sources} - {None}
    taken: set[str] = set()
    last_number: dict[str, int] = {}
    plan = []
    for source in sources:
        stem = os.path.splitext(os.path.basename(source))[0] or "picture"
        suffix = _drawing_suffix(source)
        chosen = first_choice = stem + suffix
        while chosen.casefold() in taken:
            number = last_number.get(first_choice.casefold(), 1) + 1
            last_number[first_choice.casefold()] = number
            chosen = f"{stem}-{number}{suffix}"
        taken.add(chosen.casefold())
        if _identity(place / chosen) in originals:
            raise OutputError(
                f"{place / chosen}: the drawing would overwrite this picture; "
                "choose another folder for --out"
            )
        plan.append(place / chosen)
    return plan


def save_drawing(drawing: "Image", place: Path) -> None:
    """Write a drawing in the format that its file's suffix names.

    Raises:
        OutputError: it cannot be written.
    """
    from PIL import Image

    kind = Image.registered_extensions()[place.suffix.lower()]
    with whole_file(place) as file, output_errors(place):
        try:
            drawing.save(file, kind, **_SAVE_OPTIONS.get(kind, {}))
        except ValueError as problem:  # Pillow's encoders: a side too long for the format
            raise OutputError(f"{place}: cannot be written as {kind}: {problem}") from None


def _drawing_suffix(source: str) -> str:
    from PIL import Image

    suffix = os.path.splitext(source)[1]
    kind = Image.registered_extensions().get(suffix.lower())
    return suffix if suffix.lower() in _KEPT_SUFFIXES and kind in Image.SAVE else ".png"


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Return what tells a file from every other; None if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # missing; a NUL in the name
        return None
    return found.st_dev, found.st_ino
