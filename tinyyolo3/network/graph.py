"""The graph: a network's layers in order, as plain data, for one input size."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

from tinyyolo3.darknet.config import Config
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network.parity import Parity
from tinyyolo3.network.specs import Cost, Head, Layer


@dataclass(frozen=True)
class Graph:
    """A network's layers for one input size.

    Attributes:
        config: the cfg it was built from.
        parity: whose numbers to follow.
        input_shape: ``(channels, height, width)`` of the network's input.
        layers: the layers in order; each names the earlier ones it reads.
    """

    config: Config
    parity: Parity
    input_shape: Shape
    layers: tuple[Layer, ...]

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """The detection heads in order; none for a classifier."""
        return tuple(layer for layer in self.layers if isinstance(layer, Head))

    @cached_property
    def largest_layer(self) -> Layer:
        """The layer with the largest output."""
        return max(self.layers, key=lambda layer: prod(layer.output_shape))

    @cached_property
    def output_indices(self) -> tuple[int, ...]:
        """The layers whose outputs are the network's: each head's input, or the last layer.

        Darknet takes the last layer that is no [cost] for a classifier's output
        (network.c get_network_output).
        """
        if self.heads:
            return tuple(head.inputs[0] for head in self.heads)
        return (max(layer.index for layer in self.layers if not isinstance(layer, Cost)),)
