"""Stage 7: convolutions on tensor cores: right or not, then which tile is quickest for each.

A part is a precision and a batch of yolov3-416, such as ``fp16-8``, or one picture of the
``others``. First every instance is checked against float64; one that is wrong is not timed. Then
each convolution is timed with its likely tiles, alone in a CUDA graph, with weights from memory;
last all of yolov3-416's, one after the other, in one graph with the quickest tiles.
``gpu_keep.py`` keeps those.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from gpu_compile import compile_ahead
from gpu_context import Context, Record
from gpu_convolutions import COLD_BYTES, MOST_COPIES, graph_problems, network_problems
from gpu_models import find_model, one_by_one
from gpu_tensor_chain import Ranking, chain_ms
from gpu_tensor_checks import check_instances
from gpu_timing import launch_ms
from tinyyolo3.cuda.maps import empty_map, upload_map
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.darknet.config import read_config
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem, gpu_of
from tinyyolo3.layers.convolution.cuda_mma import conv_forward_mma_cuda, pack_mma_weights
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    INSTANCES,
    PRECISIONS,
    Precision,
    mma_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tensor import (
    TensorTile,
    instance_of,
    tensor_candidates,
    tensor_instances,
    tensor_product,
)
from tinyyolo3.layers.convolution.cuda_tensor_choice import named_tile
from tinyyolo3.network.build import build_graph
from tinyyolo3.testing.architectures import yolov3_config

#: Candidates that the model thinks this much slower than its favourite are not tried, nor more
#: than so many; fewer for the networks beside yolov3-416.
SLACK, MOST_TRIED, FEW_TRIED = 3.0, 60, 20
OTHERS = ("yolov3-tiny-416", "yolov3-spp-608", "yolo-fastest-1.1-xl-320")
#: Tiles of a convolution that are tried within the whole network.
RANKED = 5
#: Cycles of the model in a microsecond: the H200's clock under load.
MODEL_MHZ = 1900.0
#: What is compiled before anything is timed: outputs and activations of YOLO's layers.
OUTPUTS = ((np.float16, "leaky"), (np.float32, "linear"))
#: Of the time that is left after the checks, what single convolutions may take, and of the rest
#: what trying their tiles within the whole network may.
TABLE_SHARE, TUNING_SHARE = 0.7, 0.4


def measure(context: Context, part: str, record: Record) -> None:
    """Check and time one precision at one batch size."""
    name, _, what = part.partition("-")
    precision, tiny = PRECISIONS[name], context.tiny
    target = context.open_target()
    record("compile", compile_ahead(target, list(instances(precision))))
    checks = check_instances(target, precision, tiny)
    record("checks", checks)
    record("launch", launch_us(target, precision))
    wrong = checks["wrong_instances"]
    right = [tile for tile in tensor_instances(precision) if named_tile(tile) not in wrong]
    if not right:
        return
    if what == "others":
        few = table(context, target, precision, others(context), right, record, most=FEW_TRIED)
        record("tiles", [[astuple(p), named_tile(tiles[0])] for p, tiles in few.items()])
        return
    batch = int(what)
    ranked = table(context, target, precision, yolov3_problems(batch, tiny), right, record)
    record(
        "chain",
        chain_ms(
            *(target, precision, batch, 32 if tiny else 416, ranked),
            runs=1 if tiny else 200,
            tune_s=TUNING_SHARE * context.left_s(),
        ),
    )


def table(
    context: Context,
    target: Target,
    precision: Precision,
    problems: Sequence[Problem],
    right: Collection[TensorTile],
    record: Record,
    most: int = MOST_TRIED,
) -> Ranking:
    """Time each convolution's tiles, of which all may take a share of the time; rank them."""
    distinct = list(dict.fromkeys(problems))
    end = time.monotonic() + TABLE_SHARE * context.left_s()
    ranked, rows = {}, {}
    for number, problem in enumerate(distinct):
        now = time.monotonic()
        limit = now + (end - now) / (len(distinct) - number)
        row = table_row(target, problem, precision, right, limit, context.tiny, most)
        ranked[problem], rows[problem] = row
        record(" ".join(map(str, astuple(problem)[1:])), rows[problem])
    sums = {key: sum(rows[p][key] for p in problems) for key in ("us", "chosen_us")}
    record("sum", {key: round(value, 1) for key, value in sums.items()})
    return ranked


def instances(precision: Precision) -> Iterator[tuple[str, str]]:
    """Yield the kernels that are tried, each with its file."""
    every = tensor_instances(precision)
    for tile in (*every, *(replace(tile, cached=True) for tile in every)):
        for dtype, activation in OUTPUTS:
            output = np.empty(0, dtype if precision.chunk == 8 else np.float32)
            yield tile.file, tile.instance(precision, output, activation)


def is_head(problem: Problem) -> bool:
    """Whether a convolution of the published networks is a head's last one."""
    return problem.filters == 255


class Bench:
    """A convolution's arrays on a target, with as many copies of the weights as needed."""

    def __init__(self, target: Target, problem: Problem, precision: Precision, tiny: bool) -> None:
        """Upload random maps and weights."""
        self.target, self.problem, self.precision = target, problem, precision
        random = np.random.default_rng(0)
        sides = (
            (out - 1) * step + problem.size - 2 * (problem.size // 2)
            for out, step in zip((problem.height, problem.width), problem.stride, strict=True)
        )
        x = random.standard_normal((problem.images, problem.channels, *sides), np.float32)
        self.x = upload_map(target, x.astype(precision.dtype), -(-problem.channels // 8) * 8)
        sizes = (problem.images, problem.height, problem.width, problem.filters)
        dtype = np.float32 if is_head(problem) else precision.dtype
        self.out = empty_map(target, *sizes, -(-problem.filters // 8) * 8, dtype)
        self.biases = target.upload(np.zeros(problem.filters, np.float32))
        shape = (problem.filters, problem.channels, problem.size, problem.size)
        weights = random.standard_normal(shape, np.float32) / np.float32(problem.product.terms**0.5)
        packed = pack_mma_weights(weights, precision)
        copies = 2 if tiny else min(MOST_COPIES, 1 + COLD_BYTES // packed.nbytes)
        self.packed = [target.upload(packed) for _ in range(copies)]
        self.workspace = new_workspace(target, 0)

    def us(self, tile: TensorTile, runs: int) -> float:
        """Return the microseconds of one convolution, in a graph of many."""
        floats = mma_workspace_floats(tensor_product(self.problem, self.precision), tile)
        if floats > self.workspace.size:
            self.workspace = new_workspace(self.target, floats)
        launches = [self._launch(tile, packed) for packed in self.packed]
        return 1e3 * launch_ms(self.target, launches, -(-8 // len(launches)), runs)

    def _launch(self, tile: TensorTile, packed: DeviceArray) -> Callable[[], None]:
        problem, workspace = self.problem, self.workspace

        def launch() -> None:
            conv_forward_mma_cuda(
                *(self.target, self.x, packed, self.biases, self.out),
                precision=self.precision,
                size=problem.size,
                stride=problem.stride,
                padding=problem.size // 2,
                activation="linear" if is_head(problem) else "leaky",
                tile=tile,
                workspace=workspace,
            )

        return launch


def likely_tiles(
    problem: Problem, precision: Precision, gpu: Gpu, right: Collection[TensorTile]
) -> dict[TensorTile, float]:
    """Return the tiles worth trying, with the model's cycles, the least first."""
    cycles = {
        tile: cycles
        for tile, cycles in tensor_candidates(problem, precision, gpu, stream_k=True)
        if tile.shared_bytes <= gpu.shared_bytes and instance_of(tile) in right
    }
    ordered = sorted(cycles, key=cycles.__getitem__)
    likely = [tile for tile in ordered if cycles[tile] <= SLACK * cycles[ordered[0]]][:MOST_TRIED]
    return {tile: cycles[tile] for tile in likely}


def table_row(
    target: Target,
    problem: Problem,
    precision: Precision,
    right: Collection[TensorTile],
    limit: float,
    tiny: bool,
    most: int = MOST_TRIED,
) -> tuple[list[TensorTile], dict[str, Any]]:
    """Time the likely tiles of one convolution; return the quickest ones and all figures.

    Args:
        target: where to run.
        problem: the convolution.
        precision: what tensor cores multiply.
        right: the instances that may be tried.
        limit: when to stop, by `time.monotonic`; the model's favourite is tried in any case.
        tiny: whether figures are of no interest.
        most: how many tiles are tried at the most.
    """
    gpu = gpu_of(target)
    bench = Bench(target, problem, precision, tiny)
    cycles = likely_tiles(problem, precision, gpu, right)
    chosen = next(iter(cycles))
    us = {chosen: bench.us(chosen, runs=1 if tiny else 5)}
    for tile in list(cycles)[: 2 if tiny else most]:
        if time.monotonic() > limit:
            break
        if tile not in us:
            us[tile] = bench.us(tile, runs=1 if tiny else 5)
    ordered = sorted(us, key=us.__getitem__)
    best, product = ordered[0], problem.product
    operations = 2.0 * product.pixels * product.filters * product.terms
    return ordered[:RANKED], {
        "problem": astuple(problem),
        "tile": named_tile(best),
        "us": round(us[best], 2),
        "tflop_per_s": round(operations / us[best] / 1e6, 1),
        "chosen": named_tile(chosen),
        "chosen_us": round(us[chosen], 2),
        "likely": len(cycles),
        "tried": [
            [*named_tile(tile), round(cycles[tile] / MODEL_MHZ, 2), round(us[tile], 2)]
            for tile in ordered
        ],
    }


def yolov3_problems(batch: int, tiny: bool) -> list[Problem]:
    """Return the network's convolutions in order; some small ones if `tiny`."""
    if tiny:
        return [Problem(batch, 7, 9, 3, 40, 3), Problem(batch, 5, 5, 16, 255, 1)]
    return list(network_problems(yolov3_config, 416, batch))


def others(context: Context) -> list[Problem]:
    """Return the convolutions of one picture through the other networks that are measured."""
    if context.tiny:
        return yolov3_problems(1, tiny=True)
    found: list[Problem] = []
    for name in OTHERS:
        model = find_model(context, name)
        graph = build_graph(read_config(model.cfg), width=model.side, height=model.side)
        found += graph_problems(graph, 1)
    return found


def launch_us(target: Target, precision: Precision) -> dict[str, float]:
    """Return the microseconds of a convolution that has next to nothing to do."""
    bench = Bench(target, Problem(1, 4, 4, 8, 32, 1), precision, tiny=True)
    tile = min(INSTANCES, key=lambda tile: tile.shared_bytes)
    found = {"overlapping": bench.us(tile, 20)}
    if target.name == "cuda":
        with one_by_one(target):
            found["one by one"] = bench.us(tile, 20)
    return {name: round(us, 3) for name, us in found.items()}
