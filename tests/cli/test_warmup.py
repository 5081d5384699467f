"""``tinyyolo3 warmup``: says what it did, and where."""

import os

import pytest

from tinyyolo3 import cache
from tinyyolo3.cli import main
from tinyyolo3.cli import warmup as verb
from tinyyolo3.engine.cpu import compilation, readiness


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for the code, of which there is little."""
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(readiness, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(compilation, "compilation", lambda: [lambda: None] * 2)
    return tmp_path


def test_it_says_how_long_it_took_and_then_that_all_is_there(command, folder):
    ending = command("warmup")
    assert (ending.status, ending.err) == (0, "")
    assert ending.out.startswith("compiled in 0.0 s: ")
    assert ending.out.endswith(f": {folder}\n")
    assert command("warmup").out == f"ready: {folder}\n"


def test_a_terminal_sees_its_progress(command, folder, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert command("warmup").err == "\rcompiling 1/2\rcompiling 2/2\r\x1b[K"


def test_in_the_background_others_go_first(command, folder, monkeypatch):  # noqa: ARG001
    nice = []
    monkeypatch.setattr(os, "nice", nice.append, raising=False)
    assert command("warmup").status == 0
    assert nice == []
    assert command("warmup", "--background").status == 0
    assert nice == [verb.LOWEST]


def test_code_that_cannot_be_kept_is_not_compiled(command, monkeypatch):
    monkeypatch.setattr(cache, "cache_folder", lambda: None)
    ending = command("warmup")
    assert ending.status == 1
    assert ending.err.startswith("error: no folder for compiled code can be written")
    assert ending.err.count("\n") == 1


def test_its_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["warmup", "--help"])
    assert "tinyyolo3 warmup" in capsys.readouterr().out.split("examples:")[1]
