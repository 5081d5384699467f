"""What the README says is so: its code runs, its options exist, its table is current."""

import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinyyolo3
from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cli import main
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
    usage, inside, *_ = code_blocks("python")
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


#: The boxes of the set that the README shows: class, width and height in a picture of 416 x 416.
SHAPES = [(0, 180, 95), (1, 10, 24), (2, 40, 22), (0, 220, 260), (1, 45, 150), (2, 40, 60)]


def write_street_set() -> None:
    """Write ``street.data``: 60 pictures with one or two boxes each, of which one is there twice.

    Every box of a shape is a little larger or smaller than it. Of ten boxes in a row seven are
    found, a tenth of their width too far right: an IoU of 0.82.
    """
    Path("images").mkdir()
    Path("labels").mkdir()
    Path("street.names").write_text("car\nperson\nbicycle\n")
    Path("street.data").write_text(
        "classes=3\ntrain=valid.txt\nvalid=valid.txt\nnames=street.names\n"
    )
    Path("valid.txt").write_text("".join(f"images/{i:02}.png\n" for i in range(60)))
    labels: dict[int, list[str]] = {i: [] for i in range(60)}
    results, annotations = [], []
    for i in range(90):
        image, same = i % 60, 29 if i == 89 else i
        kind, *shape = SHAPES[same % 6]
        width, height = (side * (1 + (same // 6 - 7) / 100) for side in shape)
        left, top = 10.0, 20.0 if same < 60 else 120.0
        box = [left, top, width, height]
        fractions = (left + width / 2, top + height / 2, width, height)
        labels[image].append(" ".join([str(kind), *(f"{f / 416:.6f}" for f in fractions)]))
        what = {"image_id": image + 1, "category_id": kind + 1}
        annotations.append({**what, "bbox": box, "id": i + 1})
        if i % 10 < 7:
            moved = [left + width / 10, top, width, height]
            results.append({**what, "bbox": moved, "score": 1 - i / 100})
    for image, lines in labels.items():
        Path(f"labels/{image:02}.txt").write_text("\n".join(lines))
        Image.new("L", (416, 416)).save(f"images/{image:02}.png")
    names = Path("street.names").read_text().split()
    whole = {
        "images": [{"id": i + 1, "file_name": f"{i:02}.png"} for i in range(60)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
        "annotations": annotations,
    }
    Path("annotations.json").write_text(json.dumps(whole))
    Path("results.json").write_text(json.dumps(results))


def test_the_commands_on_data_print_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    write_street_set()
    (block,) = code_blocks("console")
    commands = block.removeprefix("$ ").split("\n$ ")
    assert [command.split()[1] for command in commands] == ["data", "anchors", "evaluate"]
    for shown in commands:
        command, _, expected = shown.partition("\n")
        main(shlex.split(command)[1:])
        found = capsys.readouterr().out
        pattern = re.escape(expected.rstrip("\n")).replace(r"\.\.\.", r"(?s:.*?)")
        assert re.fullmatch(pattern, found.rstrip("\n")), found
    assert {path.name for path in Path().glob("*.png")} == {"sizes.png", "anchors.png"}


def test_the_code_for_data_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_street_set()
    names: dict[str, object] = {}
    exec(code_blocks("python")[3], names)
    assert names["evaluation"]["AP"] == pytest.approx(0.7 * 0.7, abs=0.01)


def test_every_option_on_the_command_line_exists() -> None:
    verbs = set(re.findall(r"^tinyyolo3 ([a-z]+(?: (?:check|convert))?)", README, re.MULTILINE))
    assert {"detect", "info", "profile", "data convert", "anchors", "evaluate"} <= verbs
    known = make_parser().format_help() + "".join(map(help_of, verbs))
    options = set(re.findall(r"--[a-z]+", README))
    assert "--threshold" in options
    for option in options:
        assert option in known, option


def help_of(verb: str) -> str:
    command = [sys.executable, "-m", "tinyyolo3", *verb.split(), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_every_section_and_activation_is_listed() -> None:
    for kind in (*READERS, *HEAD_READERS):
        assert f"`[{kind}]`" in README, kind
    assert ", ".join(ACTIVATIONS) in README


def test_the_benchmark_table_is_that_of_the_stored_results() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/tables.py"), "--check"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
