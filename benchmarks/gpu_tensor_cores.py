"""Convolutions on tensor cores: right or not, then which tile is quickest for each.

    python benchmarks/gpu_tensor_cores.py --target cuda --output FILE
    python benchmarks/gpu_tensor_cores.py --keep FILE

First every instance is checked against float64. Then each convolution of yolov3-416 is timed with
every likely tile, alone in a CUDA graph, with weights from memory; last all of the network's, one
after the other, in one graph with the quickest tiles. ``--target host`` tries it all on the CPU.
``--keep`` writes a run's tiles to where the package looks for them.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from gpu_context import write_json
from gpu_convolutions import COLD_BYTES, MOST_COPIES, network_problems
from gpu_tensor_chain import chain_ms, overlapping
from gpu_tensor_checks import check_instances
from gpu_timing import launch_ms
from tinyyolo3.cuda.cubins import find_cubin
from tinyyolo3.cuda.maps import empty_map, upload_map
from tinyyolo3.cuda.sources import kernel_folder, read_source
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem, gpu_of
from tinyyolo3.layers.convolution.cuda_mma import conv_forward_mma_cuda, pack_mma_weights
from tinyyolo3.layers.convolution.cuda_mma_choice import (
    choices_file,
    choices_text,
    choose_mma,
    mma_product,
    read_problem,
)
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    INSTANCES,
    PRECISIONS,
    MmaTile,
    Precision,
    mma_candidates,
    mma_cycles,
    mma_workspace_floats,
)
from tinyyolo3.testing.architectures import yolov3_config

#: Candidates that the model thinks this much slower than its favourite are not tried, nor more
#: than so many.
SLACK, MOST_TRIED = 3.0, 80
#: Tiles of a convolution that are tried within the whole network.
RANKED = 5
#: Cycles of the model in a microsecond: the H200's clock under load.
MODEL_MHZ = 1900.0
#: What a fresh machine compiles before anything is timed: outputs and activations of YOLO's layers.
OUTPUTS = ((np.float16, "leaky"), (np.float32, "linear"))


def is_head(problem: Problem) -> bool:
    """Whether a convolution of the published networks is a head's last one."""
    return problem.filters == 255


def compile_all(target: Target, precision: Precision) -> float:
    """Compile every instance, on all cores at once; return the seconds."""
    gpu: Any = getattr(target, "gpu", None)
    if gpu is None:
        return 0.0
    start = time.perf_counter()
    outputs = [np.empty(0, dtype if precision.chunk == 8 else np.float32) for dtype, _ in OUTPUTS]
    names = [
        replace(tile, cached=cached).instance(precision, output, activation)
        for tile in INSTANCES
        for cached in (False, True)
        for output, (_, activation) in zip(outputs, OUTPUTS, strict=True)
    ]
    # A fork of a process that uses the GPU would not know what to do with it.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(_compile, names, [gpu.architecture] * len(names)))
    return time.perf_counter() - start


def _compile(name: str, architecture: str) -> None:
    find_cubin(read_source(kernel_folder() / "convolution_mma.cu"), [name], architecture)


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

    def us(self, tile: MmaTile, runs: int) -> float:
        """Return the microseconds of one convolution, in a graph of many."""
        floats = mma_workspace_floats(mma_product(self.problem, self.precision), tile)
        if floats > self.workspace.size:
            self.workspace = new_workspace(self.target, floats)
        launches = [self._launch(tile, packed) for packed in self.packed]
        return 1e3 * launch_ms(self.target, launches, -(-8 // len(launches)), runs)

    def _launch(self, tile: MmaTile, packed: DeviceArray) -> Callable[[], None]:
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


def likely_tiles(problem: Problem, precision: Precision, gpu: Gpu) -> dict[MmaTile, float]:
    """Return the tiles worth trying, with the model's cycles, the least first."""
    product = mma_product(problem, precision)
    cycles = {
        tile: mma_cycles(product, tile, precision, gpu.multiprocessors)
        for tile in mma_candidates(product, precision, problem.size**2, gpu.multiprocessors)
        if tile.shared_bytes <= gpu.shared_bytes
    }
    ordered = sorted(cycles, key=cycles.__getitem__)
    likely = [tile for tile in ordered if cycles[tile] <= SLACK * cycles[ordered[0]]][:MOST_TRIED]
    return {tile: cycles[tile] for tile in likely}


def table_row(
    target: Target, problem: Problem, precision: Precision, tiny: bool
) -> tuple[list[MmaTile], dict[str, Any]]:
    """Time the likely tiles of one convolution; return the quickest ones and all figures."""
    gpu = gpu_of(target)
    bench = Bench(target, problem, precision, tiny)
    cycles = likely_tiles(problem, precision, gpu)
    tried = list(cycles)[: 2 if tiny else None]
    us = {tile: bench.us(tile, runs=1 if tiny else 5) for tile in tried}
    ordered = sorted(us, key=us.__getitem__)
    best, product = ordered[0], problem.product
    operations = 2.0 * product.pixels * product.filters * product.terms
    chosen = choose_mma(problem, precision, Gpu("", gpu.multiprocessors, gpu.shared_bytes))
    return ordered[:RANKED], {
        "problem": astuple(problem),
        "tile": astuple(best),
        "us": round(us[best], 2),
        "tflop_per_s": round(operations / us[best] / 1e6, 1),
        "chosen": astuple(chosen),
        "chosen_us": round(us[chosen], 2),
        "tried": [[*astuple(t), round(cycles[t] / MODEL_MHZ, 2), round(us[t], 2)] for t in ordered],
    }


def yolov3_problems(batch: int, tiny: bool) -> list[Problem]:
    """Return the network's convolutions in order; some small ones if `tiny`."""
    if tiny:
        return [Problem(batch, 7, 9, 3, 40, 3), Problem(batch, 5, 5, 16, 255, 1)]
    return list(network_problems(yolov3_config, 416, batch))


def measure(
    target: Target, precision: Precision, batch: int, tiny: bool
) -> Iterator[tuple[str, Any]]:
    """Yield the figures of one precision and batch, named, as they come."""
    problems = yolov3_problems(batch, tiny)
    ranked, rows = {}, {}
    for problem in dict.fromkeys(problems):
        ranked[problem], rows[problem] = table_row(target, problem, precision, tiny)
        yield f"{precision.name} {batch} {astuple(problem)[1:]}", rows[problem]
    yield (
        f"{precision.name} {batch} sum",
        {key: round(sum(rows[p][key] for p in problems), 1) for key in ("us", "chosen_us")},
    )
    side = 32 if tiny else 416
    yield (
        f"{precision.name} {batch} chain",
        chain_ms(target, precision, batch, side, ranked, 1 if tiny else 200),
    )


def launch_us(target: Target, precision: Precision) -> dict[str, float]:
    """Return the microseconds of a convolution that has next to nothing to do."""
    bench = Bench(target, Problem(1, 4, 4, 8, 32, 1), precision, tiny=True)
    tile = min(INSTANCES, key=lambda tile: tile.shared_bytes)
    found = {"one by one": bench.us(tile, 20)}
    if target.name == "cuda":
        with overlapping(target):
            found["overlapping"] = bench.us(tile, 20)
    return {name: round(us, 3) for name, us in found.items()}


def main() -> None:
    """Run it all and write the figures, or keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=("cuda", "host"), default="cuda")
    parser.add_argument("--output", type=Path, help="where the figures go, as JSON")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["fp16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--keep", nargs="+", type=Path, help="outputs of earlier runs")
    given = parser.parse_args()
    if given.keep:
        keep(given.keep)
    else:
        run(given)


def run(given: argparse.Namespace) -> None:
    """Check and time what the command line asks for."""
    target, tiny = open_target(given.target), given.target == "host"
    found: dict[str, Any] = {}

    def record(name: str, value: Any) -> None:
        found[name] = value
        if given.output:
            write_json(given.output, found)
        shown = {k: v for k, v in value.items() if k not in ("tried", "tiles")}
        print(f"{name}: {shown}", flush=True)

    record("device", {"name": gpu_of(target).name})
    for precision in map(PRECISIONS.__getitem__, given.precisions):
        record(f"{precision.name} compile", {"s": round(compile_all(target, precision), 1)})
        record(f"{precision.name} checks", check_instances(target, precision, tiny))
        record(f"{precision.name} launch", launch_us(target, precision))
        for batch in given.batches:
            for name, value in measure(target, precision, batch, tiny):
                record(name, value)


def keep(files: list[Path]) -> None:
    """Write the tiles that whole networks were quickest with to the package."""
    choices, device = {}, ""
    for results in (json.loads(file.read_text()) for file in files):
        device = results["device"]["name"]
        for name, value in results.items():
            for problem, tile in value["tiles"] if name.endswith(" chain") else ():
                choices[name.split()[0], read_problem(problem)] = MmaTile(*tile)
    choices_file(device).write_text(choices_text(choices))


def open_target(name: str) -> Target:
    """Return where kernels run."""
    if name == "cuda":
        from tinyyolo3.cuda.gpu import open_cuda

        return open_cuda()
    from tinyyolo3.cuda.host import HostTarget

    return HostTarget("fast")


if __name__ == "__main__":
    main()
