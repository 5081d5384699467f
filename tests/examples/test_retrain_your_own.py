"""What the guide to one's own photos says works: its commands in their order, on a tiny set."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3 import models
from tinyyolo3.cli import main
from tinyyolo3.cli.command import make_parser
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import write_weights
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.testing.weights import random_weights

GUIDE = (Path(__file__).parents[2] / "examples" / "retrain_your_own.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.startswith("tinyyolo3 ")]
OPTION = r"--[a-z]+(?:-[a-z]+)*"
#: What makes a command of the guide small: values of [net], and photos made in the process itself.
SMALL = {"max_batches": 2, "batch": 2, "subdivisions": 1, "burn_in": 1}


def test_commands_are_understood() -> None:
    assert {command[0] for command in COMMANDS} == {
        *("data", "adapt", "anchors", "train", "evaluate", "detect")
    }
    for command in COMMANDS:
        make_parser().parse_args(command)


def test_options_in_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = {tuple(command[: 2 if command[0] == "data" else 1]) for command in COMMANDS}
    for verb in verbs:
        with pytest.raises(SystemExit):
            make_parser().parse_args([*verb, "--help"])
    known = set(re.findall(OPTION, capsys.readouterr().out))
    options = set(re.findall(OPTION, GUIDE))
    assert {"--freeze", "--threshold", "--help"} <= options <= known


def stand_in(layers: int, anchors: int, classes: int) -> str:
    """Return a cfg with a head behind `layers` small layers, of 32 x 32 pixels."""
    sizes = ", ".join(f"{3 + n},{4 + n}" for n in range(anchors))
    body = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=1\nactivation=leaky\n\n"
    first = body.replace("size=1", "size=3\nstride=8\npad=1")
    return (
        "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=2\nsubdivisions=1\nlearning_rate=.001\n"
        "burn_in=1\nmax_batches=2\npolicy=constant\n\n"
        + first
        + (layers - 1) * body
        + f"[convolutional]\nfilters={(5 + classes) * anchors}\nsize=1\nactivation=linear\n\n"
        f"[yolo]\nanchors={sizes}\nclasses={classes}\nnum={anchors}\n"
        f"mask={','.join(map(str, range(anchors)))}\n"
    )


def write_model(stem: Path, cfg: str, classes: int) -> None:
    graph = build_graph(parse_config(cfg))
    stem.with_suffix(".cfg").write_text(cfg)
    write_weights(stem.with_suffix(".weights"), network_slots(graph), random_weights(graph, 1))
    stem.with_suffix(".names").write_text("".join(f"{n}\n" for n in range(classes)))


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the guide speaks of, with ten photos, and small models of the same names."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    Path("images").mkdir()
    Path("labels").mkdir()
    for index in range(10):
        pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(f"images/kitchen-{index:02}.jpg")
        sizes = random.uniform(0.1, 0.6, (3, 2))
        rows = [f"{n % 2} {0.5 + n / 50:.4f} .5 {w:.4f} {h:.4f}" for n, (w, h) in enumerate(sizes)]
        Path(f"labels/kitchen-{index:02}.txt").write_text("\n".join(rows))
    block = re.search(r"cup\.data +(.*?)```", GUIDE, re.DOTALL)
    assert block is not None
    Path("cup.data").write_text(block[1])
    Path("cup.names").write_text("cup\nspoon\n")
    shutil.copy("images/kitchen-00.jpg", "kitchen.jpg")
    write_coco(Path("exported.json"))
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr(models, "FOLDER", folder)
    write_model(folder / "digits", stand_in(24, 9, 10), 10)
    write_model(Path("yolov3-tiny"), stand_in(14, 6, 80), 80)
    shutil.copy("yolov3-tiny.names", "coco.names")
    write_model(Path("yolov3"), stand_in(75, 9, 80), 80)
    graph = build_graph(parse_config(stand_in(75, 9, 80)))
    first = [slot for slot in network_slots(graph) if slot.layer < 74]
    write_weights(Path("darknet53.conv.74"), first, random_weights(graph, 2))
    return tmp_path


def write_coco(place: Path) -> None:
    """Write a COCO file with one of the photos."""
    image = {"id": 1, "file_name": "kitchen-00.jpg", "width": 40, "height": 30}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 5, 10, 12]}
    content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cup"}]}
    place.write_text(json.dumps(content))


def made_small(command: list[str]) -> list[str]:
    """Return a command of the guide with a training of two updates."""
    small: list[str] = []
    for word in command:
        name, equals, _ = word.partition("=")
        small.append(f"{name}={SMALL[name]}" if equals and name in SMALL else word)
        if small[-2:-1] == ["--validate-every"]:
            small[-1] = "1"
    return [*small, "--workers=0"] if command[0] == "train" else small


def test_commands_work_in_their_order(kitchen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    for line in LINES:
        if line.startswith("tinyyolo3 "):
            status = main(made_small(shlex.split(line)[1:]))
        else:
            status = subprocess.run(line, shell=True).returncode
        assert status == 0, (line, capsys.readouterr())
    assert len(Path("train.txt").read_text().split()) == 8
    files = re.findall(r"`(\w+\.(?:weights|csv|png|npz))`", GUIDE.partition("## 5")[0])
    assert {"final.weights", "best.weights", "training.png"} <= set(files)
    for file in set(files) - {"yolov3.weights", "cup.weights"}:
        assert (kitchen / "training" / file).is_file(), file
    assert len(list((kitchen / "drawn").iterdir())) == 10
    names: dict[str, object] = {}
    ours, opencv = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(ours, names)
    pytest.importorskip("cv2")
    exec(opencv.replace("(416, 416)", "(32, 32)"), names)
    assert len(names["outputs"]) == 1
