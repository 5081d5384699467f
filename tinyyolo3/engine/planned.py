"""What a network asks of an engine that runs it by a plan."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tinyyolo3.arrays import FloatArray
from tinyyolo3.network.graph import Graph


class Engine(Protocol):
    """Runs a network by a plan, made once per input size."""

    def ready(self) -> bool:
        """Return whether `forward` can run at once, without compiling for seconds first."""

    def forward(self, graph: Graph, x: FloatArray) -> list[FloatArray]:
        """Return the network's outputs for a batch of the graph's input size.

        Args:
            graph: the layers for this size.
            x: (N, C, H, W) float32, C-contiguous.
        """


@runtime_checkable
class StudyEngine(Engine, Protocol):
    """An engine that also computes the outputs of single layers, where no table of functions can.

    What runs on a device answers for itself: it is never replaced by the CPU's layers.
    """

    def outputs(self, graph: Graph, x: FloatArray, wanted: Sequence[int]) -> dict[int, FloatArray]:
        """Return the outputs of chosen layers, by index.

        Args:
            graph: the layers for this size.
            x: (N, C, H, W) float32, C-contiguous.
            wanted: indices of layers.
        """
