"""Eager execution: the layers one after another, each output dropped after its last use."""

from collections.abc import Iterable

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.apply import apply_layer
from tinyyolo3.backends.table import Backend
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import Parameters


def run_graph(
    graph: Graph, parameters: Parameters, backend: Backend, x: FloatArray, wanted: Iterable[int]
) -> dict[int, FloatArray]:
    """Return the outputs of the layers in `wanted`, running only what they depend on.

    Args:
        graph: the layers.
        parameters: their numbers; they decide the precision together with `x`.
        backend: the functions that compute them.
        x: the network's input, (N, C, H, W) of the graph's input shape.
        wanted: indices of layers.
    """
    kept = set(wanted)
    last_use = _last_uses(graph, kept)
    outputs: dict[int, FloatArray] = {-1: x}
    # Broken weights are reported at load, and broken pixels are the caller's own: NaN and infinity
    # pass through every layer without a warning from each.
    with np.errstate(over="ignore", invalid="ignore"):
        for layer in graph.layers:
            if layer.index not in last_use:
                continue
            inputs = [outputs[i] for i in layer.inputs]
            outputs[layer.index] = apply_layer(
                backend, graph.parity, layer, parameters.get(layer.index, {}), inputs
            )
            for used in set(layer.inputs):
                if last_use.get(used) == layer.index:
                    del outputs[used]
    return {index: outputs[index] for index in kept}


def _last_uses(graph: Graph, wanted: set[int]) -> dict[int, int]:
    """Map every layer that `wanted` depends on, itself included, to the last layer to read it."""
    last_use = {index: index for index in wanted}
    for layer in reversed(graph.layers):
        if layer.index in last_use:
            for used in layer.inputs:
                last_use.setdefault(used, layer.index)
    return last_use
