"""Files and folders that appear whole or not at all.

A file is written under a hidden name beside its place and renamed when it is complete
(POSIX rename(2) is atomic); whatever ends the writing early, nothing is left behind.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

from tinyyolo3.errors import OutputError


@contextmanager
def whole_file(place: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its place when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: it cannot be created, completed or renamed.
    """
    temporary = place.with_name(f".tinyyolo3-{token_hex(8)}.part")
    with output_errors(place):
        file = open(temporary, "xb")  # noqa: SIM115 (its errors are told apart from the block's)
    try:
        try:
            yield file
        finally:
            with output_errors(place):
                file.close()
        with output_errors(place):
            os.replace(temporary, place)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """Make a folder that takes its place when the block ends well, and vanishes otherwise.

    Yields:
        Where to write meanwhile: a folder beside `place`.

    Raises:
        OutputError: `place` is there already and not an empty folder, or the folder cannot be
            made or renamed.
    """
    with output_errors(place):
        if place.exists() and not (place.is_dir() and not any(place.iterdir())):
            raise OutputError(f"{place}: is there already; a new or empty folder is expected")
        temporary = place.absolute().with_name(f".tinyyolo3-{token_hex(8)}.part")
        temporary.mkdir()
    try:
        yield temporary
        with output_errors(place):
            if place.is_dir():  # else Windows would refuse
                place.rmdir()
            temporary.rename(place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def output_errors(place: object) -> Iterator[None]:
    """Turn the system's errors in the block into an `OutputError` that names `place`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise OutputError(f"{place}: cannot be written: {problem.strerror or problem}") from None
