"""The examples run as their docstrings say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    return path


def run(script: str, *arguments: object, cwd: Path) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / script), *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_detect(tiny_model, picture: Path, tmp_path: Path) -> None:
    printed = run(
        "detect.py", tiny_model.cfg, tiny_model.weights, tiny_model.names, picture, cwd=tmp_path
    )
    assert "cat" in printed
    assert size_of(tmp_path / "detections.png") == (60, 40)


def test_look_inside(tiny_model, picture: Path, tmp_path: Path) -> None:
    printed = run("look_inside.py", tiny_model.cfg, tiny_model.weights, picture, 1, cwd=tmp_path)
    assert len(printed.splitlines()) == 12
    assert "(8, 8, 8)" in printed
    assert size_of(tmp_path / "layer.png") == (64, 8)


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"detect.py", "look_inside.py"}
