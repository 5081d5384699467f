"""Which pictures the arguments of ``detect`` stand for, and in which order."""

import io
import sys

import pytest

from tinyyolo3.cli.inputs import list_pictures


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    """Empty files: what they hold is not looked at."""
    monkeypatch.chdir(tmp_path)
    names = ("b.JPG", "a.png", "c.txt", ".hidden.png", "x/2.webp", "x/1.webp", "x/y/3.tif")
    for name in (*names, ".git/4.png", "w[1].png", "empty/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_files_keep_their_order_and_may_repeat():
    given = ["b.JPG", "gone.png", "a.png", "b.JPG", "c.txt"]
    assert list_pictures(given) == (given, [])


def test_folder_gives_its_pictures_then_those_of_sub_folders_sorted_and_none_hidden(tree):
    expected = ["a.png", "b.JPG", "w[1].png", "x/1.webp", "x/2.webp", "x/y/3.tif"]
    assert list_pictures([str(tree)]) == ([str(tree / name) for name in expected], [])
    assert list_pictures(["x/"]) == (["x/1.webp", "x/2.webp", "x/y/3.tif"], [])


def test_folder_without_a_picture_is_a_problem():
    assert list_pictures(["empty", "a.png"]) == (
        ["a.png"],
        ["empty: there is no picture in this folder"],
    )


def test_pattern_matches_sorted_files_of_any_kind():
    assert list_pictures(["[abc].*"]) == (["a.png", "b.JPG", "c.txt"], [])


def test_pattern_goes_into_the_folders_it_matches():
    assert list_pictures(["x*"]) == (["x/1.webp", "x/2.webp", "x/y/3.tif"], [])


def test_double_star_names_each_file_once():
    assert list_pictures(["x/**"]) == (["x/1.webp", "x/2.webp", "x/y/3.tif"], [])


def test_pattern_without_a_match_is_a_problem():
    assert list_pictures(["*.gif", "a.png"]) == (
        ["a.png"],
        ["*.gif: no file matches this pattern"],
    )


def test_file_that_exists_is_no_pattern():
    assert list_pictures(["w[1].png"]) == (["w[1].png"], [])


def test_standard_input_is_taken_word_for_word(monkeypatch):
    data = b"a.png\r\n\n  two words.png \n*.jpg\ncaf\xe9.png"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    paths, problems = list_pictures(["-"])
    assert paths[:3] == ["a.png", "  two words.png ", "*.jpg"]
    assert len(paths) == 4
    assert problems == []


@pytest.mark.parametrize("stdin", [io.TextIOWrapper(io.BytesIO(b"\n")), None])
def test_standard_input_without_a_path_is_a_problem(monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    assert list_pictures(["-", "a.png"]) == (["a.png"], ["-: standard input names no picture"])
