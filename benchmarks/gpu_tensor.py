"""Stage 7: convolutions on tensor cores: right or not, then which tile is quickest for each.

A part is a precision and a batch, such as ``fp16-8``. First every instance is checked against
float64; one that is wrong is not timed. Then each convolution of yolov3-416 is timed with its
likely tiles, alone in a CUDA graph, with weights from memory; last all of the network's, one after
the other, in one graph with the quickest tiles. ``gpu_keep.py`` keeps those.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from gpu_compile import compile_ahead
from gpu_context import Context, Record
from gpu_convolutions import COLD_BYTES, MOST_COPIES, network_problems
from gpu_models import one_by_one
from gpu_tensor_chain import Ranking, chain_ms
from gpu_tensor_checks import check_instances, suits
from gpu_timing import launch_ms
from tinyyolo3.cuda.maps import empty_map, upload_map
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem, gpu_of
from tinyyolo3.layers.convolution.cuda_halo_tiles import HaloTile
from tinyyolo3.layers.convolution.cuda_mma import pack_mma_weights
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    INSTANCES,
    PRECISIONS,
    Precision,
)
from tinyyolo3.layers.convolution.cuda_tensor import (
    TensorTile,
    conv_forward_tensor_cuda,
    instance_of,
    tensor_candidates,
    tensor_instances,
    tensor_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tensor_choice import named_tile
from tinyyolo3.testing.architectures import yolov3_config

#: Candidates that the model thinks this much slower than its favourite are not tried, nor more
#: than so many.
SLACK, MOST_TRIED = 3.0, 60
#: Tiles of a convolution that are tried within the whole network.
RANKED = 5
#: Cycles of the model in a microsecond: the H200's clock under load.
MODEL_MHZ = 1900.0
#: What is compiled before anything is timed: outputs and activations of YOLO's layers.
OUTPUTS = ((np.float16, "leaky"), (np.float32, "linear"))
#: Of the time that is left after the checks, what single convolutions may take, and of the rest
#: what trying their tiles within the whole network may.
TABLE_SHARE, TUNING_SHARE = 0.6, 0.7


def measure(context: Context, part: str, record: Record) -> None:
    """Check and time one precision at one batch size."""
    name, _, images = part.partition("-")
    precision, batch, tiny = PRECISIONS[name], int(images), context.tiny
    target = context.open_target()
    record("compile", compile_ahead(target, list(instances(precision))))
    checks = check_instances(target, precision, tiny)
    record("checks", checks)
    record("launch", launch_us(target, precision))
    wrong = checks["wrong_instances"]
    right = [
        tile
        for tile in tensor_instances()
        if suits(tile, precision) and named_tile(tile) not in wrong
    ]
    if not right:
        return
    ranked = table(context, target, precision, batch, right, record)
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
    batch: int,
    right: Collection[TensorTile],
    record: Record,
) -> Ranking:
    """Time each convolution's tiles, of which all may take a share of the time; rank them."""
    problems = yolov3_problems(batch, context.tiny)
    distinct = list(dict.fromkeys(problems))
    end = time.monotonic() + TABLE_SHARE * context.left_s()
    ranked, rows = {}, {}
    for number, problem in enumerate(distinct):
        now = time.monotonic()
        limit = now + (end - now) / (len(distinct) - number)
        row = table_row(target, problem, precision, right, limit, context.tiny)
        ranked[problem], rows[problem] = row
        record(" ".join(map(str, astuple(problem)[1:])), rows[problem])
    sums = {key: sum(rows[p][key] for p in problems) for key in ("us", "chosen_us")}
    record("sum", {key: round(value, 1) for key, value in sums.items()})
    return ranked


def instances(precision: Precision) -> Iterator[tuple[str, str]]:
    """Yield the kernels that are tried, each with its file."""
    all_instances = [tile for tile in tensor_instances() if suits(tile, precision)]
    cached = [
        replace(tile, cached=True) for tile in all_instances if not isinstance(tile, HaloTile)
    ]
    for tile in (*all_instances, *cached):
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
        floats = tensor_workspace_floats(self.problem, self.precision, tile)
        if floats > self.workspace.size:
            self.workspace = new_workspace(self.target, floats)
        launches = [self._launch(tile, packed) for packed in self.packed]
        return 1e3 * launch_ms(self.target, launches, -(-8 // len(launches)), runs)

    def _launch(self, tile: TensorTile, packed: DeviceArray) -> Callable[[], None]:
        problem, workspace = self.problem, self.workspace

        def launch() -> None:
            conv_forward_tensor_cuda(
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
        for tile, cycles in tensor_candidates(problem, precision, gpu)
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
) -> tuple[list[TensorTile], dict[str, Any]]:
    """Time the likely tiles of one convolution; return the quickest ones and all figures.

    Args:
        target: where to run.
        problem: the convolution.
        precision: what tensor cores multiply.
        right: the instances that may be tried.
        limit: when to stop, by `time.monotonic`; the model's favourite is tried in any case.
        tiny: whether figures are of no interest.
    """
    gpu = gpu_of(target)
    bench = Bench(target, problem, precision, tiny)
    cycles = likely_tiles(problem, precision, gpu, right)
    chosen = next(iter(cycles))
    us = {chosen: bench.us(chosen, runs=1 if tiny else 5)}
    for tile in list(cycles)[: 2 if tiny else None]:
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


def launch_us(target: Target, precision: Precision) -> dict[str, float]:
    """Return the microseconds of a convolution that has next to nothing to do."""
    bench = Bench(target, Problem(1, 4, 4, 8, 32, 1), precision, tiny=True)
    tile = min(INSTANCES, key=lambda tile: tile.shared_bytes)
    found = {"overlapping": bench.us(tile, 20)}
    if target.name == "cuda":
        with one_by_one(target):
            found["one by one"] = bench.us(tile, 20)
    return {name: round(us, 3) for name, us in found.items()}
