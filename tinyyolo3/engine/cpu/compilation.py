"""Compiling everything beforehand, so that nobody waits for it later.

There are two kinds of compiled code. Operations and transforms are code pointers, which stand as
names in the modules of this room and are found there. Everything else is compiled for the types of
its first call's arguments; what gives these types reliably is a call, so weights are packed, a
network of a few layers runs, and boxes are decoded.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from tinyyolo3.boxes.decode import HeadGeometry
from tinyyolo3.boxes.decode_numba import decode_numba
from tinyyolo3.boxes.nms import NmsKind, nms_numba
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.engine import cpu
from tinyyolo3.engine.cpu import packing
from tinyyolo3.engine.cpu.engine import CpuEngine
from tinyyolo3.engine.cpu.program import CodePointer
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.image.resize import network_input_numba
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.fold import fold_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import layer_slots

#: A piece of the work: a second of compiling at most.
Piece = Callable[[], object]

#: A first layer, weights in panels, and layers that no step of a plan computes.
#: `tests/test_startup.py` finds out whether anything is missing.
NETWORK = """\
[net]
width=32
height=32
channels=3

[convolutional]
filters=32
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=64
size=3
stride=1
pad=1
activation=leaky

[convolutional]
filters=64
groups=64
size=3
stride=1
pad=1
activation=leaky

[upsample]
stride=1
scale=2

[shortcut]
from=-4
activation=linear

[convolutional]
filters=1
size=1
activation=linear

[scale_channels]
from=-2
scale_wh=1
activation=linear

[maxpool]
size=2
stride=1
padding=2

[convolutional]
filters=7
size=1
activation=linear

[yolo]
mask=0
anchors=8,8
classes=2
num=1
"""


def code_pointers() -> Iterator[CodePointer]:
    """Yield every operation and transform of this room that this processor can run."""
    for module in pkgutil.iter_modules(cpu.__path__, cpu.__name__ + "."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, CodePointer) and value.supported:
                yield value


def compilation() -> list[Piece]:
    """Return what compiles everything, in pieces; pieces that are done cost next to nothing."""
    # A pointer stands under its name in its own module, and in those that import it.
    pointers = list(dict.fromkeys(code_pointers()))
    return [
        *(partial(getattr, p, "address") for p in pointers),
        _run_network,
        _pack_weights,
        _run_stages,
    ]


def _run_network() -> None:
    graph = fold_graph(build_graph(parse_config(NETWORK, "<built-in>")))
    parameters = {
        layer.index: {s.name: np.zeros(s.shape, np.float32) for s in layer_slots(layer)}
        for layer in graph.layers
    }
    CpuEngine(parameters).forward(graph, _blank(graph))


def _blank(graph: Graph) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.zeros((1, *graph.input_shape), np.float32)


def _pack_weights() -> None:
    """Pack weights as larger networks need them."""
    weights = np.zeros((1, LANES, 3, 3), np.float32)
    packing.round_panels(packing.pack_panels(weights, LANES), weights)
    packing.pack_winograd(weights, next(iter(FILTERINGS.values())))


def _run_stages() -> None:
    network_input_numba(np.zeros((2, 2, 3), np.uint8), 32, 32, "letterbox")
    head = np.ones((7, 1, 1), np.float32)
    found = decode_numba([head], [HeadGeometry("yolo", ((0.5, 0.5),), 2)], 0.0)
    kinds: tuple[NmsKind, ...] = ("greedy", "diou")
    for kind in kinds:
        nms_numba(
            found.boxes_cxcywh_unit,
            found.confidence,
            found.class_id,
            iou_threshold=0.5,
            kind=kind,
        )
