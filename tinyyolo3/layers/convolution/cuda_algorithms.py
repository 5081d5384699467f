"""Which kernels compute a convolution on a GPU, and how they cut it.

Two rungs of the ladder compete: the blocked one, which takes any convolution without groups, and
Winograd's, for 3 × 3 windows with stride 1, each with every tile. `choose_algorithm` takes what was
measured on this GPU, where that is known (``algorithms_<device>.json``, written by
``benchmarks/gpu_keep.py``), and otherwise the least of a model of the time.
"""

import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.layers.convolution.cuda import conv_forward_blocked_cuda, pack_weights
from tinyyolo3.layers.convolution.cuda_tiles import (
    INSTANCES,
    MULTIPROCESSORS,
    ODD,
    SPLIT_TILES,
    Product,
    Tile,
    candidates,
    modelled_cycles,
    round_cycles,
    workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_winograd import (
    MOST_ELEMENTS,
    OUTPUTS,
    Patches,
    conv_forward_winograd_cuda,
    pack_winograd,
)
from tinyyolo3.layers.shapes import Stride

#: Cycles from one launch's end to the next one's first results.
LAUNCH_CYCLES = 4800.0
#: Bytes that memory delivers in a cycle, divided by the multiprocessors: an H200's 4.26 TB/s.
MEMORY_BYTES = 16
#: The blocked rung's times were compared with its model's, Winograd's not yet: it is taken only
#: where its modelled time is this much shorter.
WINOGRAD_DOUBT = 1.2


@dataclass(frozen=True)
class Problem:
    """A convolution without groups.

    Attributes:
        images: pictures of the batch.
        height: rows of the output map.
        width: columns of it.
        channels: of the input.
        filters: channels of the output.
        size: side of the window.
        stride: vertical and horizontal step.
        dilation: distance of the window's taps.
    """

    images: int
    height: int
    width: int
    channels: int
    filters: int
    size: int
    stride: tuple[int, int] = (1, 1)
    dilation: int = 1

    @property
    def product(self) -> Product:
        """The matrix product that the blocked rung computes."""
        terms = self.size**2 * self.channels
        return Product(self.images * self.height * self.width, self.filters, terms)

    def patches(self, outputs: int) -> Patches:
        """Return how Winograd's rung cuts the maps."""
        sides = (self.images, self.height, self.width)
        return Patches(outputs, *sides, self.channels, self.filters)


@dataclass(frozen=True)
class Algorithm:
    """How a convolution is computed.

    Attributes:
        tile: of the blocked rung, or of Winograd's products.
        outputs: side of a patch of Winograd's rung in output pixels; 0 for the blocked rung.
    """

    tile: Tile
    outputs: int = 0


@dataclass(frozen=True)
class Gpu:
    """What the choice depends on.

    Attributes:
        name: as the driver says it; "" where measurements do not count.
        multiprocessors: how many.
        shared_bytes: the most shared memory of one block.
        warpgroups: whether four warps can multiply together (``kernels/warpgroups.cuh``).
    """

    name: str = ""
    multiprocessors: int = MULTIPROCESSORS
    shared_bytes: int = 227 * 1024
    warpgroups: bool = False


def gpu_of(target: Target) -> Gpu:
    """Return what is known of a target's GPU; for the host an H200's numbers, without its name."""
    gpu: Any = getattr(target, "gpu", None)
    if gpu is None:
        return Gpu()
    return Gpu(gpu.name, gpu.multiprocessors, gpu.shared_bytes, gpu.architecture == "sm_90")


def pack_algorithm(weights: NDArray[np.float32], algorithm: Algorithm) -> NDArray[np.float32]:
    """Return weights, (F, C, K, K), as the kernels of an algorithm read them."""
    if algorithm.outputs:
        return pack_winograd(weights, algorithm.outputs)
    return pack_weights(weights)


def conv_forward_cuda(
    target: Target,
    x: DeviceMap,
    packed: DeviceArray,
    biases: DeviceArray,
    out: DeviceMap,
    *,
    algorithm: Algorithm,
    workspace: DeviceArray,
    size: int,
    stride: Stride,
    padding: int,
    dilation: int = 1,
    activation: str = "linear",
    residual: DeviceMap | None = None,
) -> None:
    """Launch a convolution from `x` into `out`.

    Args:
        algorithm: how; a candidate for this problem.
        packed: the weights, packed by `pack_algorithm`.
        workspace: from `new_workspace`, of `algorithm_workspace_floats` or more.

    The other arguments and the errors are those of `conv_forward_blocked_cuda`.
    """
    arrays = target, x, packed, biases, out
    if algorithm.outputs:
        conv_forward_winograd_cuda(
            *arrays,
            outputs=algorithm.outputs,
            tile=algorithm.tile,
            workspace=workspace,
            padding=padding,
            activation=activation,
            residual=residual,
        )
        return
    conv_forward_blocked_cuda(
        *arrays,
        size=size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        activation=activation,
        residual=residual,
        tile=algorithm.tile,
        workspace=workspace,
    )


def algorithm_candidates(problem: Problem, gpu: Gpu) -> Iterator[Algorithm]:
    """Yield every way of computing a convolution that is worth trying."""
    if problem.channels % 4:
        yield Algorithm(ODD)
        return
    for tile in candidates(problem.product, gpu.multiprocessors):
        if tile.shared_bytes <= gpu.shared_bytes:
            yield Algorithm(tile)
    if (problem.size, problem.stride, problem.dilation) != (3, (1, 1), 1):
        return
    for outputs in OUTPUTS:
        if problem.patches(outputs).largest_array > MOST_ELEMENTS:
            continue
        for tile in INSTANCES:
            if tile.shared_bytes <= gpu.shared_bytes and tile.filters < 2 * problem.filters:
                yield Algorithm(tile, outputs)


def algorithm_cycles(problem: Problem, algorithm: Algorithm, gpu: Gpu) -> float:
    """Return about how many cycles a convolution takes.

    Winograd's products are a round of blocks each, as in `modelled_cycles`; its transforms read and
    write each number once, and every launch waits for the one before.
    """
    tile = algorithm.tile
    if not algorithm.outputs:
        return LAUNCH_CYCLES + modelled_cycles(problem.product, tile, gpu.multiprocessors)
    patches = problem.patches(algorithm.outputs)
    blocks = tile.tiles_of(patches.count, problem.filters) * patches.elements
    slices = -(-problem.channels // tile.depth)
    maps = problem.images * problem.height * problem.width * (problem.channels + problem.filters)
    transformed = patches.workspace_floats
    bytes_per_cycle = MEMORY_BYTES * gpu.multiprocessors
    memory = 4.0 * (maps + 2 * transformed) / bytes_per_cycle
    weights = 4.0 * patches.elements * problem.channels * problem.filters / bytes_per_cycle
    arithmetic = round_cycles(tile, blocks, slices, gpu.multiprocessors)
    return 3 * LAUNCH_CYCLES + memory + max(arithmetic, weights)


@cache
def choose_algorithm(problem: Problem, gpu: Gpu) -> Algorithm:
    """Return the quickest way: as measured on the GPU, or else by the model, with its doubts."""
    measured = measured_algorithm(gpu.name, problem)
    if measured is not None:
        return measured

    def doubtful_cycles(algorithm: Algorithm) -> float:
        doubt = WINOGRAD_DOUBT if algorithm.outputs else 1.0
        return doubt * algorithm_cycles(problem, algorithm, gpu)

    return min(algorithm_candidates(problem, gpu), key=doubtful_cycles)


def algorithm_workspace_floats(problem: Problem, algorithm: Algorithm) -> int:
    """Return how many numbers of `new_workspace` a convolution needs."""
    if algorithm.outputs:
        return SPLIT_TILES + problem.patches(algorithm.outputs).workspace_floats
    return workspace_floats(problem.product, algorithm.tile)


def measured_algorithm(device: str, problem: Problem) -> Algorithm | None:
    """Return what was quickest for a convolution on a device, or None if that was not measured."""
    return _measured(device).get(problem)


@cache
def _measured(device: str) -> dict[Problem, Algorithm]:
    file = algorithms_file(device)
    if not device or not file.is_file():
        return {}
    rows = dict(map(read_row, json.loads(file.read_text())))
    # A file from a version with other instances is not to bring them back.
    return {p: a for p, a in rows.items() if replace(a.tile, parts=1) in INSTANCES}


def read_row(row: dict[str, Any]) -> tuple[Problem, Algorithm]:
    """Return what a row of measurements is about, ``problem`` and ``algorithm`` as lists."""
    images, height, width, channels, filters, size, stride, dilation = row["problem"]
    sides = (images, height, width, channels, filters, size)
    tile, outputs = row["algorithm"]
    return Problem(*sides, (stride[0], stride[1]), dilation), Algorithm(Tile(*tile), outputs)


def algorithms_file(device: str) -> Path:
    """Return where a device's measurements are kept."""
    words = "".join(c if c.isalnum() else " " for c in device.lower()).split()
    return Path(__file__).with_name(f"algorithms_{'_'.join(words)}.json")


def algorithms_text(rows: dict[Problem, Algorithm]) -> str:
    """Return the contents of such a file, a line for each convolution."""
    lines = (
        json.dumps({"problem": astuple(problem), "algorithm": astuple(algorithm)})
        for problem, algorithm in sorted(rows.items(), key=lambda row: astuple(row[0]))
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"
