"""What a plan comes to, in plain data: a row per step, and the memory that it takes.

Everything here follows from shapes. No weights are needed and nothing is compiled, so a network can
be looked at before anybody has its weights.
"""

from dataclasses import dataclass

import numpy as np

from tinyyolo3.engine.cpu import packing
from tinyyolo3.engine.cpu.lower import lower_step
from tinyyolo3.engine.cpu.lowering import Lowering
from tinyyolo3.engine.cpu.pack_layer import packed_bytes
from tinyyolo3.engine.cpu.packing import PackedWeights
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.plan import INPUT, Plan, Step
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.summary import summarize
from tinyyolo3.parallel import thread_count


@dataclass(frozen=True)
class StepReport:
    """One step of a plan.

    Attributes:
        number: its place in the plan, from 0.
        layers: what it computes: a layer, a convolution and the shortcut or pooling that is done in
            it, or none for the network's input.
        algorithm: what computes it.
        input_shape: channels, height and width of the (first) map that it reads.
        output_shape: the same of the map that it writes.
        jobs: pieces that threads share out; 0 for a layer that is run apart, by its backend.
        output_bytes: memory of the map that it writes.
        weight_bytes: memory of its packed weights and biases.
        workspace_bytes: memory that its jobs share while it runs.
        flop: floating-point operations of the layer by its definition, 2 per multiply-add. An
            algorithm may need fewer.
    """

    number: int
    layers: tuple[int, ...]
    algorithm: str
    input_shape: Shape
    output_shape: Shape
    jobs: int
    output_bytes: int
    weight_bytes: int
    workspace_bytes: int
    flop: int


@dataclass(frozen=True)
class PlanReport:
    """A plan's steps, and its memory.

    Attributes:
        steps: a row per step.
        arena_bytes: memory that all maps and workspaces share.
        separate_bytes: what they would take if each had its own.
        weight_bytes: of the packed weights and biases of all steps.
        scratch_bytes: each thread's own.
    """

    steps: tuple[StepReport, ...]
    arena_bytes: int
    separate_bytes: int
    weight_bytes: int
    scratch_bytes: int

    @property
    def flop(self) -> int:
        """Floating-point operations of all steps by definition."""
        return sum(step.flop for step in self.steps)


def report_plan(graph: Graph, plan: Plan) -> PlanReport:
    """Return what a plan of a network comes to.

    Args:
        graph: its layers, batch norm folded.
        plan: its steps.
    """
    jobs, scratch_bytes = _jobs_and_scratch(graph, plan)
    flop = _flop_per_step(graph, plan)
    steps = tuple(
        _report_step(graph, plan, number, jobs[number], flop[number])
        for number in range(len(plan.steps))
    )
    return PlanReport(
        steps=steps,
        arena_bytes=plan.arena_bytes,
        separate_bytes=sum(buffer.bytes for buffer in plan.buffers),
        weight_bytes=sum(step.weight_bytes for step in steps),
        scratch_bytes=scratch_bytes,
    )


def _report_step(graph: Graph, plan: Plan, number: int, jobs: int, flop: int) -> StepReport:
    step = plan.steps[number]
    place = step.inputs[0]
    input_shape = graph.input_shape if place is None else place.shape
    if step.output is None:  # plain, in the caller's array
        output_shape, output_bytes = input_shape, 4 * int(np.prod(input_shape))
    else:
        output_shape = step.output.shape
        output_bytes = packing.blocks(output_shape[0]) * step.output.stride
    workspace = 0 if step.workspace is None else plan.buffers[step.workspace].bytes
    return StepReport(
        number=number,
        layers=_layers_of(step),
        algorithm=step.algorithm,
        input_shape=input_shape,
        output_shape=output_shape,
        jobs=jobs,
        output_bytes=output_bytes,
        weight_bytes=_weight_bytes(graph, step),
        workspace_bytes=workspace,
        flop=flop,
    )


def _layers_of(step: Step) -> tuple[int, ...]:
    if step.weights is not None and step.weights != step.layer:
        return step.weights, step.layer
    return () if step.layer == INPUT else (step.layer,)


def _weight_bytes(graph: Graph, step: Step) -> int:
    if step.weights is None or step.algorithm == "eager":
        return 0
    layer = graph.layers[step.weights]
    assert isinstance(layer, specs.Convolutional)
    return packed_bytes(layer, step)


def _flop_per_step(graph: Graph, plan: Plan) -> list[int]:
    """Return each step's operations; those of a grouped layer's steps are equal shares."""
    rows = summarize(graph).rows
    parts: dict[int, int] = {}
    for step in plan.steps:
        if step.weights is not None:
            parts[step.weights] = parts.get(step.weights, 0) + 1
    return [
        rows[step.weights].flop // parts[step.weights]
        if step.weights is not None
        else (rows[step.layer].flop if step.algorithm == "eager" else 0)
        for step in plan.steps
    ]


def _jobs_and_scratch(graph: Graph, plan: Plan) -> tuple[list[int], int]:
    """Return how many jobs each step has, and the scratch of the job that needs most."""
    # How steps are cut into jobs depends on no address, so an arena at address 0 serves.
    nothing = PackedWeights(np.empty(0, np.float32), np.empty(0, np.float32))
    weights = dict.fromkeys(range(len(plan.steps)), nothing)
    orders = dict.fromkeys(FILTERINGS, 0)
    low = Lowering(graph, plan, 0, weights, orders, thread_count())
    lowered = [lower_step(low, number) for number in range(len(plan.steps))]
    jobs = [sum(operation.jobs for operation in own) for own in lowered]
    return jobs, max((operation.scratch for own in lowered for operation in own), default=0)
