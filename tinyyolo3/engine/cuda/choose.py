"""Which kernels compute each layer on a target, and the plan that follows from it."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from tinyyolo3.engine.layout import ChannelsLast
from tinyyolo3.engine.plan import Choice, Plan
from tinyyolo3.engine.planner import make_plan
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda import BLOCKED_SIZE
from tinyyolo3.layers.convolution.cuda_mma_tiles import Precision
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

#: Kernels count a map's numbers in 32 bits, the sign among them.
LARGEST_MAP_NUMBERS = 2**31 - 1


def plan_network(
    graph: Graph,
    images: int,
    wanted: Sequence[int] | None = None,
    precision: Precision | None = None,
) -> Plan:
    """Return the plan by which a target runs a network.

    Args:
        graph: the layers, batch norm folded or not.
        images: pictures in the batch.
        wanted: the layers that it puts out; the network's outputs when None.
        precision: what tensor cores multiply; None for float32 without them.

    Raises:
        InputError: a map is larger than kernels can count.
    """
    layers = graph.output_indices if wanted is None else wanted
    layout = map_layout(images, precision)
    choose = partial(choose_algorithm, precision=precision)
    plan = make_plan(graph, layers, layout, choose, ChannelsLast(images))
    largest = max(buffer.bytes for buffer in plan.buffers)
    limit = layout.element_bytes * LARGEST_MAP_NUMBERS
    if largest > limit:
        raise InputError(
            f"a batch of {images} at {graph.input_shape[2]}x{graph.input_shape[1]} has a map of "
            f"{largest / 2**30:.1f} GiB; the limit is {limit / 2**30:.0f}: "
            "use smaller batches"
        )
    return plan


def map_layout(images: int, precision: Precision | None = None) -> ChannelsLast:
    """Return how the maps between layers lie: of floats, or of halves for fp16."""
    if precision is None:
        return ChannelsLast(images)
    return ChannelsLast(images, np.dtype(precision.dtype).itemsize)


def choose_algorithm(layer: specs.Layer, precision: Precision | None = None) -> Choice:
    """Return how a layer is computed: the operation of `tinyyolo3.backends.cuda` by its name.

    A convolution adds the shortcut after it, unless a batch norm still lies in between. On tensor
    cores it writes floats where that is wanted.
    """
    if isinstance(layer, specs.Convolutional):
        operation = convolution_operation(layer, precision)
        floats = operation == "convolution mma"
        return Choice(operation, residual=not layer.batch_normalize, floats=floats)
    return Choice(layer.kind)


def convolution_operation(layer: specs.Convolutional, precision: Precision | None = None) -> str:
    """Return which of the kernels for convolutions suits a layer."""
    if layer.groups == layer.input_shapes[0][0] > 1:
        return "convolution depthwise"
    if layer.groups > 1 or layer.size > BLOCKED_SIZE:
        return "convolution direct"
    return "convolution" if precision is None else "convolution mma"
