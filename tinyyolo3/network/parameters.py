"""Which parameters each layer has, in the order of the ``.weights`` file, and their values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.darknet.weights import Slot, WeightsFile
from tinyyolo3.errors import ConfigError
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.specs import Connected, Convolutional, Layer

#: The statistics that training gathers and does not learn.
RUNNING_STATISTICS = ("mean", "variance")

#: A layer's parameters by name, and a network's by layer index. Looking a layer up may cost reading
#: and computing it (`StoredParameters`, `fold_parameters`): what runs layers again and again keeps
#: them (`materialize`).
LayerParameters = Mapping[str, NDArray[np.floating[Any]]]
Parameters = Mapping[int, LayerParameters]


def layer_slots(layer: Layer) -> tuple[Slot, ...]:
    """Return the layer's arrays in file order; none for most kinds.

    Source: parser.c load_convolutional_weights and load_connected_weights. A convolution's weights
    come after its batch norm, a connected layer's before it.
    """
    if isinstance(layer, Convolutional):
        inputs = layer.input_shapes[0][0] // layer.groups
        vector: tuple[int, ...] = (layer.filters,)
        slots: dict[str, tuple[int, ...]] = {"biases": vector}
        if layer.batch_normalize:
            slots |= {"scales": vector, "mean": vector, "variance": vector}
        slots["weights"] = (layer.filters, inputs, layer.size, layer.size)
    elif isinstance(layer, Connected):
        channels, height, width = layer.input_shapes[0]
        vector = (layer.outputs,)
        slots = {"biases": vector, "weights": (layer.outputs, channels * height * width)}
        if layer.batch_normalize:
            slots |= {"scales": vector, "mean": vector, "variance": vector}
    else:
        return ()
    return tuple(Slot(layer.index, layer.kind, name, shape) for name, shape in slots.items())


def network_slots(graph: Graph) -> tuple[Slot, ...]:
    """Return the arrays of all layers in file order."""
    return tuple(slot for layer in graph.layers for slot in layer_slots(layer))


def neutral_parameters(layer: Layer) -> LayerParameters:
    """Return what stands in for parameters that a partial file does not hold.

    Weights and biases are zero, batch norm does nothing: such a layer puts out zeros.
    """
    return {
        slot.name: np.full(slot.shape, slot.name in ("scales", "variance"), np.float32)
        for slot in layer_slots(layer)
    }


@dataclass(frozen=True, eq=False)
class StoredParameters(Mapping[int, LayerParameters]):
    """A network's parameters in a ``.weights`` file, read layer by layer as they are looked up.

    Every look-up returns new arrays, the file's or, for a layer that it does not hold, the neutral
    ones, and raises `WeightsError` if the file is not there any more as it was checked.

    Attributes:
        graph: the network.
        file: its weights, opened for the `network_slots` of this graph.
    """

    graph: Graph
    file: WeightsFile

    def __getitem__(self, index: int) -> LayerParameters:
        if index in self.file.layers:
            return self.file.read_layer(index)
        if index in range(len(self.graph.layers)):
            return neutral_parameters(self.graph.layers[index])
        raise KeyError(index)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.graph.layers)))

    def __len__(self) -> int:
        return len(self.graph.layers)


def materialize(parameters: Parameters) -> dict[int, LayerParameters]:
    """Return the parameters with every layer looked up once and kept, for running it often."""
    return dict(parameters)


def cast_parameters(parameters: Parameters, dtype: DTypeLike) -> Parameters:
    """Return the parameters in another floating type, for example float64 for an oracle."""
    return {
        index: {name: array.astype(dtype) for name, array in own.items()}
        for index, own in parameters.items()
    }


def find_bad_values(parameters: Parameters) -> list[tuple[int, str, str]]:
    """Return (layer, parameter name, what is wrong) for arrays that cannot give useful numbers.

    Each layer is looked up once and let go before the next.
    """
    return [
        (index, name, problem)
        for index in parameters
        for name, problem in _bad_values(parameters[index])
    ]


def _bad_values(parameters: LayerParameters) -> list[tuple[str, str]]:
    """Return (parameter name, what is wrong) for one layer."""
    found = []
    for name, array in parameters.items():
        # A NaN or an infinity survives the sum, which is several times quicker than looking at
        # every element. Large numbers may overflow it, so the elements have the last word.
        with np.errstate(invalid="ignore", over="ignore"):
            suspect = not np.isfinite(array.sum())
        bad = array.size - int(np.count_nonzero(np.isfinite(array))) if suspect else 0
        if bad:
            found.append((name, f"{bad:,} of {array.size:,} values are NaN or infinite"))
        elif name == "variance" and (array < 0).any():
            found.append((name, "some values are negative"))
    return found


def check_same_slots(graph: Graph, other: Graph) -> None:
    """Refuse another input size of the same cfg under which the parameters would not fit.

    Raises:
        ConfigError: a [connected] layer has another number of inputs.
    """
    for mine, theirs in zip(network_slots(graph), network_slots(other), strict=True):
        if mine != theirs:
            line = graph.layers[mine.layer].line
            raise ConfigError(
                f"{graph.config.source}:{line} [{mine.section}] ties the network to its input size "
                f"{graph.input_shape[2]}x{graph.input_shape[1]}: its {mine.name} have shape "
                f"{mine.shape}, another size needs {theirs.shape}"
            )
