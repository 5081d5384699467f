"""What is exported computes what the reference computes, and nothing else is exported."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from export import check_exportable, pool_padding
from measure import logit_error
from networks import CLASSIC, Source, reference_logits, written
from peers import ENTRIES
from peers.base import Model, UnavailableError, existing_onnx
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import write_weights
from tinyyolo3.errors import ConfigError
from tinyyolo3.layers.maxpool import maxpool_forward_reference
from tinyyolo3.layers.shapes import maxpool_shape
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.network.specs import Maxpool
from tinyyolo3.testing.tolerances import PEER_FLOAT32
from tinyyolo3.testing.weights import random_weights

NET = "[net]\nwidth=26\nheight=26\nchannels=3\n"
#: Every layer and option that can be exported; OpenCV does not read all of it.
EVERYTHING = f"""{NET}
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
groups=8
activation=relu
[convolutional]
filters=8
size=3
pad=1
dilation=2
groups=2
activation=linear
[shortcut]
from=-2,-3
activation=linear
[maxpool]
size=2
stride=1
[dropout]
[maxpool]
size=3
stride=2
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=4,6, 8,8
classes=2
num=2
[route]
layers=-4
[convolutional]
filters=6
size=1
activation=leaky
[route]
layers=-1,0
groups=2
group_id=1
[upsample]
stride=2
[maxpool]
size=5
stride=1
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
#: The library of each peer that reads what is exported.
LIBRARIES = {
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "ncnn": ("ncnn",),
    "torch": ("torch",),
}


def source(cfg_text: str, side: int) -> Source:
    def write(model: Model) -> None:
        model.cfg.write_text(cfg_text)
        graph = build_graph(parse_config(cfg_text))
        write_weights(model.weights, network_slots(graph), random_weights(graph, seed=3))

    return Source("small", side, write)


# Foreign modules warn of what they like.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("side", [26, 32])
def test_a_peer_computes_what_the_reference_does(name: str, side: int) -> None:
    for library in LIBRARIES[name]:
        pytest.importorskip(library)
    entry = ENTRIES[name]
    with written(source(EVERYTHING, side)) as model:
        engine = importlib.import_module(f"peers.{entry.module}").load(model, 1, **entry.options)
        expected = reference_logits(model, [entry.parity])[entry.parity]
        assert len(expected) == 2
        found = engine.forward(model.blob())
        assert logit_error(found, expected) < PEER_FLOAT32


def test_opencv_puts_out_the_logits_in_the_order_of_the_cfg(tiny_model) -> None:
    pytest.importorskip("cv2")
    from peers import opencv

    text = tiny_model.cfg.read_text()
    with written(source(text, 32)) as model:
        found = opencv.load(model, 1).forward(model.blob())
        assert logit_error(found, reference_logits(model, ["opencv"])["opencv"]) < PEER_FLOAT32


def test_without_the_onnx_package_its_readers_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("networks.find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "export_onnx", None)
    with (
        written(source(EVERYTHING, 26)) as model,
        pytest.raises(UnavailableError, match="only the package onnx"),
    ):
        existing_onnx(model)


@pytest.mark.parametrize("padding", range(6))
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("size", range(1, 6))
def test_the_padding_of_a_pooling_is_what_its_windows_reach(
    size: int, stride: tuple[int, int], padding: int
) -> None:
    rng = np.random.default_rng(size)
    for height, width in ((5, 6), (8, 9)):
        shape = (1, height, width)
        x = rng.standard_normal((1, *shape)).astype(np.float32)
        layer = Maxpool(
            index=0,
            line=1,
            inputs=(-1,),
            input_shapes=(shape,),
            output_shape=maxpool_shape(shape, size=size, stride=stride, padding=padding),
            size=size,
            stride=stride,
            padding=padding,
        )
        top, left, bottom, right = pool_padding(layer)
        lowest = np.finfo(np.float32).min
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=lowest)
        np.testing.assert_array_equal(
            maxpool_forward_reference(padded, size=size, stride=stride, padding=0),
            maxpool_forward_reference(x, size=size, stride=stride, padding=padding),
        )


HEAD = "[yolo]\nmask=0\nanchors=4,6\nclasses=2\nnum=1\n"
BEFORE_HEAD = "[convolutional]\nfilters=7\nsize=1\nactivation=linear\n"


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ("[avgpool]\n", r":5 \[avgpool\] .* only convolutional, maxpool"),
        (BEFORE_HEAD.replace("linear", "mish"), "activation=mish is none of linear, leaky, relu"),
        ("[upsample]\nscale=0.5\n", "scale=0.5 is not 1"),
        (BEFORE_HEAD * 2 + "[shortcut]\nfrom=-2\nactivation=leaky\n", "leaky is not linear"),
        (
            "[convolutional]\nfilters=5\nactivation=linear\n"
            + BEFORE_HEAD
            + "[shortcut]\nfrom=-2\nactivation=linear\n",
            "inputs differ in shape",
        ),
        (BEFORE_HEAD + HEAD + BEFORE_HEAD, r":14 \[convolutional\] .* reads a head"),
        (BEFORE_HEAD, "no .yolo. head"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(sections: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        check_exportable(build_graph(parse_config(NET + sections)))


def test_the_classic_networks_can_be_exported(tmp_path: Path) -> None:
    for network in CLASSIC:
        if "tiny" in network.name:
            model = Model(tmp_path, network.side)
            network.write(model)
            check_exportable(build_graph(parse_config(model.cfg.read_text())))
