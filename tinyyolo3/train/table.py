"""Tables of numbers as CSV files that grow by a row at a time and can be gone on with.

A run that was killed may have written rows after its last checkpoint, the last of them in part.
Going on from the checkpoint, these are cut: the iterations come again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from tinyyolo3.atomic import output_errors, whole_file
from tinyyolo3.darknet.files import read_text
from tinyyolo3.errors import DataError

#: One row: a number for each column, the first being the iteration's.
Row: TypeAlias = tuple[float, ...]


@contextmanager
def open_table(
    path: Path, columns: Sequence[str], *, iteration: int
) -> Iterator[Callable[[Row], None]]:
    """Begin a table, or go on with one behind an iteration's row.

    Args:
        path: the file.
        columns: their names; the first counts iterations.
        iteration: rows of later iterations are cut.

    Yields:
        The function that appends a row, at once for all to read.

    Raises:
        DataError: what is there is another file.
        OutputError: it cannot be written.
    """
    rows = [row for row in read_table(path, columns) if row[0] <= iteration]
    with whole_file(path) as file, output_errors(path):
        lines = [",".join(columns), *map(_line, rows)]
        file.write("".join(f"{line}\n" for line in lines).encode())
    with output_errors(path):
        appended = open(path, "ab", buffering=0)  # noqa: SIM115 (its errors are told apart)
    with appended:

        def append(row: Row) -> None:
            with output_errors(path):
                appended.write(f"{_line(row)}\n".encode())

        yield append


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return a table's whole rows; none where there is no file.

    Raises:
        DataError: it cannot be read, or is another file.
    """
    if not path.exists():
        return []
    first, *lines = read_text(path, "a table", DataError).split("\n")
    if first != ",".join(columns):
        raise DataError(f"{path}: expected the columns {','.join(columns)}, found {first[:80]!r}")
    rows = []
    # What follows the last line's end was not written whole.
    for number, line in enumerate(lines[:-1], 2):
        try:
            row = tuple(map(float, line.split(",")))
        except ValueError:
            row = ()
        if len(row) != len(columns):
            raise DataError(f"{path} line {number}: expected {len(columns)} numbers")
        rows.append(row)
    return rows


def _line(row: Row) -> str:
    """Return a row as text: as few digits as give the same numbers again."""
    return ",".join(repr(float(value)).removesuffix(".0") for value in row)
