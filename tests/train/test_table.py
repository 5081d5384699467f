"""CSV tables that grow row by row: cut where a checkpoint says, whole rows only."""

from pathlib import Path

import pytest

from tinyyolo3.errors import DataError, OutputError
from tinyyolo3.train.table import open_table, read_table

COLUMNS = ("iteration", "loss")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    place = tmp_path / "log.csv"
    with open_table(place, COLUMNS, iteration=0) as append:
        for iteration in (1, 2, 3):
            append((iteration, 1 / iteration))
    return place


def test_rows_are_there_as_soon_as_they_are_appended(tmp_path: Path) -> None:
    place = tmp_path / "log.csv"
    with open_table(place, COLUMNS, iteration=0) as append:
        append((1, 219.257263184))
        assert place.read_text() == "iteration,loss\n1,219.257263184\n"


def test_going_on_cuts_later_rows(table: Path) -> None:
    with open_table(table, COLUMNS, iteration=2) as append:
        append((3, 7.0))
    assert read_table(table, COLUMNS) == [(1, 1), (2, 0.5), (3, 7)]


def test_half_a_row_is_cut(table: Path) -> None:
    table.write_bytes(table.read_bytes() + b"4,0.2")
    with open_table(table, COLUMNS, iteration=9):
        pass
    assert len(read_table(table, COLUMNS)) == 3
    assert table.read_text().endswith("\n")


def test_a_number_may_be_none(table: Path) -> None:
    with open_table(table, COLUMNS, iteration=0) as append:
        append((1, float("nan")))
    assert str(read_table(table, COLUMNS)) == "[(1.0, nan)]"


def test_another_file_is_refused_and_stays(table: Path) -> None:
    for content, message in (
        ("a,b\n1,2\n", "expected the columns iteration,loss, found 'a,b'"),
        ("iteration,loss\n1,2,3\n", "log.csv line 2: expected 2 numbers"),
        ("iteration,loss\n1,x\n", "log.csv line 2: expected 2 numbers"),
    ):
        table.write_text(content)
        with (
            pytest.raises(DataError, match=message),
            open_table(table, COLUMNS, iteration=5),
        ):
            pass
        assert table.read_text() == content


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot be written"),
        open_table(tmp_path / "none" / "log.csv", COLUMNS, iteration=0),
    ):
        pass
