"""What the README says is so: its code runs, its options exist, its table is current."""

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinyyolo3
from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cli.command import make_parser
from tinyyolo3.network.heads import HEAD_READERS
from tinyyolo3.network.sections import READERS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_code_runs(tiny_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save("street.jpg")
    for written, ours in (
        ("yolov3.cfg", tiny_model.cfg),
        ("yolov3.weights", tiny_model.weights),
        ("coco.names", tiny_model.names),
    ):
        Path(written).write_bytes(ours.read_bytes())
    usage, inside, _ = code_blocks("python")
    names: dict[str, object] = {}
    exec(usage, names)
    names["x"] = np.zeros((1, 3, 32, 32), np.float32)
    exec(inside.replace("12", "10"), names)
    assert Path("out.jpg").is_file()


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_the_code_for_kernels_of_ones_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.cu").write_text(
        """extern "C" __global__ void my_kernel(const float* x, float* y, int count) {
             const int i = blockIdx.x * blockDim.x + threadIdx.x;
             if (i < count) y[i] = 2 * x[i];
           }"""
    )
    x = np.arange(500, dtype=np.float32)
    y = np.empty_like(x)
    exec(code_blocks("python")[2], {"np": np, "x": x, "y": y, "blocks": 2})
    assert np.array_equal(y, 2 * x)


def test_the_table_of_options_has_all_of_them_with_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", README, re.MULTILINE)
    parameters = inspect.signature(tinyyolo3.Detector.detect).parameters
    expected = [name for name in parameters if name not in ("self", "images")]
    assert {name for name, _ in rows} == set(expected)
    for name, written in rows:
        default = parameters[name].default
        if default is not None:  # None is said in words: "all", "the cfg's"
            assert written.strip("`") == (
                f'"{default}"' if isinstance(default, str) else str(default)
            )


def test_every_option_on_the_command_line_exists() -> None:
    verbs = set(re.findall(r"^tinyyolo3 ([a-z]+)", README, re.MULTILINE))
    assert {"detect", "info", "profile"} <= verbs
    known = make_parser().format_help() + "".join(map(help_of, verbs))
    options = set(re.findall(r"--[a-z]+", README))
    assert "--threshold" in options
    for option in options:
        assert option in known, option


def help_of(verb: str) -> str:
    command = [sys.executable, "-m", "tinyyolo3", verb, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_every_section_and_activation_is_listed() -> None:
    for kind in (*READERS, *HEAD_READERS):
        assert f"`[{kind}]`" in README, kind
    assert ", ".join(ACTIVATIONS) in README


def test_the_benchmark_table_is_that_of_the_stored_results() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/tables.py"), "--check"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
