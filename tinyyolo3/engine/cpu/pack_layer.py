"""A layer's parameters, packed as its step's algorithm reads them."""

import numpy as np

from tinyyolo3.engine.cpu import packing
from tinyyolo3.engine.cpu.algorithms import merged_parts
from tinyyolo3.engine.cpu.lower import run_depth
from tinyyolo3.engine.cpu.packing import Floats, PackedWeights
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.plan import Step
from tinyyolo3.network import specs
from tinyyolo3.network.parameters import LayerParameters


def pack_step(layer: specs.Convolutional, step: Step, parameters: LayerParameters) -> PackedWeights:
    """Return the packed weights of a step, in float32.

    Args:
        layer: the convolution.
        step: its algorithm, and which part of the layer's groups it computes.
        parameters: the layer's, batch norm folded.
    """
    weights = np.ascontiguousarray(parameters["weights"], np.float32)
    biases = packing.pack_biases(_part(parameters["biases"].astype(np.float32), layer, step))
    if step.algorithm == "depthwise":
        return PackedWeights(packing.pack_depthwise(weights), biases)
    own = _part(weights, layer, step)
    groups = layer.groups // merged_parts(layer)
    if groups > 1:
        own = packing.merge_groups(own, groups)
    return PackedWeights(_pack(own, step.algorithm), biases)


def _part(array: Floats, layer: specs.Convolutional, step: Step) -> Floats:
    """Return the filters of a step's part."""
    if step.algorithm == "depthwise":
        return array
    count = layer.filters // merged_parts(layer)
    return array[step.part * count : (step.part + 1) * count]


def _pack(weights: Floats, algorithm: str) -> Floats:
    if algorithm.startswith("winograd"):
        return packing.pack_winograd(weights, FILTERINGS[algorithm.split()[1]])
    if algorithm == "first layer":
        return packing.pack_panels(weights, 1)
    channels, taps = weights.shape[1], weights[0, 0].size
    return packing.pack_panels(weights, run_depth(channels, taps))
