"""What is built is what is promised: kernels and type marker in the wheel, tests in the sdist."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import tinyyolo3

ROOT = Path(__file__).parent.parent
KERNELS = {
    str(path.relative_to(ROOT))
    for path in (ROOT / "kernels").rglob("*")
    if path.suffix in (".cu", ".cuh", ".h", ".cpp", ".md")
}

#: Says where the package and its kernels lie, and runs one of them.
RUN_A_KERNEL = """
import ctypes
import numpy as np
import tinyyolo3
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.maps import MapStruct
from tinyyolo3.cuda.sources import kernel_folder
target, pixel = HostTarget("fast"), MapStruct(1, 1, 1, 4, 4)
x, y = target.upload(np.arange(4, dtype=np.float32)), target.empty(4)
target.kernel("reorg.cu", "reorg_forward")((1,), (256,), (x, pixel, y, pixel, 1))
assert y.tolist() == [0, 1, 2, 3]
print(tinyyolo3.__file__, kernel_folder(), sep="\\n")
"""


def build(source: Path, folder: Path, *options: str) -> Path:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), *options]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def unpacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel as an installer lays it out, the sdist's root, and the checkout."""
    places = {name: tmp_path_factory.mktemp(name) for name in ("wheel", "sdist")}
    zipfile.ZipFile(*built.glob("*.whl")).extractall(places["wheel"])
    with tarfile.open(*built.glob("*.tar.gz")) as archive:
        archive.extractall(places["sdist"], filter="data")
    (places["sdist"],) = places["sdist"].iterdir()
    return {**places, "checkout": ROOT}


def test_wheel_carries_package_kernels_and_type_marker(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"tinyyolo3/__init__.py", "tinyyolo3/py.typed"} <= names
    assert {"kernels/device.cuh", "kernels/host/cuda.h", "kernels/host/runtime.cpp"} <= KERNELS
    assert {f"tinyyolo3/{name}" for name in KERNELS} <= names
    assert tinyyolo3.__version__ in wheel.name
    assert not any(name.startswith("tests/") for name in names)


def test_wheel_carries_the_bundled_model(built: Path) -> None:
    files = [f"tinyyolo3/models/digits.{suffix}" for suffix in ("cfg", "weights", "names")]
    if not (ROOT / "tinyyolo3/models/digits.weights").exists():
        pytest.skip("the package has no digits.weights yet")
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in files:
            assert archive.read(name) == (ROOT / name).read_bytes()


def test_sdist_carries_everything_needed_to_test_it(unpacked: dict[str, Path]) -> None:
    sdist = unpacked["sdist"]
    names = {str(path.relative_to(sdist)) for path in sdist.rglob("*")}
    wanted = {"tests/conftest.py", "examples/detect.py", "benchmarks/cpu.py", "README.md"}
    assert wanted | {"LICENSE", "CHANGELOG.md", "pyproject.toml"} | KERNELS <= names


def test_a_wheel_made_from_the_sdist_is_the_same(
    built: Path, unpacked: dict[str, Path], tmp_path: Path
) -> None:
    (first,), (again,) = (
        folder.glob("*.whl")
        for folder in (built, build(unpacked["sdist"], tmp_path, "-t", "wheel"))
    )
    assert zipfile.ZipFile(first).namelist() == zipfile.ZipFile(again).namelist()


@pytest.mark.parametrize("place", ["wheel", "sdist", "checkout"])
def test_kernels_are_found_and_run(unpacked: dict[str, Path], place: str, tmp_path: Path) -> None:
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        pytest.skip("running kernels on the CPU needs a C++ compiler")
    root = unpacked[place]
    done = subprocess.run(
        [sys.executable, "-c", RUN_A_KERNEL],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    inside = root / "tinyyolo3" if place == "wheel" else root
    assert done.stdout.split() == [str(root / "tinyyolo3/__init__.py"), str(inside / "kernels")]


def test_nothing_of_a_gpu_is_imported_before_one_is_asked_for() -> None:
    code = (
        "import sys, tinyyolo3, tinyyolo3.cuda.gpu, tinyyolo3.testing, tinyyolo3.loading\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'cupy', 'cupyx', 'cuda'})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"
