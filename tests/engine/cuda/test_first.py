"""The first convolution straight from pictures: where it is taken, and what it changes."""

from typing import Any

import numpy as np
import pytest

from tinyyolo3.cuda.maps import download_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cuda.engine import CudaEngine
from tinyyolo3.image.geometry import resize_geometry
from tinyyolo3.image.resize_cuda import FRAME, fill_frames, network_input_cuda
from tinyyolo3.testing.engines import Case, make_case
from tinyyolo3.testing.tolerances import network_half

NETWORK = """
[net]
width=40
height=24
channels=3
{first}
[convolutional]
filters=12
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=4,6, 8,8
classes=2
num=2
"""
FIRST = "[convolutional]\nfilters=20\nsize=3\npad=1\nactivation=leaky\nstride="
#: First layers that are computed from pictures, and others.
TAKEN = {"stride 1": f"{FIRST}1", "stride 2, batch norm": f"{FIRST}2\nbatch_normalize=1"}
OTHERS = {
    "a larger window": "[convolutional]\nfilters=8\nsize=5\npad=1\nactivation=leaky",
    "a longer stride": f"{FIRST}3",
    "groups": f"{FIRST}1\ngroups=3".replace("filters=20", "filters=6"),
    "no convolution": "[maxpool]\nsize=2\nstride=2",
    "dilation": f"{FIRST}1\ndilation=2",
}
#: A head reads the first convolution, which therefore writes floats.
LOGITS = (
    NETWORK[: NETWORK.index("{first}")]
    + "[convolutional]\nfilters=14\nsize=3\npad=1\nactivation=linear\n"
    + NETWORK[NETWORK.index("[yolo]") :]
)


def outputs_from_pictures(
    target: Target, case: Case, precision: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[np.ndarray], list[np.ndarray], set[str]]:
    """Return outputs from pictures, those by way of the input, and the kernels of the former."""
    engine = CudaEngine(target, case.parameters, precision)
    height, width = case.graph.input_shape[1:]
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (30 + 9 * i, 50 - 20 * i, 3), np.uint8) for i in range(2)]
    program = engine.program(target, case.graph, len(pictures))
    frames = np.empty(len(pictures), FRAME)
    fitted = [resize_geometry(p.shape[1], p.shape[0], width, height, "letterbox") for p in pictures]
    fill_frames(frames, fitted)
    pixels = target.upload(np.concatenate([p.reshape(-1) for p in pictures]))
    table = target.upload(frames.view(np.uint8))
    network_input_cuda(target, pixels, table, program.input)
    program.launch()
    expected = [download_map(target, y) for y in program.outputs]
    asked: set[str] = set()
    real = type(target).kernel

    def kernel(self: Target, file: str, name: str) -> Any:
        asked.add(file)
        return real(self, file, name)

    monkeypatch.setattr(type(target), "kernel", kernel)
    program.launch_from_pictures(pixels, table)
    return [download_map(target, y) for y in program.outputs], expected, asked


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
@pytest.mark.parametrize("first", TAKEN)
def test_it_is_taken(
    target: Target, first: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case(NETWORK.format(first=TAKEN[first]), seed=1)
    found, expected, asked = outputs_from_pictures(target, case, precision, monkeypatch)
    assert "convolution_first.cu" in asked
    assert "resize.cu" not in asked
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= network_half(float(np.abs(other).max()), 4)
        assert np.abs(other).max() > 0.1


@pytest.mark.parametrize("first", OTHERS)
def test_other_layers_read_the_input(
    quick_target: Target, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case(NETWORK.format(first=OTHERS[first]), seed=1)
    check_by_way_of_the_input(quick_target, case, "fp16", monkeypatch)


@pytest.mark.parametrize("kind", ["float32", "grey", "logits"])
def test_the_input_is_made_where_it_is_needed(
    quick_target: Target, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = LOGITS if kind == "logits" else NETWORK.format(first=TAKEN["stride 1"])
    if kind == "grey":
        cfg = cfg.replace("channels=3", "channels=1")
    precision = "fp32" if kind == "float32" else "fp16"
    check_by_way_of_the_input(quick_target, make_case(cfg, seed=1), precision, monkeypatch)


def check_by_way_of_the_input(
    target: Target, case: Case, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, expected, asked = outputs_from_pictures(target, case, precision, monkeypatch)
    assert "resize.cu" in asked
    assert "convolution_first.cu" not in asked
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
