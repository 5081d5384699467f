"""What a training starts from: random numbers as Darknet's, or as many layers as a file holds."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.darknet.files import PathLike
from tinyyolo3.darknet.weights import WeightsFile, open_weights
from tinyyolo3.errors import WeightsWarning
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import LayerParameters, layer_slots, network_slots
from tinyyolo3.network.specs import Layer


@dataclass(frozen=True, eq=False)
class Start:
    """Where a training begins.

    Attributes:
        parameters: float32, of every layer that has any.
        seen: pictures that they have been trained on, by their file's header.
        taken: the layers whose parameters are from a file; the others' are random.
        missing: the layers with parameters that the file does not hold.
    """

    parameters: Mapping[int, LayerParameters]
    seen: int = 0
    taken: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()


def initial_parameters(layer: Layer, seed: int) -> LayerParameters:
    """Return the random parameters that a layer starts with, none for most kinds.

    Weights are even on ±√(2 / n) with n the products of one output, biases and running means 0,
    scales 1 (convolutional_layer.c, make_convolutional_layer; connected_layer.c). The numbers
    depend on the seed and the layer's index alone.
    """
    random = np.random.default_rng([seed, layer.index])
    found: dict[str, FloatArray] = {}
    for slot in layer_slots(layer):
        if slot.name == "weights":
            bound = math.sqrt(2 / math.prod(slot.shape[1:]))
            found[slot.name] = random.uniform(-bound, bound, slot.shape).astype(np.float32)
        else:
            # DARKNET: the running variance begins at 0, too.
            found[slot.name] = np.full(slot.shape, slot.name == "scales", np.float32)
    return found


def read_start(
    graph: Graph, weights: PathLike | None, *, seed: int, cutoff: int | None = None
) -> Start:
    """Return the parameters that a training begins with.

    Args:
        graph: the network.
        weights: a ``.weights`` file, whole or, as ``darknet53.conv.74``, the first layers of one:
            all that it holds are taken. None for random numbers alone.
        seed: of the random numbers.
        cutoff: take only the layers before this index; then more may follow in the file, which
            may belong to a network that goes on differently.

    Raises:
        WeightsError: the file cannot be read, is longer than the network, or does not end where
            one of its layers does.
    """
    if weights is None:
        return Start(
            {n: initial_parameters(graph.layers[n], seed) for n in _with_parameters(graph)}
        )
    file = _open_start(graph, weights, cutoff)
    parameters = {
        index: file.read_layer(index)
        if index in file.layers
        else initial_parameters(graph.layers[index], seed)
        for index in _with_parameters(graph)
    }
    missing = tuple(index for index in parameters if index not in file.layers)
    return Start(parameters, file.header.seen, tuple(file.layers), missing)


def _open_start(graph: Graph, weights: PathLike, cutoff: int | None) -> WeightsFile:
    slots = network_slots(graph)
    if cutoff is not None:
        return open_weights(weights, slots, cutoff=cutoff)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsWarning)
        file = open_weights(weights, slots, strict=False)
    held = sum(slot.count for layer in file.layers.values() for slot in layer.slots)
    ends_with_a_layer = file.size == len(file.header.to_bytes()) + 4 * held
    if file.layers and ends_with_a_layer:
        return file
    # Cut inside a layer it belongs to another network, or is broken; longer than all layers, too.
    return open_weights(weights, slots, strict=True)


def _with_parameters(graph: Graph) -> list[int]:
    return [layer.index for layer in graph.layers if layer_slots(layer)]
