"""The parameters of all convolutions in one array, for a kernel that runs all of them."""

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cuda.choose import convolution_operation
from tinyyolo3.engine.cuda.weights import DeviceWeights
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

#: Bytes of which every layer's place is a multiple.
ALIGNMENT = 256


class PackedWeights:
    """Weights and biases of a network's convolutions, each as its kernel reads them.

    They are beside those of the layers' own launches, which look for overflows: the parameters are
    twice in memory.

    Attributes:
        data: uint8, in the target's memory.
        places: where weights and biases of a layer begin, in bytes, by its index.
    """

    def __init__(self, target: Target, graph: Graph, weights: DeviceWeights) -> None:
        """Gather what has been uploaded."""
        self.places: dict[int, tuple[int, int]] = {}
        arrays: list[NDArray[np.uint8]] = []
        begin = 0
        for layer in graph.layers:
            if not isinstance(layer, specs.Convolutional):
                continue
            way = FP16 if convolution_operation(layer, FP16) == "convolution mma" else None
            own = weights.of(layer, way)
            found = []
            for array in (own.weights, own.biases):
                numbers = target.download(array).reshape(-1).view(np.uint8)
                room = -(-numbers.size // ALIGNMENT) * ALIGNMENT
                arrays.append(np.pad(numbers, (0, room - numbers.size)))
                found.append(begin)
                begin += room
            self.places[layer.index] = found[0], found[1]
        self.data = target.upload(np.concatenate(arrays) if arrays else np.zeros(1, np.uint8))
