"""How each convolution of a plan is cut into tiles, and the workspace that all of them share."""

from tinyyolo3.engine.plan import Plan
from tinyyolo3.layers.convolution.cuda import workspace_floats
from tinyyolo3.layers.convolution.cuda_tiles import Product, Tile, choose_tile
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph


def convolution_tile(layer: specs.Convolutional, images: int) -> Tile:
    """Return the tile of a convolution for a batch."""
    return choose_tile(_product(layer, images))


def shared_workspace_floats(graph: Graph, plan: Plan, images: int) -> int:
    """Return how many numbers of workspace the plan's convolutions need, one after the other."""
    products = [
        _product(layer, images)
        for step in plan.steps
        if step.algorithm == "convolution"
        and isinstance(layer := graph.layers[step.weights or 0], specs.Convolutional)
    ]
    return max((workspace_floats(p, choose_tile(p)) for p in products), default=0)


def _product(layer: specs.Convolutional, images: int) -> Product:
    _, height, width = layer.output_shape
    terms = layer.size**2 * layer.input_shapes[0][0]
    return Product(images * height * width, layer.filters, terms)
