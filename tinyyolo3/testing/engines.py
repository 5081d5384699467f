"""Networks planned for tests: with any algorithm, any wanted layers, and guarded memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.engine.cpu import algorithms, packing
from tinyyolo3.engine.cpu.arithmetic import BFLOAT16, FLOAT32_PAIRS, HAS_BFLOAT16
from tinyyolo3.engine.cpu.engine import PlannedNetwork, Workspace
from tinyyolo3.engine.cpu.microkernel import ROWS
from tinyyolo3.engine.cpu.pack_layer import pack_step
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.engine.eager import run_graph
from tinyyolo3.engine.layout import Blocked
from tinyyolo3.engine.plan import Choice, Chooser, Plan
from tinyyolo3.engine.planner import make_plan
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network import specs
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.fold import fold_graph, fold_parameters
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import Parameters, cast_parameters, layer_slots
from tinyyolo3.parallel import thread_count
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.memory import Side, guarded_copy, guarded_floats
from tinyyolo3.testing.weights import random_weights

_PRODUCTS = ("multiply", "im2col", "im2col shared")
#: What `forcing` can be asked for; each is used wherever it can compute a layer.
WISHES = (
    *("im2col", "im2col shared"),
    *(f"winograd {f} {kind}" for f in FILTERINGS for kind in ("fused", "shared")),
    *(f"{kind} pairs" for kind in _PRODUCTS if algorithms.PAIRED_FILTERS),
    *(f"{kind} bf16" for kind in _PRODUCTS if HAS_BFLOAT16),
)


@dataclass(frozen=True, eq=False)
class Case:
    """A network with random weights, and an input.

    Attributes:
        graph: the layers.
        parameters: float32, random.
        x: (N, C, H, W) float32.
    """

    graph: Graph
    parameters: Parameters
    x: FloatArray

    def exact(self, wanted: Sequence[int] | None = None) -> dict[int, FloatArray]:
        """Return layers' outputs (all when None) by plain NumPy in float64."""
        wide = cast_parameters(self.parameters, np.float64)
        layers = range(len(self.graph.layers)) if wanted is None else wanted
        return run_graph(self.graph, wide, REFERENCE, self.x.astype(np.float64), layers)

    def sum_bound(self, terms: int) -> FloatArray:
        """Return `tolerances.summation` of a network of one convolution, of so many terms."""
        sizes = {name: np.abs(array) for name, array in self.parameters[0].items()}
        magnitude = Case(self.graph, {0: sizes}, np.abs(self.x)).exact()[0]
        return tolerances.summation(magnitude, terms)


def make_case(cfg: str, seed: int, images: int = 1, fold: bool = True) -> Case:
    """Return a network for a cfg's text with seeded random weights and pixels.

    Args:
        cfg: its text.
        seed: of the weights and pixels.
        images: pictures in the input.
        fold: fold batch norm into the weights.
    """
    graph = build_graph(parse_config(cfg))
    parameters: Parameters = random_weights(graph, seed)
    shape = (images, *graph.input_shape)
    x = np.random.default_rng(seed + 1).standard_normal(shape).astype(np.float32)
    if fold:
        parameters, graph = fold_parameters(graph, parameters), fold_graph(graph)
    return Case(graph, {i: parameters[i] for i in parameters}, x)


def layer_case(section: str, shape: Shape, seed: int) -> Case:
    """Return a network of one layer, which reads the network's input of (C, H, W) `shape`."""
    channels, height, width = shape
    net = f"[net]\nchannels={channels}\nheight={height}\nwidth={width}\n"
    return make_case(net + section, seed)


def plan_case(
    case: Case,
    wanted: Sequence[int] | None = None,
    wish: str | None = None,
    precision: str = "fp32",
) -> PlannedNetwork:
    """Plan a network for any wanted layers.

    Args:
        case: the network.
        wanted: the layers; its outputs when None.
        wish: one of `WISHES`, taken wherever it can be; None for the engine's own choice.
        precision: one of `algorithms.PRECISIONS`.
    """
    graph = case.graph
    choose = algorithms.choose_algorithms(graph, precision=precision)
    if wish is not None:
        choose = forcing(wish, choose)
    layers = graph.output_indices if wanted is None else wanted
    plan = make_plan(graph, layers, Blocked(LANES), choose)
    weights = {}
    for index, step in enumerate(plan.steps):
        if step.weights is not None and step.algorithm != "eager":
            layer = graph.layers[step.weights]
            assert isinstance(layer, specs.Convolutional)
            weights[index] = pack_step(layer, step, case.parameters[step.weights])
    return PlannedNetwork(graph, plan, weights, case.parameters)


def guard(planned: PlannedNetwork, side: Side) -> PlannedNetwork:
    """Return the network with packed weights and arenas between guard pages, the latter all NaN."""
    weights = {
        index: replace(
            packed,
            weights=guarded_copy(packed.weights, side),
            biases=guarded_copy(packed.biases, side),
        )
        for index, packed in planned.weights.items()
    }

    def allocate(size: int) -> packing.Floats:
        # Vectors are read at multiples of their size, so the end is one as well.
        return guarded_floats(-(-size // BLOCK) * LANES, side)

    return replace(planned, weights=weights, allocate=allocate, idle=[])


class CheckedWorkspace(Workspace):
    """A workspace that runs step by step and demands that all that a step reads is finite.

    The lanes beyond a map's last channel count too: zero weights multiply them away, but not NaN.
    """

    def __init__(self, planned: PlannedNetwork) -> None:
        super().__init__(planned, thread_count(), planned.allocate)
        self._planned = planned

    def run(self, first: int, last: int) -> None:
        """Run the steps from `first` to before `last`."""
        for index in range(first, last):
            step = self._planned.plan.steps[index]
            for place in (*step.inputs, step.residual):
                if place is not None:
                    read = self._planned.blocked_view(self, place)
                    assert np.isfinite(read).all(), f"step {index} reads NaN: {step}"
            super().run(index, index + 1)


def run_guarded(planned: PlannedNetwork, x: FloatArray, side: Side) -> list[FloatArray]:
    """Return the outputs for a batch, all memory that is read or written between guard pages."""
    guarded = guard(planned, side)
    shapes = [planned.graph.layers[index].output_shape for index in planned.plan.outputs]
    results: list[list[FloatArray]] = []
    for image in x:
        outputs = [guarded_floats(int(np.prod(shape)), side).reshape(shape) for shape in shapes]
        guarded.run_image(CheckedWorkspace(guarded), guarded_copy(image, side), outputs)
        results.append(outputs)
    return [np.stack(images) for images in zip(*results, strict=True)]


def forcing(wish: str, usual: Chooser) -> Chooser:
    """Return a chooser that takes one algorithm for every convolution that it can compute.

    The rest is left to the `usual` one. What a layer is too small for takes `allowing` as well.
    """

    def choose(layer: specs.Layer) -> Choice:
        choice = usual(layer)
        if not isinstance(layer, specs.Convolutional):
            return choice
        parts = algorithms.merged_parts(layer)
        forced = replace(
            choice,
            parts=parts,
            plain_input=False,
            residual=not choice.activation,
            pools=not choice.activation and algorithms.makes_pairs(wish),
        )
        arithmetic = algorithms.arithmetic_of(wish)
        if arithmetic is FLOAT32_PAIRS and layer.filters // parts > algorithms.PAIRED_FILTERS:
            return choice
        kind = wish.removesuffix(f" {arithmetic.name}")
        if kind == "im2col":
            return replace(forced, algorithm=wish, workspace_bytes=0)
        if kind == "im2col shared":
            blocks = packing.blocks(layer.input_shapes[0][0] // parts)
            pixels = -(-layer.output_shape[1] * layer.output_shape[2] // ROWS) * ROWS
            size = pixels * blocks * layer.size**2 * arithmetic.pixel_bytes
            return replace(forced, algorithm=wish, workspace_bytes=size)
        precision = "bf16" if arithmetic is BFLOAT16 else "fp32"
        for candidate in algorithms.candidates(layer, precision):
            if candidate.algorithm == wish:
                size = candidate.workspace_bytes
                return replace(forced, algorithm=wish, workspace_bytes=size)
        return choice

    return choose


@contextmanager
def allowing(wish: str | None) -> Iterator[None]:
    """Inside the block an algorithm is used on maps and channels that the engine deems too few.

    Planning and running look at the same limits, so both belong into the block.
    """
    limits: dict[str, int] = {}
    if wish is not None and wish.startswith("winograd"):
        channels, tiles = (1 << 30, 0) if wish.endswith("fused") else (0, 1 << 30)
        limits = {"SPLIT_CHANNELS": channels, "SPLIT_TILES": tiles}
    elif wish is not None and wish.endswith("bf16"):
        limits = {"BFLOAT16_CHANNELS": 1}
    with patch.dict(vars(algorithms), limits):
        yield


def error_bounds(graph: Graph, outputs: Mapping[int, FloatArray], plan: Plan) -> list[float]:
    """Return `tolerances.planned_network` for each layer, from what came before it."""
    bounds, largest, terms = [], 0.0, 1
    used = {step.algorithm.split()[1] for step in plan.steps if step.algorithm[:8] == "winograd"}
    amplification = max((FILTERINGS[name].amplification for name in used), default=1.0)
    bf16 = any(step.algorithm.endswith(" bf16") for step in plan.steps)
    for layer in graph.layers:
        largest = max(largest, float(np.abs(outputs[layer.index]).max()))
        sums = [slot.count // slot.shape[0] for slot in layer_slots(layer)]
        terms = max(terms, *sums, 1)
        if layer.kind == "avgpool":
            terms = max(terms, int(np.prod(layer.input_shapes[0][1:])))
        depth = layer.index + 1
        bound = tolerances.planned_network(largest, depth, terms, amplification)
        bounds.append(bound + bf16 * tolerances.network_bfloat16(largest, depth, terms))
    return bounds


def check_outputs(case: Case, planned: PlannedNetwork, found: Sequence[FloatArray]) -> None:
    """Compare a planned network's outputs with plain NumPy's in float64."""
    exact = case.exact()
    bounds = error_bounds(case.graph, exact, planned.plan)
    for index, array in zip(planned.plan.outputs, found, strict=True):
        difference = float(np.abs(array - exact[index]).max())
        layer = case.graph.layers[index]
        where = f"layer {index} [{layer.kind}]"
        assert difference <= bounds[index], f"{where}: {difference:.3g} > {bounds[index]:.3g}"
