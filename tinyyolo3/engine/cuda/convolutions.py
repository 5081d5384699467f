"""Which way each convolution of a plan is computed, and the workspace that all of them share."""

from tinyyolo3.engine.plan import Plan
from tinyyolo3.layers.convolution.cuda_algorithms import (
    Algorithm,
    Gpu,
    Problem,
    algorithm_workspace_floats,
    choose_algorithm,
)
from tinyyolo3.layers.convolution.cuda_mma_tiles import Precision, mma_workspace_floats
from tinyyolo3.layers.convolution.cuda_tensor import TensorTile, tensor_product
from tinyyolo3.layers.convolution.cuda_tensor_choice import choose_tensor_tile
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph


def convolution_algorithm(layer: specs.Convolutional, images: int, gpu: Gpu) -> Algorithm:
    """Return how a GPU computes a convolution without groups for a batch."""
    return choose_algorithm(_problem(layer, images), gpu)


def convolution_tile(
    layer: specs.Convolutional, images: int, precision: Precision, gpu: Gpu
) -> TensorTile:
    """Return how a GPU cuts a convolution on tensor cores for a batch."""
    return choose_tensor_tile(_problem(layer, images), precision, gpu)


def shared_workspace_floats(
    graph: Graph, plan: Plan, images: int, gpu: Gpu, precision: Precision | None = None
) -> int:
    """Return how many numbers of workspace the plan's convolutions need, one after the other."""
    sizes = [0]
    for step in plan.steps:
        layer = None if step.weights is None else graph.layers[step.weights]
        if not isinstance(layer, specs.Convolutional):
            continue
        if step.algorithm == "convolution mma" and precision is not None:
            tile = convolution_tile(layer, images, precision, gpu)
            product = tensor_product(_problem(layer, images), precision)
            sizes.append(mma_workspace_floats(product, tile))
        if step.algorithm == "convolution":
            algorithm = convolution_algorithm(layer, images, gpu)
            sizes.append(algorithm_workspace_floats(_problem(layer, images), algorithm))
    return max(sizes)


def _problem(layer: specs.Convolutional, images: int) -> Problem:
    channels, _, _ = layer.input_shapes[0]
    filters, height, width = layer.output_shape
    sides = (images, height, width, channels, filters)
    return Problem(*sides, layer.size, layer.stride, layer.dilation)
