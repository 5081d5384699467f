"""What the exporters share: the folded network, what of it they can say, and its plainest form.

The exporters write for the peers exactly the network that this project runs: layers from its graph,
weights with batch norm folded by its own pass. Only inference networks of the layers below are
exported; everything else is refused by name, since a peer that computes something else proves
nothing.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from peers.base import Model
from tinyyolo3.darknet.config import read_config
from tinyyolo3.errors import ConfigError
from tinyyolo3.loading import load_parameters
from tinyyolo3.network import specs
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.fold import fold_graph, fold_parameters
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import Parameters

EXPORTED_LAYERS = (
    *(specs.Convolutional, specs.Maxpool, specs.Upsample, specs.Route),
    *(specs.Shortcut, specs.Dropout, specs.Yolo),
)
EXPORTED_ACTIVATIONS = ("linear", "leaky", "relu")


@dataclass(frozen=True)
class FoldedNetwork:
    """A graph without batch norm, and its parameters by layer index and name."""

    graph: Graph
    parameters: Parameters


def read_folded(cfg: Path, weights: Path, side: int) -> FoldedNetwork:
    """Read a Darknet model for an input of `side` × `side` pixels and fold its batch norm.

    Raises:
        ConfigError: the exporters cannot say one of its layers.
        WeightsError: the weights do not fit.
    """
    graph = build_graph(read_config(cfg), width=side, height=side)
    check_exportable(graph)
    return FoldedNetwork(fold_graph(graph), fold_parameters(graph, load_parameters(graph, weights)))


def check_exportable(graph: Graph) -> None:
    """Refuse a network of which a layer, or an option of one, cannot be exported.

    Raises:
        ConfigError: naming the first such layer.
    """
    for layer in graph.layers:
        problem = _problem(graph, layer)
        if problem:
            raise ConfigError(
                f"{graph.config.source}:{layer.line} [{layer.kind}] cannot be exported: {problem}"
            )
    if not graph.heads:
        raise ConfigError(f"{graph.config.source} cannot be exported: it has no [yolo] head")


def _problem(graph: Graph, layer: specs.Layer) -> str | None:
    activation = getattr(layer, "activation", "linear")
    if not isinstance(layer, EXPORTED_LAYERS):
        return f"only {', '.join(kind.kind for kind in EXPORTED_LAYERS)} are"
    if any(i >= 0 and isinstance(graph.layers[i], specs.Head) for i in layer.inputs):
        return "it reads a head, which exported networks leave out"
    if activation not in EXPORTED_ACTIVATIONS:
        return f"activation={activation} is none of {', '.join(EXPORTED_ACTIVATIONS)}"
    match layer:
        case specs.Upsample(scale=scale) if scale != 1:
            return f"scale={scale:g} is not 1"
        case specs.Shortcut(alpha=alpha, beta=beta) if (alpha, beta) != (1, 1):
            return f"alpha={alpha:g}, beta={beta:g} are not 1"
        case specs.Shortcut() if activation != "linear":
            return f"activation={activation} is not linear"
        case specs.Shortcut() if len(set(layer.input_shapes)) > 1:
            return "its inputs differ in shape"
    return None


def pool_padding(layer: specs.Maxpool) -> tuple[int, int, int, int]:
    """Return a pooling's padding as (top, left, bottom, right).

    Darknet puts half of the total, rounded down, before the first cell. What it puts after the
    last counts only as far as a window reaches: both sides are given alike where that has the same
    result, because some libraries pad unequally by a copy.
    """
    _, height, width = layer.input_shapes[0]
    _, out_height, out_width = layer.output_shape
    top, bottom = _axis_padding(height, layer, layer.stride[0], out_height)
    left, right = _axis_padding(width, layer, layer.stride[1], out_width)
    return top, left, bottom, right


def _axis_padding(cells: int, layer: specs.Maxpool, stride: int, windows: int) -> tuple[int, int]:
    before = layer.padding // 2
    if (cells + 2 * before - layer.size) // stride + 1 == windows:
        return before, before
    return before, max(0, (windows - 1) * stride + layer.size - cells - before)


def write_plain(graph: Graph, parameters: Parameters, model: Model) -> None:
    """Write the layers' specifications as JSON and the parameters as .npz.

    For peers without a file format of their own: they need nothing of this package to read it. A
    layer is its specification with ``kind``; a convolution's padding is in undilated pixels, as
    everywhere but in Darknet, and a pooling has ``pads`` as `pool_padding` gives them.
    """
    layers = []
    for layer in graph.layers:
        plain = {"kind": layer.kind, **asdict(layer)}
        if isinstance(layer, specs.Convolutional):
            plain["padding"] = layer.padding * layer.dilation
        if isinstance(layer, specs.Maxpool):
            plain["pads"] = pool_padding(layer)
        layers.append(plain)
    described = {"layers": layers, "outputs": graph.output_indices}
    model.layers.write_text(json.dumps(described))
    arrays = {
        f"{name}.{index}": array for index, own in parameters.items() for name, array in own.items()
    }
    np.savez(model.parameters, allow_pickle=False, **arrays)
