"""Source lines in what the run time of ``kernels/host`` says.

It marks a place in the source as ``{file:line}`` and an instruction's return address as
``{pc 0x...}``. Here both become the line's number and its text. Addresses are looked up with
binutils' addr2line; where that is missing they stay what they are.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tinyyolo3.cuda.sources import HOST, LANDMARK, Source, kernel_folder

_MARK = re.compile(r"\{(?:pc (0x[0-9a-f]+)|([^{}]+):(\d+))\}")


def with_source_lines(message: str, library: Path, base: int, source: Source) -> str:
    """Return a message of the run time with source lines instead of its marks.

    Args:
        message: what the run time says.
        library: the file with the kernel, built with debug information.
        base: the address at which it is loaded.
        source: the kernel's.
    """

    def line(mark: re.Match[str]) -> str:
        if mark[1] is None:
            return _quote(mark[2], int(mark[3]), source)
        # A return address is that of the next instruction, which may belong to another line.
        return _line_at(library, int(mark[1], 16) - base - 1, source)

    return _MARK.sub(line, message)


def _line_at(library: Path, offset: int, source: Source) -> str:
    """Return the line of the instruction at `offset`, and, if that is in a header, who called it.

    The vocabulary's own lines, such as those of an atomic, are not meant.
    """
    tool = shutil.which("addr2line")
    if tool is None:
        return f"offset {offset:#x} (binutils' addr2line would tell the line)"
    command = [tool, "-i", "-e", str(library), hex(offset)]
    answer = subprocess.run(command, capture_output=True, text=True, errors="replace").stdout
    vocabulary = (str(kernel_folder() / HOST), str(kernel_folder() / LANDMARK))
    places = [place for place in _places(answer) if not place[0].startswith(vocabulary)]
    if not places:
        return f"offset {offset:#x}"
    callers = [place for place in places if place[0].endswith(source.name)][:1]
    lines = dict.fromkeys([places[0], *callers])
    return ", from ".join(_quote(*place, source) for place in lines)


def _places(answer: str) -> Iterator[tuple[str, int]]:
    """Yield file and line of an instruction and of the calls that it was inlined from."""
    for line in answer.splitlines():
        file, _, number = line.partition(" (")[0].rpartition(":")
        if number.isdigit() and int(number) and file != "??":
            yield file, int(number)


def _quote(file: str, number: int, source: Source) -> str:
    """Return ``file:line `text```."""
    if file.endswith(source.name):  # compilers put a text without a file into their own folder
        file, text = source.name, source.text
    else:
        text = Path(file).read_text(errors="replace") if Path(file).is_file() else ""
    lines = text.splitlines()
    quoted = f" `{lines[number - 1].strip()}`" if 0 < number <= len(lines) else ""
    return f"{Path(file).name}:{number}{quoted}"
