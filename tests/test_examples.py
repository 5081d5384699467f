"""The examples run as their docstrings say."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def test_verify_a_kernel(tmp_path: Path) -> None:
    printed = run("verify_a_kernel.py", cwd=tmp_path)
    assert "agrees with NumPy" in printed
    assert re.search(r"race: block .* thread .* at code\.cu:12 `if \(thread < half\) ", printed)


def test_the_code_in_the_page_on_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scale.cu").write_text("""
        extern "C" __global__ void scale(const float* x, float* y, float factor, int count) {
          const int i = blockIdx.x * blockDim.x + threadIdx.x;
          if (i < count) y[i] = factor * x[i];
        }
    """)
    page = EXAMPLES.parent / "docs" / "kernels-on-the-cpu.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert (names["y"] == 2).all()


def test_every_example_is_tested() -> None:
    # Those that are more than a page have their tests in tests/examples.
    elsewhere = {"finetune.py", "train_digits.py"}
    tested = {"detect.py", "look_inside.py", "verify_a_kernel.py"} | elsewhere
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested
