"""What is built is what is promised: kernels and type marker in the wheel, tests in the sdist."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import tinyyolo3

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return folder


def test_wheel_carries_package_kernels_and_type_marker(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"tinyyolo3/__init__.py", "tinyyolo3/py.typed", "tinyyolo3/kernels/README.md"} <= names
    assert tinyyolo3.__version__ in wheel.name
    assert not any(name.startswith("tests/") for name in names)


def test_sdist_carries_everything_needed_to_test_it(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"kernels/README.md", "tests/conftest.py", "examples/detect.py", "benchmarks/cpu.py"}
    assert wanted | {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"} <= names
