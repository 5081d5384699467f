"""Compiled code is kept between runs, and never outlives a change anywhere in the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

import tinyyolo3
from tinyyolo3 import cache
from tinyyolo3.parallel import compiled

PACKAGE = Path(tinyyolo3.__file__).parent

#: Runs a function of one file that has compiled one of another file into itself.
DECODE_ONE_BOX = """
import numpy as np
from tinyyolo3.boxes.decode import HeadGeometry
from tinyyolo3.boxes.decode_numba import decode_numba
head = HeadGeometry("yolo", ((0.5, 0.5),), 1)
found = decode_numba([np.zeros((6, 1, 1), np.float32)], [head], 0.0)
print(float(found.objectness[0]))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package, with no compiled code."""
    target = tmp_path / "tinyyolo3"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def run(code: str, package: Path, **environment: str) -> str:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    variables |= {"PYTHONPATH": str(package.parent), **environment}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=package.parent,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_change_in_another_file_reaches_the_code_that_was_compiled_from_both(copy: Path) -> None:
    assert run(DECODE_ONE_BOX, copy) == "0.5"
    (before,) = (copy / "__pycache__").glob("numba-*")
    yolo = copy / "layers" / "yolo.py"
    text = yolo.read_text()
    old = "    return (small if logit < 0 else 1.0) / (1.0 + small)\n"
    assert text.count(old) == 1
    yolo.write_text(text.replace(old, "    return 0.25 * small\n"))
    assert run(DECODE_ONE_BOX, copy) == "0.25"
    (after,) = (copy / "__pycache__").glob("numba-*")
    assert after != before


def test_code_is_found_again(copy: Path) -> None:
    run(DECODE_ONE_BOX, copy)
    files = sorted((copy / "__pycache__").rglob("*.nb?"))
    assert files
    stamps = [file.stat().st_mtime_ns for file in files]
    run(DECODE_ONE_BOX, copy)
    assert sorted((copy / "__pycache__").rglob("*.nb?")) == files
    assert [file.stat().st_mtime_ns for file in files] == stamps


def test_numbas_own_variable_is_followed(copy: Path, tmp_path: Path) -> None:
    run(DECODE_ONE_BOX, copy, NUMBA_CACHE_DIR=str(tmp_path / "mine"))
    assert list((tmp_path / "mine").rglob("*.nbi"))
    assert not list(copy.rglob("*.nbi"))


def test_a_place_that_cannot_be_written_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    free = tmp_path / "free"
    cache.cache_folder.cache_clear()
    try:
        monkeypatch.setattr(cache, "_places", lambda: iter([blocked, free]))
        assert cache.cache_folder() == free / f"numba-{cache.package_digest(PACKAGE)}"
        cache.cache_folder.cache_clear()
        monkeypatch.setattr(cache, "_places", lambda: iter([blocked]))
        assert cache.cache_folder() is None
        assert compiled(lambda x: x + 1)(1) == 2
    finally:
        cache.cache_folder.cache_clear()


def test_nothing_is_kept_in_a_folder_called_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nobody knows a home folder
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert not [place for place in cache._places() if str(place).startswith("~")]


def test_an_empty_variable_names_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert all(place.is_absolute() for place in cache._places())


def test_a_complete_folder_is_used_where_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "numba-x"
    folder.mkdir()
    complete = cache.marker(folder)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", refuse)
        assert cache._make_folder(tmp_path, "numba-x") is None
    complete.touch()
    monkeypatch.setattr(Path, "touch", refuse)
    assert cache._make_folder(tmp_path, "numba-x") == folder


def test_the_marker_names_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cache.marker(tmp_path)
    codegen = cache.cpu_target.target_context.codegen()
    monkeypatch.setattr(codegen, "magic_tuple", lambda: ("x86_64-linux", "i486", ""), raising=False)
    cache._machine_digest.cache_clear()
    try:
        assert cache.marker(tmp_path) != here
    finally:
        cache._machine_digest.cache_clear()


def add_one(x: int) -> int:
    return x + 1


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which functions that are decorated now keep their code."""
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    return tmp_path


def compilations() -> int:
    """Compile, or load, a function as a new process would; return how often it was compiled."""
    function: Any = compiled(add_one)
    assert function(1) == 2
    return sum(function.stats.cache_misses.values())


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("size", [0, 1, 20, -1])
def test_damaged_files_are_replaced(folder: Path, ending: str, size: int) -> None:
    assert [compilations(), compilations()] == [1, 0]
    (file,) = folder.rglob(f"*.{ending}")
    file.write_bytes(file.read_bytes()[:size])
    assert [compilations(), compilations()] == [1, 0]


def test_missing_files_are_replaced(folder: Path) -> None:
    compilations()
    (file,) = folder.rglob("*.nbc")
    file.unlink()
    assert [compilations(), compilations()] == [1, 0]


def test_a_full_disk_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        assert [compilations(), compilations()] == [1, 1]
    assert not list(folder.rglob("*.nb?"))
    # Broken files that cannot be replaced either are left alone.
    compilations()
    for file in folder.rglob("*.nbi"):
        file.write_bytes(b"")
    monkeypatch.setattr(os, "replace", refuse)
    assert compilations() == 1


def test_a_users_own_functions_are_left_alone() -> None:
    before = numba.config.CACHE_DIR
    compiled(lambda x: x)
    assert before == numba.config.CACHE_DIR


def test_the_digest_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    (tmp_path / "note.txt").write_text("not code")
    first = cache.package_digest(tmp_path)
    (tmp_path / "note.txt").write_text("still not code")
    assert cache.package_digest(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    second = cache.package_digest(tmp_path)
    (tmp_path / "b.py").write_text("y")
    assert len({first, second, cache.package_digest(tmp_path)}) == 3
