"""Batch-norm folding: a pass that leaves an inference network without batch norm.

With ``d = sqrt(variance + epsilon)``, batch norm after a convolution is itself a convolution:

    scales * (weights*x − mean) / d + biases = (weights * scales/d)*x + (biases − scales*mean/d)

(AlexeyAB's network.c fuse_conv_batchnorm.) It is computed in float64 and rounded once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import LayerParameters, Parameters
from tinyyolo3.network.parity import Parity
from tinyyolo3.network.specs import Connected, Convolutional, Layer


def fold_graph(graph: Graph) -> Graph:
    """Return the graph with no layer's batch norm, as `fold_parameters` leaves the weights."""
    layers = (
        replace(layer, batch_normalize=False) if _has_batchnorm(layer) else layer
        for layer in graph.layers
    )
    return replace(graph, layers=tuple(layers))


def fold_parameters(graph: Graph, parameters: Parameters) -> Parameters:
    """Return the parameters with every batch norm of `graph` folded into weights and biases.

    A layer is folded whenever it is looked up. Those given stay as they are, and a layer without
    batch norm is the one given.
    """
    return _FoldedParameters(graph, parameters)


@dataclass(frozen=True, eq=False)
class _FoldedParameters(Mapping[int, LayerParameters]):
    """What `fold_parameters` returns: `plain` with each layer folded on its way out."""

    graph: Graph
    plain: Parameters

    def __getitem__(self, index: int) -> LayerParameters:
        own = self.plain[index]
        if _has_batchnorm(self.graph.layers[index]):
            return _fold_layer(own, self.graph.parity)
        return own

    def __iter__(self) -> Iterator[int]:
        return iter(self.plain)

    def __len__(self) -> int:
        return len(self.plain)


def _has_batchnorm(layer: Layer) -> TypeGuard[Convolutional | Connected]:
    return isinstance(layer, Convolutional | Connected) and layer.batch_normalize


def _fold_layer(parameters: LayerParameters, parity: Parity) -> LayerParameters:
    weights, biases = parameters["weights"], parameters["biases"]
    # A broken variance is reported at load; here it must only not add warnings of its own.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        factor = parameters["scales"] / _divisor(parameters["variance"], parity)
        shift = biases - factor * parameters["mean"]
        shaped = factor.reshape(-1, *[1] * (weights.ndim - 1))
        # With its own output NumPy casts piece by piece: no float64 copy of the weights is made.
        scaled = np.multiply(weights, shaped, out=np.empty_like(weights), dtype=np.float64)
        return {"biases": shift.astype(biases.dtype), "weights": scaled}


def _divisor(variance: NDArray[np.floating[Any]], parity: Parity) -> NDArray[np.float64]:
    wide = variance.astype(np.float64)
    if parity.epsilon_inside_root:
        root = np.sqrt(wide + parity.batchnorm_epsilon)
    else:
        root = np.sqrt(wide) + parity.batchnorm_epsilon
    return np.asarray(root, np.float64)
