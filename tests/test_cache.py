"""Compiled code is kept between runs, and never outlives a change anywhere in the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
from tinyyolo3.boxes.decode_numba import candidates_numba
head = HeadGeometry("yolo", ((0.5, 0.5),), 1)
found = candidates_numba([np.zeros((6, 1, 1), np.float32)], [head])
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
