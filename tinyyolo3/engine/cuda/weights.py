"""A network's parameters in a target's memory, packed as the kernels read them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.layers.connected import pack_connected_weights
from tinyyolo3.layers.convolution.cuda import pack_weights
from tinyyolo3.layers.convolution.cuda_algorithms import Algorithm, pack_algorithm
from tinyyolo3.layers.convolution.cuda_first import FirstLayer, pack_first_weights
from tinyyolo3.layers.convolution.cuda_mma import pack_mma_weights
from tinyyolo3.layers.convolution.cuda_mma_tiles import Precision
from tinyyolo3.network import specs
from tinyyolo3.network.parameters import LayerParameters, Parameters

#: What the form of a convolution's weights depends on: an algorithm, the precision of tensor cores,
#: that it is computed from pictures, or nothing.
Way = Algorithm | Precision | FirstLayer | None


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """A batch norm that has not been folded: float32 (channels,) each."""

    mean: DeviceArray
    variance: DeviceArray
    scales: DeviceArray
    biases: DeviceArray


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One layer's parameters in the target's memory.

    Attributes:
        weights: as the layer's kernel reads them.
        biases: (outputs,) float32; zeros where batch norm follows, which adds the layer's.
        batchnorm: what is not folded into them.
    """

    weights: DeviceArray
    biases: DeviceArray
    batchnorm: BatchNorm | None = None


class DeviceWeights:
    """The parameters of a network's layers, uploaded when they are first looked up.

    No more than one layer is in the host's memory at a time.
    """

    def __init__(self, target: Target, parameters: Parameters) -> None:
        """Note where parameters come from and go to; nothing is read yet."""
        self._target, self._parameters = target, parameters
        self._found: dict[tuple[int, int | str], LayerWeights] = {}

    def of(self, layer: specs.Convolutional | specs.Connected, way: Way = None) -> LayerWeights:
        """Return a layer's parameters.

        Args:
            layer: the layer.
            way: of a convolution that has a choice; each form of its weights is kept.

        Raises:
            InputError: a weight overflows in the precision.
        """
        key = layer.index, _form(way)
        if key not in self._found:
            self._found[key] = self._upload(layer, way, self._parameters[layer.index])
        return self._found[key]

    def _upload(
        self,
        layer: specs.Convolutional | specs.Connected,
        way: Way,
        own: LayerParameters,
    ) -> LayerWeights:
        upload = self._target.upload
        biases = np.asarray(own["biases"], np.float32)
        weights = upload(_pack(layer, way, np.asarray(own["weights"], np.float32)))
        if not layer.batch_normalize:
            return LayerWeights(weights, upload(biases))
        names = ("mean", "variance", "scales", "biases")
        normalization = (upload(np.asarray(own[name], np.float32)) for name in names)
        return LayerWeights(weights, upload(np.zeros_like(biases)), BatchNorm(*normalization))


def _form(way: Way) -> int | str:
    """Return what tells one form of a layer's weights from another."""
    if isinstance(way, Precision):
        return way.name
    if isinstance(way, FirstLayer):
        return f"first {way.precision.name}"
    return 0 if way is None else way.outputs


def _pack(
    layer: specs.Convolutional | specs.Connected,
    way: Way,
    weights: NDArray[np.float32],
) -> NDArray[Any]:
    if isinstance(layer, specs.Connected):
        return np.asarray(pack_connected_weights(weights, layer.input_shapes[0]), np.float32)
    if isinstance(way, FirstLayer):
        return pack_first_weights(weights, way.precision).reshape(-1)
    if isinstance(way, Precision):
        return pack_mma_weights(weights, way).reshape(-1)
    if way is not None:
        return pack_algorithm(weights, way).reshape(-1)
    return pack_weights(weights).reshape(-1)
