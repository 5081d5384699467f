"""A network's parameters in a target's memory, packed as the kernels read them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.engine.cuda.choose import convolution_kind
from tinyyolo3.layers.connected import pack_connected_weights
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import LayerParameters, Parameters


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
