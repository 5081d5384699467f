"""What carries mini-batches through a network and their deltas back, and its plain version.

Training asks for nothing more than the `Propagation` protocol: how the numbers are computed, and in
which memory, is the implementation's own matter.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.network.parameters import Parameters
from tinyyolo3.train.propagate import Trace, backward_training, forward_training
from tinyyolo3.train.step import Recipe

#: Of each batch norm that trains, by layer index: mean (C,), variance (C,) with the sum of squares
#: divided by the count, and that count: the values of a channel.
BatchMoments = Mapping[int, tuple[FloatArray, FloatArray, int]]


class Propagation(Protocol):
    """One network of one input size, for mini-batches of one size.

    The calls belong together in this order: `forward`, then `backward` and `moments` of it.
    """

    def forward(self, parameters: Parameters, pictures: FloatArray) -> Mapping[int, FloatArray]:
        """Run all layers on a mini-batch.

        Args:
            parameters: of all layers, in the pictures' dtype; `backward` reads them, too.
            pictures: (N, C, H, W), values from 0 to 1.

        Returns:
            What each [yolo] head puts out, by its layer's index: (N, A·(5 + classes), H, W), as of
            `yolo_forward_reference`; the implementation's own memory, valid until the next forward.
        """
        ...

    def backward(self, of_heads: Mapping[int, FloatArray]) -> Parameters:
        """Carry the heads' deltas back to the parameters of the last forward pass.

        Args:
            of_heads: by each head's index, minus the loss's gradient by what the head read, shaped
                as its output.

        Returns:
            Minus the loss's gradients by the learnt parameters, by layer index and name, valid
            until the next call; nothing for layers before the recipe's `first_reached`, or that no
            head depends on.
        """
        ...

    def moments(self) -> BatchMoments:
        """Return what each batch norm normalised the last forward pass by; none of frozen ones."""
        ...


class ReferencePropagation:
    """The plain references behind the protocol: any mini-batch, float32 or float64, slowly."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._parameters: Parameters = {}
        self._traces: Sequence[Trace] = ()

    def forward(self, parameters: Parameters, pictures: FloatArray) -> Mapping[int, FloatArray]:
        """Run all layers; see `Propagation.forward`.

        Raises:
            InputError: the pictures are not of the recipe's input shape.
        """
        recipe = self._recipe
        if pictures.shape[1:] != recipe.graph.input_shape:
            raise InputError(
                f"pictures of shape {pictures.shape[1:]} do not fit the network's input "
                f"{recipe.graph.input_shape}"
            )
        self._parameters = parameters
        self._traces = forward_training(recipe.graph, parameters, pictures, frozen=recipe.frozen)
        return {index: self._traces[index].output for index in recipe.heads}

    def backward(self, of_heads: Mapping[int, FloatArray]) -> Parameters:
        """Carry the heads' deltas back; see `Propagation.backward`."""
        return backward_training(
            self._recipe.graph,
            self._parameters,
            self._traces,
            of_heads,
            first=self._recipe.first_reached,
        )

    def moments(self) -> BatchMoments:
        """Return the batch norms' moments; see `Propagation.moments`."""
        return {
            index: (moments.mean, moments.variance, moments.normalized[:, 0].size)
            for index, trace in enumerate(self._traces)
            if (moments := trace.moments) is not None
        }
