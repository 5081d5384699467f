"""A network ready to run: graph, parameters and backend held together."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.backends.table import Backend
from tinyyolo3.blas import blas_thread_limit
from tinyyolo3.engine.eager import run_graph
from tinyyolo3.engine.planned import Engine, StudyEngine
from tinyyolo3.errors import InputError
from tinyyolo3.network.build import MAX_ELEMENTS, build_graph
from tinyyolo3.network.fold import fold_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import Parameters, check_same_slots
from tinyyolo3.network.specs import Layer
from tinyyolo3.parallel import thread_limit


@dataclass(frozen=True)
class Network:
    """A network ready to run, and to be looked into.

    Attributes:
        graph: the layers' specifications for one input size.
        parameters: the layers' arrays by layer index and name.
        backend: the functions that compute the layers.
        folded: whether batch norm has been folded into the weights.
        threads: how many CPU threads to use at most; None for all.
        engine: what runs `forward` by a plan, with weights packed for it; None runs the layers of
            `backend` one by one. So does `outputs`, unless the engine computes these itself.
    """

    graph: Graph
    parameters: Parameters
    backend: Backend
    folded: bool = True
    threads: int | None = None
    engine: Engine | None = field(default=None, compare=False)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers' specifications, by index."""
        return self.graph.layers

    def resized(self, width: int, height: int) -> "Network":
        """Return the same network, with the same arrays, for another input size in pixels.

        Raises:
            ConfigError: the strides do not allow this size, or a connected layer forbids another.
        """
        if (height, width) == self.graph.input_shape[1:]:
            return self
        graph = build_graph(self.graph.config, width=width, height=height, parity=self.graph.parity)
        if self.folded:
            graph = fold_graph(graph)
        check_same_slots(self.graph, graph)
        return replace(self, graph=graph)

    def forward(self, x: FloatArray) -> list[FloatArray]:
        """Return the network's raw outputs for a batch.

        Args:
            x: (N, C, H, W) floating array, pixels in [0, 1]; any H and W that the strides allow.

        Returns:
            For a detector, each head's logits (N, anchors * (5 + classes), H_i, W_i) in the order
            of the cfg, before the head's own activation; for a classifier its one output.

        Raises:
            InputError: `x` is no such array, or too large a batch.
            ConfigError: its height and width do not suit the network.
        """
        wanted = self.graph.output_indices
        if self.engine is None:
            found = self.outputs(x, wanted)
            return [found[index] for index in wanted]
        fitting, x = self.fit(x)
        with thread_limit(self.threads), blas_thread_limit(1):
            if self.engine.ready():
                return self.engine.forward(fitting.graph, x)
            # Plain NumPy needs no compilation.
            found = run_graph(fitting.graph, self.parameters, REFERENCE, x, wanted)
            return [found[index] for index in wanted]

    def outputs(self, x: FloatArray, indices: Iterable[int] | None = None) -> dict[int, FloatArray]:
        """Return the outputs of chosen layers (all when None) by index, for study.

        Unlike in `forward`, a [yolo] or [region] layer's output here is activated, as Darknet's
        own. Negative indices count from the end. A layer that only passes its input on shares
        memory with it, so the arrays are to be read, not written.

        Raises:
            InputError: `x` is no (N, C, H, W) floating array, or an index names no layer.
        """
        fitting, x = self.fit(x)
        count = len(self.layers)
        wanted = range(count) if indices is None else [_layer_index(i, count) for i in indices]
        with thread_limit(self.threads), blas_thread_limit(1):
            if isinstance(self.engine, StudyEngine):
                return self.engine.outputs(fitting.graph, x, wanted)
            return run_graph(fitting.graph, self.parameters, self.backend, x, wanted)

    def fit(self, x: FloatArray) -> tuple["Network", FloatArray]:
        """Return this network for the size of a batch, and the batch as it needs it.

        Raises:
            InputError: `x` is no (N, C, H, W) floating array, or too large a batch.
            ConfigError: its height and width do not suit the network.
        """
        self._check_input(x)
        fitting = self.resized(x.shape[3], x.shape[2])
        check_batch(len(x), fitting.graph)
        dtype = x.dtype if self._dtype is None else self._dtype
        return fitting, np.ascontiguousarray(x, dtype)

    @cached_property
    def _dtype(self) -> np.dtype[Any] | None:
        """The parameters' precision, in which the network runs; None without any."""
        if self.engine is not None:
            return np.dtype(np.float32)
        arrays = (array for own in self.parameters.values() for array in own.values())
        return next((array.dtype for array in arrays), None)

    def _check_input(self, x: FloatArray) -> None:
        channels, height, width = self.graph.input_shape
        if not isinstance(x, np.ndarray) or x.ndim != 4:
            shape = getattr(x, "shape", type(x).__name__)
            raise InputError(f"expected an (N, {channels}, H, W) array, found {shape}")
        if not np.issubdtype(x.dtype, np.floating):
            raise InputError(f"expected floating pixels in [0, 1], found dtype {x.dtype}")
        if x.shape[1] != channels or 0 in x.shape:
            raise InputError(
                f"expected shape (N, {channels}, {height}, {width}) or another height and width, "
                f"found {x.shape}"
            )


def check_batch(images: int, graph: Graph) -> None:
    """Refuse a batch that would need an array beyond all reason, before it is allocated.

    Raises:
        InputError: so it is.
    """
    largest = graph.largest_layer
    elements = images * prod(largest.output_shape)
    if elements > MAX_ELEMENTS:
        _, height, width = graph.input_shape
        raise InputError(
            f"a batch of {images} at {width}x{height}: layer {largest.index} [{largest.kind}] "
            f"would put out {elements:,} elements; the limit is {MAX_ELEMENTS:,}: "
            "use smaller batches"
        )


def _layer_index(index: int, count: int) -> int:
    if not -count <= index < count:
        raise InputError(f"layer {index} does not exist: the network has layers 0 to {count - 1}")
    return index % count
