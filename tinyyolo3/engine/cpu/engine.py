"""A planned network in memory: packed weights, arenas, and the call that runs it."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.apply import apply_layer
from tinyyolo3.backends.cpu import CPU
from tinyyolo3.engine.cpu import packing, readiness
from tinyyolo3.engine.cpu.algorithms import plan_network
from tinyyolo3.engine.cpu.crew import Crew
from tinyyolo3.engine.cpu.lower import lower_step
from tinyyolo3.engine.cpu.lowering import Lowered, Lowering
from tinyyolo3.engine.cpu.microkernel import ROWS
from tinyyolo3.engine.cpu.pack_layer import pack_step
from tinyyolo3.engine.cpu.packing import Floats, PackedWeights
from tinyyolo3.engine.cpu.program import CodePointer
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.engine.plan import Place, Plan, Step
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import LayerParameters, Parameters
from tinyyolo3.parallel import in_background, thread_count

#: The matrix kernel computes whole tiles: on a map of few pixels it reads behind the last one.
SLACK_BYTES = (ROWS + 1) * BLOCK
#: Plans for so many input sizes are kept.
KEPT_PLANS = 4

#: Gives memory for an arena of so many bytes; tests put pages without access around it.
Allocate = Callable[[int], Floats]


def _allocate(size: int) -> Floats:
    return packing.aligned_floats(-(-size // 4))


class Workspace:
    """One run's memory: the arena, each worker's scratch, and the program with its addresses.

    Two runs at the same time each take a workspace of their own.
    """

    def __init__(self, planned: "PlannedNetwork", workers: int, allocate: Allocate) -> None:
        plan = planned.plan
        self.arena = allocate(plan.arena_bytes + SLACK_BYTES)
        self._orders = {name: packing.product_order(f) for name, f in FILTERINGS.items()}
        orders = {name: table.ctypes.data for name, table in self._orders.items()}
        arena = self.arena.ctypes.data
        low = Lowering(planned.graph, plan, arena, planned.weights, orders, workers)
        lowered = [lower_step(low, index) for index in range(len(plan.steps))]
        flat = [operation for own in lowered for operation in own]
        self.ends = np.cumsum([0, *(len(own) for own in lowered)])
        self._records = [_record(operation) for operation in flat]
        rows = [
            (operation.operation.address, record.ctypes.data, operation.jobs)
            for operation, record in zip(flat, self._records, strict=True)
        ]
        self.table = np.array(rows, np.int64).reshape(-1, 3)
        size = max((operation.scratch for operation in flat), default=0)
        self.scratch = [allocate(size + SLACK_BYTES) for _ in range(workers)]
        self._crew = Crew(self.scratch, len(flat))
        self.workers = workers
        self._weights = planned.weights
        self.callers_arrays: tuple[FloatArray, ...] = ()

    def record(self, step: int) -> NDArray[Any]:
        """Return the record of a step's first operation."""
        return self._records[int(self.ends[step])]

    def run(self, first: int, last: int) -> None:
        """Run the steps from `first` to before `last`, with all workers."""
        table = self.table[self.ends[first] : self.ends[last]]
        if len(table):
            self._crew.run(table, self)


def _record(lowered: Lowered) -> NDArray[Any]:
    record = np.zeros(1, lowered.operation.dtype)
    for name in lowered.operation.dtype.names or ():
        value = lowered.record.get(name, 0)
        record[name] = value.address if isinstance(value, CodePointer) else value
    return record


@dataclass
class PlannedNetwork:
    """A network planned for one input size.

    Attributes:
        graph: its layers.
        plan: its steps.
        weights: the packed weights of each step, by its index.
        parameters: of the layers that no step's weights are packed of.
        allocate: where arenas come from.
    """

    graph: Graph
    plan: Plan
    weights: Mapping[int, PackedWeights]
    parameters: Parameters
    allocate: Allocate = _allocate
    idle: list[Workspace] = field(default_factory=list)

    def forward(self, x: FloatArray) -> list[FloatArray]:
        """Return the outputs of the plan's output layers for a batch, image by image.

        Args:
            x: (N, C, H, W) float32, C-contiguous.
        """
        shapes = [self.graph.layers[index].output_shape for index in self.plan.outputs]
        outputs = [np.empty((len(x), *shape), np.float32) for shape in shapes]
        workspace = self.take_workspace()
        for image in range(len(x)):
            self.run_image(workspace, x[image], [out[image] for out in outputs])
        workspace.callers_arrays = ()
        self.idle.append(workspace)
        return list(outputs)

    def take_workspace(self) -> Workspace:
        """Return a workspace that nobody uses, making one if need be."""
        workers = thread_count()
        while self.idle:
            try:
                workspace = self.idle.pop()  # atomic, unlike the test before it
            except IndexError:
                break
            if workspace.workers == workers:
                return workspace
        return Workspace(self, workers, self.allocate)

    def run_image(self, workspace: Workspace, x: FloatArray, outputs: Sequence[FloatArray]) -> None:
        """Run all steps for one image: `x` (C, H, W) into an array for each output layer."""
        self.bind(workspace, x, outputs)
        steps = self.plan.steps
        start = 0
        for index, step in enumerate(steps):
            if step.algorithm == "eager":
                workspace.run(start, index)
                self.run_eager(workspace, step)
                start = index + 1
        workspace.run(start, len(steps))

    def bind(self, workspace: Workspace, x: FloatArray, outputs: Sequence[FloatArray]) -> None:
        """Let the steps that read the caller's input and fill its outputs know where they are."""
        workspace.callers_arrays = (x, *outputs)
        for index in self._readers:
            workspace.record(index)["source"] = x.ctypes.data
        for index, output in zip(self._writers, outputs, strict=True):
            workspace.record(index)["target"] = output.ctypes.data

    @cached_property
    def _readers(self) -> tuple[int, ...]:
        """The steps that read the caller's input."""
        steps = enumerate(self.plan.steps)
        return tuple(i for i, step in steps if step.inputs and step.inputs[0] is None)

    @cached_property
    def _writers(self) -> tuple[int, ...]:
        """The steps that fill the caller's arrays."""
        steps = enumerate(self.plan.steps)
        return tuple(i for i, step in steps if step.algorithm == "unpack")

    def run_eager(self, workspace: Workspace, step: Step) -> None:
        """Run a step that is no compiled code: a layer of the CPU backend."""
        layer = self.graph.layers[step.layer]
        inputs = [self.read_map(workspace, place)[None] for place in step.inputs if place]
        parameters = self.parameters.get(step.layer, {})
        with np.errstate(over="ignore", invalid="ignore"):  # as in eager.run_graph
            output = apply_layer(CPU, self.graph.parity, layer, parameters, inputs)
        assert step.output is not None
        self.blocked_view(workspace, step.output)[:] = _to_blocks(output[0])

    def blocked_view(self, workspace: Workspace, place: Place) -> Floats:
        """Return a map's memory as (blocks, height, width, lanes)."""
        channels, height, width = place.shape
        start = (self.plan.buffers[place.buffer].offset + place.offset) // 4
        return np.lib.stride_tricks.as_strided(
            workspace.arena[start:],
            (packing.blocks(channels), height, width, LANES),
            (place.stride, width * BLOCK, BLOCK, 4),
        )

    def read_map(self, workspace: Workspace, place: Place) -> Floats:
        """Return a copy of a map, (C, H, W)."""
        channels, height, width = place.shape
        blocked = self.blocked_view(workspace, place).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(blocked).reshape(-1, height, width)[:channels]


def _to_blocks(plain: FloatArray) -> Floats:
    channels, height, width = plain.shape
    padded = np.zeros((packing.blocks(channels) * LANES, height, width), np.float32)
    padded[:channels] = plain
    return padded.reshape(-1, LANES, height, width).transpose(0, 2, 3, 1)


class CpuEngine:
    """Plans for the input sizes that a network is run at, and the weights packed for them."""

    def __init__(
        self, parameters: Parameters, memory: str = "default", precision: str = "fp32"
    ) -> None:
        self._parameters = parameters
        self._memory, self._precision = memory, precision
        self._plans: OrderedDict[Any, PlannedNetwork] = OrderedDict()
        self._packed: WeakValueDictionary[tuple[int, int, str], PackedWeights] = (
            WeakValueDictionary()
        )
        self._locks: dict[int, threading.Lock] = {}

    def ready(self) -> bool:
        """Return whether the code is compiled; where it is not, it is being compiled."""
        return readiness.ready()

    def planned(self, graph: Graph) -> PlannedNetwork:
        """Return the network planned for the graph's input size."""
        # A forked child inherits locks as they are: one that a thread of its parent held would
        # never be released. So each process has its own; `setdefault` is atomic.
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            found = self._plans.get(graph.input_shape)
            if found is None:
                found = self._plan(graph)
                self._plans[graph.input_shape] = found
                if len(self._plans) > KEPT_PLANS:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(graph.input_shape)
            return found

    def forward(self, graph: Graph, x: FloatArray) -> list[FloatArray]:
        """Return the network's outputs for a batch of the graph's input size."""
        return self.planned(graph).forward(x)

    def _plan(self, graph: Graph) -> PlannedNetwork:
        plan = plan_network(graph, self._memory, self._precision)
        weights = self._pack_all(graph, plan)
        eager = {s.layer for s in plan.steps if s.algorithm == "eager"}
        own = {i: self._parameters[i] for i in eager if i in self._parameters}
        return PlannedNetwork(graph, plan, weights, own)

    def _pack_all(self, graph: Graph, plan: Plan) -> dict[int, PackedWeights]:
        """Return the packed weights of each step, packing those that no other plan has."""
        weights: dict[int, PackedWeights] = {}
        missing: list[tuple[int, Step, int]] = []
        for index, step in enumerate(plan.steps):
            if step.weights is None or step.algorithm == "eager":
                continue
            packed = self._packed.get((step.weights, step.part, step.algorithm))
            if packed is None:
                missing.append((index, step, step.weights))
            else:
                weights[index] = packed
        read = self._read_ahead([number for _, _, number in missing])
        for index, step, number in missing:
            layer = graph.layers[number]
            assert isinstance(layer, specs.Convolutional)
            # No name for the parameters: it would hold them while the next ones are read.
            packed = pack_step(layer, step, next(read))
            self._packed[number, step.part, step.algorithm] = packed
            weights[index] = packed
        return weights

    def _read_ahead(self, layers: Sequence[int]) -> Iterator[LayerParameters]:
        """Yield the parameters of layers, each read while the caller packs those before.

        With one thread, or where memory is to be low, one by one.
        """
        if thread_count() == 1 or self._memory == "low":
            yield from (self._parameters[number] for number in layers)
            return
        following: Future[LayerParameters] | None = None
        for number in layers:
            current, following = following, in_background(self._parameters.__getitem__, number)
            if current is not None:
                yield current.result()
        if following is not None:
            yield following.result()
