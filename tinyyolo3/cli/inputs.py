"""From the arguments of `detect` to a list of pictures: files, folders, patterns, standard input.

Only the paths are gathered, a hundred bytes each; the pictures are opened one by one, later.
"""

import glob
import os
import sys
from collections.abc import Iterator, Sequence

from tinyyolo3.errors import ImageError

#: What counts as a picture inside a folder. A file given by name may be called anything.
PICTURE_SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)


def list_pictures(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the pictures that the arguments name, in their order, and what is wrong with them.

    Args:
        arguments: each is a file; a folder, for all pictures in it and below it; a pattern such
            as ``day*/*.jpg`` that the shell left alone; or ``-`` for paths on standard input, one
            a line. A file or folder that exists under a pattern's very name is meant itself.

    Returns:
        The paths, and one message for each argument that names nothing. A file that does not
        exist is among the paths: opening it tells.
    """
    paths: list[str] = []
    problems: list[str] = []
    for argument in arguments:
        try:
            paths += _expand(argument)
        except ImageError as problem:
            problems.append(str(problem))
    return paths, problems


def _expand(argument: str) -> list[str]:
    if argument == "-":
        return list(_paths_from_stdin())
    if os.path.isdir(argument):
        return _pictures_below(argument)
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return [argument]
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise ImageError(f"{argument}: no file matches this pattern")
    if "**" in argument:  # it has gone into the folders itself
        return [match for match in matches if not os.path.isdir(match)]
    return [path for match in matches for path in _expand_match(match)]


def _expand_match(match: str) -> list[str]:
    return _pictures_below(match) if os.path.isdir(match) else [match]


def _pictures_below(folder: str) -> list[str]:
    """Return the pictures of a folder, sorted, then those of its sub-folders; none hidden."""
    found: list[str] = []

    def refuse(problem: OSError) -> None:
        raise ImageError(f"{problem.filename}: cannot be listed: {problem.strerror}")

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(place, name)
            for name in sorted(files)
            if name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")
        ]
    if not found:
        raise ImageError(f"{folder}: there is no picture in this folder")
    return found


def _paths_from_stdin() -> Iterator[str]:
    """Yield the lines of standard input, in whatever encoding file names have here."""
    empty = True
    for line in sys.stdin.buffer if sys.stdin else ():
        path = os.fsdecode(line.rstrip(b"\r\n"))
        if path:
            empty = False
            yield path
    if empty:
        raise ImageError("-: standard input names no picture")
