"""Reading small text files and telling what a wrong file is, for all of Darknet's formats."""

import os
from pathlib import Path

from tinyyolo3.errors import InputError, TinyYoloError

#: No cfg, name list or data file of Darknet's comes near this; a model given by mistake does.
MAX_TEXT_BYTES = 16 * 2**20

PathLike = str | os.PathLike[str]


def require_file(path: PathLike, what: str, error: type[TinyYoloError]) -> Path:
    """Return `path` as a `Path` to an existing, non-empty file.

    Args:
        path: where the file should be.
        what: what it should be, for the message: "a Darknet cfg".
        error: the error to raise.

    Raises:
        TinyYoloError: (as `error`) nothing is there, or a directory, or an empty file.
        InputError: `path` is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"expected the path of {what}, not {path!r}")
    place = Path(path)
    try:
        if place.is_dir():
            raise error(f"{place}: expected {what}, found a directory")
        size = place.stat().st_size
        if place.is_file() and size == 0:
            raise error(f"{place}: expected {what}, found an empty file")
    except FileNotFoundError:
        raise error(f"{place}: no such file (expected {what})") from None
    except (OSError, ValueError) as problem:
        raise error(f"{place}: cannot be read: {_reason(problem)}") from None
    if not place.is_file():
        raise error(f"{place}: expected {what}, found something that is not a regular file")
    return place


def read_text(path: PathLike, what: str, error: type[TinyYoloError]) -> str:
    """Return the text of a UTF-8 file (with or without byte-order mark), newlines as ``\\n``.

    Raises:
        TinyYoloError: (as `error`) the file is missing, unreadable, absurdly large, binary or
            not UTF-8; the message says which and where.
    """
    place = require_file(path, what, error)
    size = place.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise error(f"{place}: {size:,} bytes; {what} has at most {MAX_TEXT_BYTES:,}")
    try:
        data = place.read_bytes()
    except OSError as problem:
        raise error(f"{place}: cannot be read: {_reason(problem)}") from None
    if b"\0" in data:
        raise error(
            f"{place}: expected {what}, found a binary file (byte {data.index(0)} is zero); "
            "are the arguments in the right order?"
        )
    disguise = wrong_kind_of_text(data)
    if disguise:
        raise error(f"{place}: expected {what}, found {disguise}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise error(f"{place}:{line} is not UTF-8: byte 0x{data[problem.start]:02x}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def wrong_kind_of_text(head: bytes) -> str | None:
    """Name the usual impostors that a failed download leaves behind; None if it is neither."""
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page (the download gave HTML instead of the file)"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (fetch the file itself with 'git lfs pull')"
    return None


def _reason(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)
