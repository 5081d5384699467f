"""Batch-norm folding: a pass that leaves an inference network without batch norm.

With ``d = sqrt(variance + epsilon)``, batch norm after a convolution is itself a convolution:

    scales * (weights*x − mean) / d + biases = (weights * scales/d)*x + (biases − scales*mean/d)

(AlexeyAB's network.c fuse_conv_batchnorm.) It is computed in float64 and rounded once.
"""

from dataclasses import replace
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

    Those given stay as they are; the arrays of layers without batch norm are shared.
    """
    return {
        index: _fold_layer(own, graph.parity) if _has_batchnorm(graph.layers[index]) else own
        for index, own in parameters.items()
    }


def _has_batchnorm(layer: Layer) -> TypeGuard[Convolutional | Connected]:
    return isinstance(layer, Convolutional | Connected) and layer.batch_normalize


def _fold_layer(parameters: LayerParameters, parity: Parity) -> LayerParameters:
    weights, biases = parameters["weights"], parameters["biases"]
    # A broken variance is reported at load; here it must only not add warnings of its own.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        factor = parameters["scales"] / _divisor(parameters["variance"], parity)
        shift = biases - factor * parameters["mean"]
        shaped = factor.reshape(-1, *[1] * (weights.ndim - 1))
        return {
            "biases": shift.astype(biases.dtype),
            "weights": (weights * shaped).astype(weights.dtype),
        }


def _divisor(variance: NDArray[np.floating[Any]], parity: Parity) -> NDArray[np.float64]:
    wide = variance.astype(np.float64)
    if parity.epsilon_inside_root:
        root = np.sqrt(wide + parity.batchnorm_epsilon)
    else:
        root = np.sqrt(wide) + parity.batchnorm_epsilon
    return np.asarray(root, np.float64)
