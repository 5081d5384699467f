"""What small files of labels have in common: they are read whole, and hold numbers as text."""

import math
import os
from pathlib import Path

from tinyyolo3.darknet.files import MAX_TEXT_BYTES
from tinyyolo3.data.samples import BadEntryError

#: No picture is larger, and the area of no box too large for a float.
MAX_PX = 2.0**31


def read_label_file(file: Path) -> bytes:
    """Return the bytes of one picture's labels.

    Raises:
        BadEntryError: the file is missing, cannot be read, or is absurdly large.
    """
    try:
        with open(file, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_TEXT_BYTES:
                text = (
                    f"expected labels, found {size:,} bytes (at most {MAX_TEXT_BYTES:,} are read)"
                )
                raise BadEntryError("malformed", text)
            return stream.read()
    except FileNotFoundError:
        raise BadEntryError("missing labels", "no such file") from None
    except OSError as problem:
        raise BadEntryError("malformed", f"cannot be read: {problem.strerror}") from None


def parse_number(name: str, text: str) -> float:
    """Return the finite number that a text is.

    Raises:
        BadEntryError: it is none.
    """
    try:
        # Python's own "1_000" and digits of other scripts are none to other programs.
        value = float(text if text.isascii() and "_" not in text else "?")
    except ValueError:
        raise BadEntryError("malformed", f"{name}: expected a number, found {text:.40}") from None
    if not math.isfinite(value):
        raise BadEntryError("bad box", f"{name}={text:.40} is not finite")
    return value
