"""A layer's parameters, packed as its step's algorithm reads them."""

import numpy as np

from tinyyolo3.engine.cpu import packing
from tinyyolo3.engine.cpu.algorithms import arithmetic_of, merged_parts, run_depth
from tinyyolo3.engine.cpu.arithmetic import BFLOAT16, FLOAT32_PAIRS
from tinyyolo3.engine.cpu.packing import Floats, PackedWeights
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.cpu.vectors import LANES
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


def packed_bytes(layer: specs.Convolutional, step: Step) -> int:
    """Return the size of what `pack_step` returns, packing nothing."""
    parts = 1 if step.algorithm == "depthwise" else merged_parts(layer)
    channels, filters = layer.input_shapes[0][0] // parts, layer.filters // parts
    taps, count = layer.size**2, packing.panels(filters)
    biases = count * packing.WIDTH
    if step.algorithm == "depthwise":
        weights = packing.blocks(filters) * taps * LANES
    elif step.algorithm.startswith("winograd"):
        products = len(FILTERINGS[step.algorithm.split()[1]].distinct_weights) ** 2
        weights = count * products * packing.blocks(channels) * LANES * packing.WIDTH
    else:
        first = step.algorithm == "first layer"
        depth = 1 if first else run_depth(channels, taps, step.algorithm)
        arithmetic = arithmetic_of(step.algorithm)
        weights = count * packing.panel_floats(channels, taps, depth, arithmetic)
    return 4 * (weights + biases)


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
    packed = packing.pack_panels(weights, run_depth(channels, taps, algorithm))
    if arithmetic_of(algorithm) is BFLOAT16:
        return packing.round_panels(packed, weights)
    if arithmetic_of(algorithm) is FLOAT32_PAIRS:
        return packing.pair_channels(packed)
    return packed
