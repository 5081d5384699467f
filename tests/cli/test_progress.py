"""The progress bar: text that is right, on a terminal only, gone when it is done."""

import io
import sys

import pytest

from tinyyolo3.cli import main, progress
from tinyyolo3.cli.progress import FEWEST, Progress, describe_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "total", "seconds", "expected"),
    [
        (0, 8, 0.0, "[------------------------] 0/8"),
        (2, 8, 4.0, "[######------------------] 2/8  0.5 pictures/s  0:12 left"),
        (8, 8, 1.0, "[########################] 8/8  8.0 pictures/s  0:00 left"),
        (1, 101, 1.5, "[------------------------] 1/101  0.7 pictures/s  2:30 left"),
    ],
)
def test_text(done, total, seconds, expected):
    assert describe_progress(done, total, seconds) == expected


def test_speed_is_that_of_this_run_alone():
    bar = "[############------------] 4/8  0.5 pictures/s  0:08 left"
    assert describe_progress(4, 8, 4.0, before=2) == bar
    assert describe_progress(4, 8, 4.0, before=4) == "[############------------] 4/8"


def test_what_else_is_said_stands_behind_the_bar_and_pictures_are_counted():
    found = describe_progress(4, 8, 4.0, before=2, pictures=6, note="loss 3")
    assert found == "[############------------] 4/8  3.0 pictures/s  0:08 left  loss 3"


def test_bar_is_cleared_at_the_end(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(FEWEST) as bar:
        bar.show(1)
    assert "1/5" in sys.stderr.getvalue()
    assert sys.stderr.getvalue().endswith("\r\x1b[K")


def test_bar_stays_on_one_line_of_a_narrow_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "20")
    Progress(FEWEST).show(1)
    assert sys.stderr.getvalue() == "\r[------------------\x1b[K".replace(
        "[-", "[####-", 1
    ).replace("-" * 18, "-" * 14)


def test_bar_is_drawn_now_and_then_however_often_it_is_shown(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    bar = Progress(1000)
    for done in range(1000):
        clock[0] = done / 1000
        bar.show(done)
    drawn = sys.stderr.getvalue().count("\r")
    assert 2 < drawn <= 1 / progress.INTERVAL_S
    bar.clear()
    bar.show(1000)  # at once: something was printed where the bar was
    assert sys.stderr.getvalue().count("\r") == drawn + 2


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_no_bar_where_there_is_no_terminal(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress(100) as bar:
        bar.show(1)
    assert stream is None or stream.getvalue() == ""


def test_no_bar_for_a_few_pictures(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(FEWEST - 1) as bar:
        bar.show(1)
    assert sys.stderr.getvalue() == ""


@pytest.mark.usefixtures("pictures")
def test_errors_and_results_do_not_run_into_the_bar(monkeypatch, capsys, model):
    monkeypatch.setattr(sys, "stderr", Terminal())
    main(["detect", *["a.png"] * 5, "gone.png", "--threshold=1", *model.arguments])
    text = sys.stderr.getvalue()
    assert "\r\x1b[Kerror: gone.png: no such file\n" in text
    assert text.count("pictures/s") == 5
    assert capsys.readouterr().out == "a.png: 60 x 40, no objects\n" * 5
