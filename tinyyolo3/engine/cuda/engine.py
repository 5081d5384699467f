"""A network on a target of kernels: weights in its memory, programs for the sizes it is run at."""

from collections.abc import Sequence
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cuda.choose import convolution_operation, plan_network
from tinyyolo3.engine.cuda.convolutions import convolution_algorithm
from tinyyolo3.engine.cuda.kept import Kept
from tinyyolo3.engine.cuda.overflow import check_overflow, overflow_error
from tinyyolo3.engine.cuda.persistent import check_persistent
from tinyyolo3.engine.cuda.persistent_weights import PackedWeights
from tinyyolo3.engine.cuda.program import Program
from tinyyolo3.engine.cuda.recorded import Recorded
from tinyyolo3.engine.cuda.weights import DeviceWeights, Way
from tinyyolo3.errors import BackendError, InputError
from tinyyolo3.layers.convolution.cuda_algorithms import gpu_of
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16, PRECISIONS, Precision
from tinyyolo3.layers.layout import map_to_nchw_cuda, nchw_to_map_cuda
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import Parameters

#: Runs for so many input sizes and batches are kept, with the memory that they take.
KEPT_RUNS = 4


class Run:
    """A program with a way in and out: plain arrays in the host's memory."""

    def __init__(self, target: Target, program: Program) -> None:
        """Allocate what carries input and outputs."""
        self._target, self._program = target, program
        counts = [x.pixels * x.channels for x in (program.input, *program.outputs)]
        self._plain = [target.empty(count) for count in counts]
        self._pinned: list[NDArray[np.float32]] = [target.pinned(count) for count in counts]
        self._recorded = Recorded(target, self._launch)

    def __call__(self, x: FloatArray) -> list[FloatArray]:
        """Return the outputs for a batch (N, C, H, W), as new arrays of that order."""
        self._pinned[0][...] = x.reshape(-1)
        self._recorded()
        self._target.synchronize()
        return [
            pinned.reshape(y.images, y.channels, y.height, y.width).copy()
            for pinned, y in zip(self._pinned[1:], self._program.outputs, strict=True)
        ]

    def _launch(self) -> None:
        target, program = self._target, self._program
        target.copy_in(self._plain[0], self._pinned[0])
        nchw_to_map_cuda(target, self._plain[0], program.input)
        program.launch()
        outputs = zip(program.outputs, self._plain[1:], self._pinned[1:], strict=True)
        for y, plain, pinned in outputs:
            map_to_nchw_cuda(target, y, plain)
            target.copy_out(pinned, plain)


class CudaEngine:
    """Runs one network on a target, whole and nowhere else.

    Results are the same from run to run, bit for bit, and an image's depend on those beside it in a
    batch by their number alone: how many blocks share a sum, and which algorithm is the quickest,
    may change their last bits. Calls from several threads take turns.

    Attributes:
        target: where it runs.
        precision: what tensor cores multiply; None for float32 without them.
        persistent: whether the network is one launch. `outputs`, and with it the search for an
            overflow, is launched layer by layer all the same.
    """

    def __init__(
        self,
        target: Target,
        parameters: Parameters,
        precision: str = "fp32",
        *,
        persistent: bool = False,
    ) -> None:
        """Note where to run, and the parameters.

        Args:
            target: where to run.
            parameters: folded or not, as the graphs to run will be; folded but for float32.
            precision: "fp32"; or "fp16" or "tf32", for convolutions on tensor cores.
            persistent: run all layers in one launch; only with "fp16".

        Raises:
            BackendError: the target's GPU has no such tensor cores.
        """
        self.target, self.persistent = target, persistent
        self.precision = PRECISIONS.get(precision)
        if self.precision is not None:
            _check_tensor_cores(target, self.precision)
        self._weights = DeviceWeights(target, parameters)
        self._packed: PackedWeights | None = None
        self._runs: Kept[Run] = Kept(KEPT_RUNS)
        self._lock = RLock()

    def ready(self) -> bool:
        """Return True: kernels are compiled when they are first launched, and kept."""
        return True

    def prepare(self, graph: Graph, images: int = 1) -> None:
        """Put the parameters of all layers into the target's memory.

        Args:
            graph: the layers.
            images: pictures in the batch that is expected; others may want weights transformed
                otherwise, which are added when they come.

        Raises:
            BackendError: they do not fit the memory, or overflow in fp16; or one launch cannot run
                these layers, where that is wanted.
        """
        if self.persistent:
            check_persistent(graph, plan_network(graph, images, None, self.precision))
        with self._lock:
            for layer in graph.layers:
                if not isinstance(layer, specs.Convolutional | specs.Connected):
                    continue
                try:
                    self._weights.of(layer, self._way(layer, images))
                except InputError as problem:
                    if self.precision is not FP16:
                        raise
                    raise overflow_error(graph, layer, "its weights") from problem
            self.target.synchronize()

    def _way(self, layer: specs.Convolutional | specs.Connected, images: int) -> Way:
        """Return what the form of a layer's weights depends on."""
        if isinstance(layer, specs.Connected):
            return None
        operation = convolution_operation(layer, self.precision)
        if operation == "convolution mma":
            return self.precision
        if operation == "convolution":
            return convolution_algorithm(layer, images, gpu_of(self.target))
        return None

    def program(
        self, target: Target, graph: Graph, images: int, wanted: Sequence[int] | None = None
    ) -> Program:
        """Return a new program.

        Args:
            target: this engine's, or a fork of it.
            graph: the layers.
            images: pictures in the batch.
            wanted: the layers that it puts out; the network's outputs when None.
        """
        with self._lock:
            self.prepare(graph, images)
            plan = plan_network(graph, images, wanted, self.precision)
            packed = None
            if self.persistent and (wanted is None or tuple(wanted) == graph.output_indices):
                packed = self._pack(graph)
            return Program(target, graph, plan, images, self._weights, self.precision, packed)

    def _pack(self, graph: Graph) -> PackedWeights:
        """Return all parameters in one array, made when first asked for."""
        if self._packed is None:
            self._packed = PackedWeights(self.target, graph, self._weights)
            self.target.synchronize()  # a program on another stream may be the first to read them
        return self._packed

    def forward(self, graph: Graph, x: FloatArray) -> list[FloatArray]:
        """Return the network's outputs for a batch of the graph's input size.

        Raises:
            BackendError: numbers overflow in fp16.
        """
        found = self._run(graph, x, graph.output_indices)
        if self.precision is FP16:
            maps = [array.reshape(len(x), -1) for array in (x, *found)]
            given, *finite = (np.isfinite(each).all(axis=1) for each in maps)
            self.check_overflow(graph, x[given & ~np.logical_and.reduce(finite)])
        return found

    def check_overflow(self, graph: Graph, x: FloatArray) -> None:
        """Look for an overflow in the pictures of a batch whose outputs are not finite.

        Raises:
            BackendError: there is one; of each picture the first layer's is looked for.
        """
        for image in range(len(x)):
            every = range(len(graph.layers))
            check_overflow(graph, self.outputs(graph, x[image : image + 1], every))

    def outputs(self, graph: Graph, x: FloatArray, wanted: Sequence[int]) -> dict[int, FloatArray]:
        """Return the outputs of chosen layers; a head's is activated."""
        layers = tuple(sorted(set(wanted)))
        return dict(zip(layers, self._run(graph, x, layers), strict=True))

    def _run(self, graph: Graph, x: FloatArray, wanted: tuple[int, ...]) -> list[FloatArray]:
        def make() -> Run:
            return Run(self.target, self.program(self.target, graph, len(x), wanted))

        with self._lock:
            return self._runs.get((graph.input_shape, len(x), wanted), make)(x)


def _check_tensor_cores(target: Target, precision: Precision) -> None:
    """Refuse a precision that a target's GPU is too old for."""
    gpu = getattr(target, "gpu", None)
    if gpu is not None and int(gpu.architecture.removeprefix("sm_")) < precision.least_architecture:
        raise BackendError(
            f'precision="{precision.name}" needs tensor cores of sm_{precision.least_architecture} '
            f"or later; {gpu.name} is {gpu.architecture}"
        )
