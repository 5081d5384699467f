"""Which kernels are quickest for each convolution in float32, by trying them."""

from collections.abc import Callable, Iterator
from dataclasses import astuple
from typing import Any

import numpy as np

from gpu_compile import compile_ahead
from gpu_context import Context, Record
from gpu_timing import launch_ms
from tinyyolo3.cuda.maps import empty_map, upload_map
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import TinyYoloError
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import (
    Algorithm,
    Gpu,
    Problem,
    algorithm_candidates,
    algorithm_cycles,
    algorithm_workspace_floats,
    choose_algorithm,
    conv_forward_cuda,
    gpu_of,
    pack_algorithm,
)
from tinyyolo3.layers.convolution.cuda_tiles import INSTANCES, ODD
from tinyyolo3.layers.convolution.cuda_winograd import winograd_instance
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.specs import Convolutional
from tinyyolo3.testing.architectures import yolov3_config, yolov3_spp_config, yolov3_tiny_config

#: Whose layers are timed, and the sides of their inputs.
NETWORKS = ((yolov3_config, 416), (yolov3_tiny_config, 416), (yolov3_spp_config, 608))
#: Weights are read from memory in a network, since all layers' together exceed the L2 cache. So
#: copies of them take turns, as many as make this size; maps stay where the last layer left them.
COLD_BYTES = 160 << 20
MOST_COPIES = 48
#: Candidates that the model thinks this much slower than its favourite are not tried.
SLACK = 1.6
#: Cycles of the model in a microsecond: the H200's clock under load.
MODEL_MHZ = 1980.0


def problems(batch: int, tiny: bool) -> list[Problem]:
    """Return the distinct convolutions of the published networks; a few small ones if `tiny`."""
    if tiny:
        return [Problem(batch, 7, 9, 3, 40, 3), Problem(batch, 3, 3, 16, 40, 3, (2, 2))]
    return list(dict.fromkeys(p for network in NETWORKS for p in network_problems(*network, batch)))


def network_problems(config: Callable[[int, int], str], side: int, batch: int) -> Iterator[Problem]:
    """Yield a network's convolutions in order, but for those with groups."""
    yield from graph_problems(build_graph(parse_config(config(side, side))), batch)


def graph_problems(graph: Graph, batch: int) -> Iterator[Problem]:
    """Yield the convolutions of a network's layers, as `network_problems` does."""
    for layer in graph.layers:
        if isinstance(layer, Convolutional) and layer.groups == 1:
            _, height, width = layer.output_shape
            yield Problem(
                *(batch, height, width, layer.input_shapes[0][0], layer.filters),
                *(layer.size, layer.stride, layer.dilation),
            )


class Bench:
    """A convolution's arrays on a target, with as many copies of the weights as needed."""

    def __init__(self, target: Target, problem: Problem, tiny: bool) -> None:
        """Upload random maps; the weights follow when an algorithm asks for its form of them."""
        self.target, self.problem, self.tiny = target, problem, tiny
        # The smallest input that gives the output's size, with half a window of padding around.
        sides = (
            (out - 1) * step + problem.size - 2 * (problem.size // 2)
            for out, step in zip((problem.height, problem.width), problem.stride, strict=True)
        )
        self.random = np.random.default_rng(0)
        shape = (problem.images, problem.channels, *sides)
        self.x = upload_map(target, self._normal(shape))
        sizes = (problem.images, problem.height, problem.width, problem.filters)
        self.out = empty_map(target, *sizes)
        self.biases = target.upload(np.zeros(problem.filters, np.float32))
        self.packed: tuple[int, list[DeviceArray]] = (-1, [])
        self.workspace = new_workspace(target, 0)

    def _normal(self, shape: tuple[int, ...]) -> Any:
        return self.random.standard_normal(shape, np.float32)

    def us(self, algorithm: Algorithm, runs: int) -> float:
        """Return the microseconds of one convolution, in a graph of many."""
        floats = algorithm_workspace_floats(self.problem, algorithm)
        if floats > self.workspace.size:
            self.workspace = new_workspace(self.target, floats)
        launches = [self._launch(algorithm, packed) for packed in self._weights(algorithm)]
        return 1e3 * launch_ms(self.target, launches, -(-8 // len(launches)), runs)

    def _weights(self, algorithm: Algorithm) -> list[DeviceArray]:
        if self.packed[0] != algorithm.outputs:
            problem = self.problem
            shape = (problem.filters, problem.channels, problem.size, problem.size)
            weights = self._normal(shape) / np.float32(problem.product.terms**0.5)
            packed = pack_algorithm(weights, algorithm)
            copies = 2 if self.tiny else min(MOST_COPIES, 1 + COLD_BYTES // packed.nbytes)
            self.packed = (-1, [])  # the old copies' memory is free for the new ones
            uploaded = [self.target.upload(packed) for _ in range(copies)]
            self.packed = (algorithm.outputs, uploaded)
        return self.packed[1]

    def _launch(self, algorithm: Algorithm, packed: DeviceArray) -> Callable[[], None]:
        problem, workspace = self.problem, self.workspace

        def launch() -> None:
            conv_forward_cuda(
                *(self.target, self.x, packed, self.biases, self.out),
                algorithm=algorithm,
                workspace=workspace,
                size=problem.size,
                stride=problem.stride,
                padding=problem.size // 2,
                activation="leaky",
            )

        return launch


def convolution_table(context: Context, batch: int, record: Record) -> None:
    """Time every likely algorithm for each convolution, and record the quickest.

    A row has the ``problem``; the quickest ``algorithm`` with its ``us`` and the ``tflop_per_s`` of
    the definition's operations, also where fewer were done; ``chosen`` with ``chosen_us``, what the
    model would take; and under ``tried`` each algorithm with the model's and the measured
    microseconds, the quickest first.
    """
    target = context.open_target()
    record("compile", compile_ahead(target, list(instances())))
    for problem in problems(batch, context.tiny):
        name = " ".join(map(str, astuple(problem)))
        try:
            record(name, table_row(Bench(target, problem, context.tiny), gpu_of(target)))
        except TinyYoloError as found:
            record(name, {"error": str(found)})


def instances() -> Iterator[tuple[str, str]]:
    """Yield the kernels that are tried, each with its file."""
    for tile in (*INSTANCES, ODD):
        yield "convolution_blocked.cu", tile.instance(1 if tile is ODD else 4)
    for tile in INSTANCES:
        yield "convolution_winograd.cu", winograd_instance(tile)


def table_row(bench: Bench, gpu: Gpu) -> dict[str, Any]:
    """Time the likely algorithms of one convolution."""
    problem, nobody = bench.problem, Gpu("", gpu.multiprocessors, gpu.shared_bytes)
    chosen = choose_algorithm(problem, nobody)
    cycles = {a: algorithm_cycles(problem, a, gpu) for a in algorithm_candidates(problem, gpu)}
    likely = [a for a in cycles if cycles[a] <= SLACK * cycles[chosen]]
    if bench.tiny:
        likely = [chosen, max(cycles, key=lambda a: a.outputs)]
    us = {a: bench.us(a, runs=1 if bench.tiny else 5) for a in likely}
    ordered = sorted(us, key=us.__getitem__)
    product = problem.product
    operations = 2.0 * product.pixels * product.filters * product.terms
    return {
        "problem": astuple(problem),
        "algorithm": astuple(ordered[0]),
        "us": round(us[ordered[0]], 2),
        "tflop_per_s": round(operations / us[ordered[0]] / 1e6, 2),
        "chosen": astuple(chosen),
        "chosen_us": round(us[chosen], 2),
        "tried": [[*astuple(a), round(cycles[a] / MODEL_MHZ, 2), round(us[a], 2)] for a in ordered],
    }
