"""What the tests share: Darknet's reference answers, and tiny models written on the spot."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tinyyolo3.cuda.gpu import open_cuda
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import Target
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import Header, LayerWeights, write_weights
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.testing.weights import random_weights

# What a test needs is compiled in its own process: none starts others behind the tests' back.
os.environ.setdefault("TINYYOLO3_COMPILE", "now")
#: With TINYYOLO3_TARGET=cuda, kernels and the networks on them are tested on a GPU.
ON_GPU = os.environ.get("TINYYOLO3_TARGET") == "cuda"
# All other tests mean the CPU, on any machine.
if not ON_GPU:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

#: Every part of a detector, small enough to run in a millisecond: two heads, a route, an upsample.
TINY_CFG = """\
[net]
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=leaky

[shortcut]
from=-2
activation=linear

[maxpool]
size=2
stride=2

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask=2,3
anchors=4,6, 8,8, 12,16, 24,20
classes=2
num=4

[route]
layers=-3

[upsample]
stride=2

[route]
layers=-1,3

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask=0,1
anchors=4,6, 8,8, 12,16, 24,20
classes=2
num=4
"""


@dataclass(frozen=True)
class ModelFiles:
    """The three files of a model, in a folder of the test's own."""

    cfg: Path
    weights: Path
    names: Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked slow, but on a GPU and where it is asked for."""
    if ON_GPU or os.environ.get("TINYYOLO3_SLOW", "0") not in ("", "0"):
        return
    for item in items:
        if item.get_closest_marker("slow") is not None:
            item.add_marker(pytest.mark.skip(reason="slow: TINYYOLO3_SLOW=1 runs it"))


@pytest.fixture(scope="session", params=["cuda"] if ON_GPU else ["fast", "check"])
def target(request: pytest.FixtureRequest) -> Target:
    """Where kernels run: on a GPU, or on the CPU in both modes."""
    return open_cuda() if request.param == "cuda" else HostTarget(request.param, seed=1)


@pytest.fixture(scope="session", params=["cuda" if ON_GPU else "fast"])
def quick_target(request: pytest.FixtureRequest) -> Target:
    """The same without the check mode, for what would take it minutes."""
    return open_cuda() if request.param == "cuda" else HostTarget(request.param, seed=1)


@pytest.fixture(scope="session")
def gpu() -> Target:
    """A GPU; a test that is too much for any other target is skipped without it."""
    if not ON_GPU:
        pytest.skip("TINYYOLO3_TARGET=cuda runs this test, on a GPU")
    return open_cuda()


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder with Darknet's own answers; a test that needs it is skipped without it."""
    folder = os.environ.get("TINYYOLO3_REFERENCE")
    if not folder:
        pytest.skip("TINYYOLO3_REFERENCE does not name the folder with Darknet's answers")
    if not Path(folder).is_dir():
        pytest.fail(f"TINYYOLO3_REFERENCE={folder} is no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_cfg() -> str:
    """The text of a two-class detector's cfg, with two heads, for a 32x32 input."""
    return TINY_CFG


@pytest.fixture(scope="session")
def seeded_weights() -> Callable[..., dict[int, LayerWeights]]:
    """A function from a cfg's text (and a seed) to random arrays for all of its layers."""
    return _seeded_weights


def _seeded_weights(cfg: str, seed: int = 0) -> dict[int, LayerWeights]:
    return random_weights(build_graph(parse_config(cfg)), seed)


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., ModelFiles]:
    """A function that writes a cfg, seeded weights for it and a name list into `tmp_path`."""

    def write(
        cfg: str = TINY_CFG,
        *,
        names: tuple[str, ...] = ("cat", "dog"),
        seed: int = 0,
        header: Header | None = None,
    ) -> ModelFiles:
        files = ModelFiles(
            tmp_path / "tiny.cfg", tmp_path / "tiny.weights", tmp_path / "tiny.names"
        )
        files.cfg.write_text(cfg)
        slots = network_slots(build_graph(parse_config(cfg)))
        write_weights(files.weights, slots, _seeded_weights(cfg, seed), header)
        files.names.write_text("".join(f"{name}\n" for name in names))
        return files

    return write


@pytest.fixture
def tiny_model(write_model: Callable[..., ModelFiles]) -> ModelFiles:
    """The files of a two-class detector with two heads, for a 32x32 input."""
    return write_model()
