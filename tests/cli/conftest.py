"""A detector of two hundred numbers, pictures for it, and the command run in-process."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinyyolo3
from tinyyolo3.cli import main
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import Header, write_weights
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots

CFG = """\
[net]
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=16
size=1
stride=1
activation=linear

[yolo]
mask=0,1
anchors=8,8, 12,16
classes=3
num=2
"""


@dataclass(frozen=True)
class Model:
    """The files of a model, and the arguments that name them."""

    cfg: Path
    weights: Path
    names: Path

    @property
    def arguments(self) -> list[str]:
        return [f"--cfg={self.cfg}", f"--weights={self.weights}", f"--names={self.names}"]

    def load(self, **options) -> tinyyolo3.Detector:
        return tinyyolo3.load(self.cfg, self.weights, names=self.names, **options)


@dataclass(frozen=True)
class Ending:
    """How a run of the command ended."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    slots = network_slots(build_graph(parse_config(CFG)))
    random = np.random.default_rng(5)
    arrays: dict[int, dict[str, np.ndarray]] = {}
    for slot in slots:
        values = random.normal(0, 1, slot.shape)
        positive = slot.name in ("scales", "variance")
        arrays.setdefault(slot.layer, {})[slot.name] = np.abs(values) + 0.5 if positive else values
    arrays[2]["biases"][[4, 12]] = -1.5  # objectness: most cells see nothing
    found = Model(folder / "tiny.cfg", folder / "tiny.weights", folder / "tiny.names")
    found.cfg.write_text(CFG)
    found.names.write_text("dog\nred fox\n7\n")
    write_weights(found.weights, slots, arrays, Header(seen=1234567))
    return found


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    """A folder, made the current one, with ``a.png``, ``b.jpg``, ``sub/a.png`` and a text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for seed, name in enumerate(("a.png", "b.jpg", "sub/a.png")):
        save_picture(tmp_path / name, seed)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def save_picture(path: Path, seed: int, width: int = 60, height: int = 40) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST).save(path)


@pytest.fixture
def command(capsys):
    """Run the command in this process and return its `Ending`."""

    def run(*argv: object) -> Ending:
        capsys.readouterr()
        status = main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return Ending(status, captured.out, captured.err)

    return run


@pytest.fixture
def detect(command, model, pictures):  # noqa: ARG001 (the folder it runs in)
    """Run ``tinyyolo3 detect`` with the tiny model, in the folder of `pictures`."""
    return lambda *argv: command("detect", *argv, *model.arguments)
