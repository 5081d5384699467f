"""The networks that are timed, written to disk in every form that an engine reads."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from export import read_folded, write_plain
from export_ncnn import write_ncnn
from peers.base import FloatArray, Model
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.darknet.config import parse_config, read_config
from tinyyolo3.darknet.weights import LayerWeights, write_weights
from tinyyolo3.engine.network import Network
from tinyyolo3.loading import load_parameters
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.heads import BOX_ENTRIES
from tinyyolo3.network.parameters import cast_parameters, network_slots
from tinyyolo3.network.parity import find_parity
from tinyyolo3.network.summary import summarize
from tinyyolo3.testing.architectures import yolov3_config, yolov3_spp_config, yolov3_tiny_config
from tinyyolo3.testing.weights import random_weights


@dataclass(frozen=True)
class Source:
    """A network to time: where it comes from, and its input's side in pixels."""

    name: str
    side: int
    write: Callable[[Model], None]


def classic(name: str, config: Callable[[int, int], str], side: int) -> Source:
    """Return one of the published networks, written by code, with random weights."""

    def write(model: Model) -> None:
        model.cfg.write_text(config(side, side))
        graph = build_graph(read_config(model.cfg))
        write_weights(model.weights, network_slots(graph), quiet_weights(graph))

    return Source(name, side, write)


def trained(name: str, cfg: str, weights: str, side: str) -> Source:
    """Return a model of the user's."""

    def write(model: Model) -> None:
        shutil.copyfile(cfg, model.cfg)
        shutil.copyfile(weights, model.weights)

    return Source(name, int(side), write)


CLASSIC = (
    classic("yolov3-416", yolov3_config, 416),
    classic("yolov3-tiny-416", yolov3_tiny_config, 416),
    classic("yolov3-spp-608", yolov3_spp_config, 608),
)


def quiet_weights(graph: Graph) -> dict[int, LayerWeights]:
    """Return random weights under which no box passes.

    Without a bias against it half of all boxes would, and suppressing them would take longer than
    the network. Trained models on photographs are what `--model` is for.
    """
    weights = random_weights(graph, seed=0)
    for head in graph.heads:
        per_anchor = weights[head.inputs[0]]["biases"].reshape(len(head.anchors), -1)
        per_anchor[:, BOX_ENTRIES - 1] -= 5
    return weights


@contextmanager
def written(source: Source) -> Iterator[Model]:
    """Write a network in every form into a temporary folder.

    Without the `onnx` package there is no ONNX file, and the peers that read one say so.

    Raises:
        ConfigError: the network cannot be exported.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = Model(Path(folder), source.side)
        source.write(model)
        network = read_folded(model.cfg, model.weights, source.side)
        write_plain(network.graph, network.parameters, model)
        write_ncnn(network, model)
        if find_spec("onnx") is not None:
            from export_onnx import write_onnx

            write_onnx(network, model)
        yield model


def reference_logits(model: Model, parities: Sequence[str]) -> dict[str, list[FloatArray]]:
    """Return the heads' logits on ``model.blob()`` for each flavour of Darknet in `parities`.

    They are the plain NumPy reference's, unfolded and in float64, so that what an engine differs
    by from them is that engine's own error.
    """
    found = {}
    config = parse_config(model.cfg.read_text())
    for name in set(parities):
        graph = build_graph(config, width=model.side, height=model.side, parity=find_parity(name))
        wide = cast_parameters(load_parameters(graph, model.weights), np.float64)
        network = Network(graph, wide, REFERENCE, folded=False)
        found[name] = network.forward(model.blob())
    return found


def gflop(model: Model) -> float:
    """Return the network's floating-point operations for one picture, in units of 1e9."""
    graph = build_graph(read_config(model.cfg), width=model.side, height=model.side)
    return summarize(graph).flop / 1e9
