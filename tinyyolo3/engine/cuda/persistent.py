"""A plan as one launch: the table of steps that ``kernels/persistent.cu`` works off, item by item.

The kernel's head says how it works. Here is decided what each step reads and therefore waits for,
how many items it has, and where everything lies.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tinyyolo3.cuda.maps import address
from tinyyolo3.cuda.target import DeviceArray
from tinyyolo3.engine.cuda.lower import Launch, Lowering, lower_step
from tinyyolo3.engine.cuda.persistent_structs import MOST_NEEDS, NeedStruct, StepStruct, Under
from tinyyolo3.engine.cuda.persistent_tasks import (
    TILE,
    Task,
    bands_under,
    kind_of,
    make_task,
    overlap,
    refusal,
    shape_of,
)
from tinyyolo3.engine.cuda.persistent_weights import PackedWeights
from tinyyolo3.engine.plan import INPUT, Plan, Step
from tinyyolo3.layers.convolution.cuda_algorithms import gpu_of
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

#: A block's dynamic shared memory: the tile's, and an item's number with its alignment.
SHARED_BYTES = TILE.shared_bytes + 16
#: Channels that a thread takes at once where they lie in eights.
LANES = 8
#: The algorithm of steps behind the launch.
HEAD = specs.Yolo.kind
#: Counters before those of the bands: the queue's, and that of blocks that are done.
FIRST_COUNTERS = 2


def spread_buffers(plan: Plan) -> Plan:
    """Return the plan with a place of its own for each buffer.

    Steps overlap in time, so that none may overwrite what another might still read.
    """
    offset, buffers = 0, []
    for buffer in plan.buffers:
        buffers.append(replace(buffer, offset=offset))
        offset += buffer.bytes
    return replace(plan, buffers=tuple(buffers), arena_bytes=offset)


def check_persistent(graph: Graph, plan: Plan) -> None:
    """Refuse a network that one launch cannot run.

    Raises:
        BackendError: a layer has no form inside of it, or reads what a head has activated.
    """
    heads = {step.output.buffer for step in _heads(plan) if step.output is not None}
    for step in _inside(plan):
        kind_of(graph, step)
        read = [place for place in (*step.inputs, step.residual) if place is not None]
        if any(place.buffer in heads for place in read):
            raise refusal(graph, step, "no form of what reads a head's output")


def _inside(plan: Plan) -> list[Step]:
    """Return the steps of the one launch: all but the caller's copies and the heads behind it."""
    steps = [s for s in plan.steps if s.layer != INPUT and s.output is not None]
    return [step for step in steps if step.algorithm != HEAD]


def _heads(plan: Plan) -> list[Step]:
    """Return the steps that activate logits, for whoever wants them so."""
    return [step for step in plan.steps if step.algorithm == HEAD]


class PersistentNetwork:
    """One launch that runs the steps of a plan."""

    def __init__(
        self,
        low: Lowering,
        plan: Plan,
        arena: DeviceArray,
        packed: PackedWeights,
        blocks: int | None = None,
    ) -> None:
        """Make the table of steps.

        Args:
            low: as for launches of single steps.
            plan: of `spread_buffers`.
            arena: the memory of its maps.
            packed: the parameters of all layers in one array.
            blocks: how many to launch; as many as the GPU has room for when None.

        Raises:
            BackendError: a layer has no form inside of one launch.
        """
        self._target, self._arena, self._packed = low.target, arena, packed
        gpu = gpu_of(low.target)
        self._tasks = [make_task(low, step, gpu) for step in _inside(plan)]
        self._heads: list[Launch] = []
        for step in _heads(plan):
            self._heads += lower_step(low, step)
        self._items = sum(task.items for task in self._tasks)
        self._blocks = blocks or min(self._items, gpu.multiprocessors * TILE.blocks_per_sm)
        table, counters = self._table(low.graph)
        self._table_of_steps = low.target.upload(np.frombuffer(bytes(table), np.uint8))
        self._counters = low.target.upload(np.zeros(counters, np.uint32))
        floats = sum(task.partial_floats for task in self._tasks)
        self._partial = low.target.empty(max(floats, 1))

    def launch(self) -> None:
        """Run all steps, and behind them the heads' own kernels if there are any."""
        self._target.kernel("persistent.cu", "persistent")(
            (self._blocks,),
            (TILE.threads,),
            (
                *(self._table_of_steps, self._items, self._arena, self._packed.data),
                *(self._partial, self._counters, self._counters.size),
            ),
            shared_mem=SHARED_BYTES,
        )
        for launch in self._heads:
            launch()

    def _table(self, graph: Graph) -> tuple[ctypes.Array[StepStruct], int]:
        """Return the steps with an end behind them, and how many counters they have."""
        table = (StepStruct * (len(self._tasks) + 1))()
        counter, item, partial = FIRST_COUNTERS, 0, 0
        for number, task in enumerate(self._tasks):
            row = table[number]
            self._fill(row, task)
            row.first_item, row.counters, row.partial = item, counter, 4 * partial
            counter += task.bands
            row.arrivals = counter
            if task.parts > 1:
                counter += task.bands * task.signals
            item += task.items
            partial += task.partial_floats
            needs = list(self._needs(number, table))
            if len(needs) > MOST_NEEDS:
                raise refusal(graph, task.step, f"no room for {len(needs)} maps that a layer reads")
            row.needs_count = len(needs)
            for place, need in enumerate(needs):
                row.needs[place] = need
        table[len(self._tasks)].first_item = item
        return table, counter

    def _fill(self, row: StepStruct, task: Task) -> None:
        begin = address(self._arena)
        row.x, row.y = address(task.x.data) - begin, address(task.out.data) - begin
        row.residual = -1 if task.residual is None else address(task.residual.data) - begin
        row.kind, row.parts, row.shape = task.kind, task.parts, shape_of(task)
        row.to_floats = task.out.element == "float"
        maps = [x for x in (task.x, task.out, task.residual) if x is not None]
        row.in_lanes = all(x.in_lanes(LANES) for x in maps) and len({x.channels for x in maps}) == 1
        if isinstance(task.layer, specs.Upsample):
            row.scale = task.layer.scale
        if task.step.weights is not None:
            row.w, row.biases = self._packed.places[task.step.weights]

    def _needs(self, number: int, table: ctypes.Array[StepStruct]) -> Iterator[NeedStruct]:
        """Yield what a step waits for: whatever steps before it have written of what it reads."""
        task = self._tasks[number]
        read = [(task.x, bands_under(task)), (task.residual, Under.SAME_PIXELS)]
        for earlier, row in zip(self._tasks[:number], table, strict=False):
            for given, under in read:
                if given is not None and overlap(earlier.out, given):
                    yield NeedStruct(row.counters, earlier.signals, under)
