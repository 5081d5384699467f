"""The tiles that ``kernels/mma_tile.cuh`` cuts a product of matrices into, and what they cost.

As `cuda_tiles`, for tensor cores: a block's warps multiply matrices, and a slice's depth is counted
in bytes, so that an instance serves halves and tf32 alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.layers.convolution.cuda_tiles import (
    MULTIPROCESSORS,
    PARTS,
    SPLIT_TILES,
    Product,
)

#: The fewest slices of a part: its pipeline must fill.
LEAST_SLICES = 2


@dataclass(frozen=True)
class Precision:
    """What tensor cores multiply.

    Attributes:
        name: "fp16" or "tf32".
        dtype: of maps and weights.
        element: the same in the kernels.
        rate: multiply-adds of a multiprocessor in a cycle, as `mma.sync` reaches them on Hopper.
        least_architecture: the oldest GPU that has it: 75 for sm_75.
    """

    name: str
    dtype: DTypeLike
    element: str
    rate: float
    least_architecture: int

    @property
    def chunk(self) -> int:
        """How many numbers take 16 bytes."""
        return 16 // np.dtype(self.dtype).itemsize


FP16 = Precision("fp16", np.float16, "half", 1024.0, 75)
TF32 = Precision("tf32", np.float32, "float", 512.0, 80)
PRECISIONS = {precision.name: precision for precision in (FP16, TF32)}


@dataclass(frozen=True)
class MmaTile:
    """An instance of the kernel's template, and how terms are shared.

    Attributes:
        pixels: of a tile.
        filters: of a tile.
        row_bytes: of a pixel's or filter's terms in a slice: 64 or 128.
        warps_m: how many warps share the pixels.
        warps_n: how many share the filters.
        stages: slices in shared memory.
        blocks_per_sm: how many blocks' registers fit a multiprocessor.
        parts: blocks that share the terms of a tile.
        cached: pixels come by way of the L1 cache, which has them for the next taps.
    """

    pixels: int
    filters: int
    row_bytes: int
    warps_m: int
    warps_n: int
    stages: int
    blocks_per_sm: int
    parts: int = 1
    cached: bool = False

    file = "convolution_mma.cu"

    @property
    def threads(self) -> int:
        """The size of a block."""
        return 32 * self.warps_m * self.warps_n

    @property
    def shared_bytes(self) -> int:
        """A block's dynamic shared memory: stages, rows, biases, a counter with its alignment."""
        rows = self.pixels + self.filters
        return self.stages * self.row_bytes * rows + 8 * self.pixels + 4 * self.filters + 16

    def depth(self, precision: Precision) -> int:
        """Return how many terms a slice has."""
        return self.row_bytes // np.dtype(precision.dtype).itemsize

    def instance(self, precision: Precision, output: NDArray[np.generic], activation: str) -> str:
        """Return the kernel's name for an output and an activation."""
        types = precision.element, "half" if output.dtype == np.float16 else "float"
        numbers = (
            *(self.pixels, self.filters, self.depth(precision)),
            *(self.warps_m, self.warps_n, self.stages, self.blocks_per_sm),
        )
        rest = *map(str, numbers), "true" if self.cached else "false"
        arguments = *types, f"ACTIVATION_{activation.upper()}", *rest
        return f"convolution_mma<{', '.join(arguments)}>"

    def tiles(self, product: Product) -> int:
        """Return how many tiles cover the result."""
        return -(-product.pixels // self.pixels) * -(-product.filters // self.filters)


#: The instances, each with the share of the tensor cores' rate that it reaches with full warps: the
#: less, the fewer multiplications a fragment serves that is loaded from shared memory.
INSTANCES = {
    MmaTile(128, 256, 128, 2, 4, 3, 1): 0.85,
    MmaTile(192, 128, 128, 4, 2, 3, 1): 0.80,
    MmaTile(128, 128, 128, 2, 4, 3, 2): 0.75,
    MmaTile(128, 128, 128, 2, 4, 4, 1): 0.75,
    MmaTile(128, 128, 64, 2, 4, 4, 2): 0.70,
    MmaTile(256, 128, 128, 4, 2, 3, 1): 0.85,
    MmaTile(256, 64, 128, 8, 1, 3, 1): 0.75,
    MmaTile(256, 32, 128, 8, 1, 3, 2): 0.60,
    MmaTile(192, 64, 128, 4, 1, 4, 1): 0.75,
    MmaTile(128, 64, 128, 2, 2, 4, 2): 0.72,
    MmaTile(64, 128, 128, 2, 2, 4, 2): 0.72,
    MmaTile(128, 64, 128, 4, 2, 4, 2): 0.62,
    MmaTile(64, 128, 128, 2, 4, 4, 2): 0.62,
    MmaTile(64, 64, 128, 2, 2, 6, 2): 0.60,
    MmaTile(64, 64, 128, 2, 2, 4, 3): 0.60,
    MmaTile(64, 64, 128, 2, 1, 4, 3): 0.70,
    MmaTile(64, 64, 64, 2, 2, 4, 4): 0.55,
    MmaTile(32, 64, 128, 1, 2, 4, 4): 0.55,
    MmaTile(32, 64, 128, 2, 2, 4, 4): 0.45,
    MmaTile(64, 32, 128, 2, 1, 4, 4): 0.55,
    MmaTile(128, 32, 128, 4, 1, 4, 2): 0.55,
    MmaTile(128, 32, 64, 4, 1, 4, 4): 0.50,
    MmaTile(32, 32, 128, 2, 1, 4, 5): 0.40,
}


def mma_terms(channels: int, size: int, precision: Precision) -> int:
    """Return a convolution's terms, each tap's channels filled up to whole chunks of 16 bytes."""
    return size * size * -(-channels // precision.chunk) * precision.chunk


def mma_candidates(
    product: Product,
    precision: Precision,
    taps: int = 1,
    multiprocessors: int = MULTIPROCESSORS,
) -> Iterator[MmaTile]:
    """Yield every tile worth trying: each instance, and its terms in parts up to full occupancy.

    Where a window has several `taps`, with and without the L1 cache.
    """
    for instance in _instances(taps):
        if instance.filters >= 2 * max(product.filters, 32):
            continue
        tiles = instance.tiles(product)
        yield instance
        if tiles > SPLIT_TILES:
            continue
        slices = -(-product.terms // instance.depth(precision))
        # More blocks than are resident at a time would only add partial sums.
        most = min(-(-multiprocessors * instance.blocks_per_sm // tiles), slices // LEAST_SLICES)
        for parts in PARTS:
            if parts <= most:
                yield replace(instance, parts=parts)


def _instances(taps: int) -> Iterator[MmaTile]:
    for instance in INSTANCES:
        yield instance
        if taps > 1:
            yield replace(instance, cached=True)


def mma_cycles(
    product: Product, tile: MmaTile, precision: Precision, multiprocessors: int = MULTIPROCESSORS
) -> float:
    """Return about how many cycles a convolution takes on tensor cores.

    The busiest multiprocessor has ⌈blocks / multiprocessors⌉ blocks. It multiplies at the
    precision's rate, less with fewer than 8 warps; all together, blocks take their slices from the
    L2 cache at about 3 KiB a cycle, pixels less than half of the times if L1 keeps them. To that
    come the filling of the pipeline and the storing of the tile, about 1 µs for each round of
    resident blocks, and with parts the partial sums.
    """
    blocks = tile.tiles(product) * tile.parts
    load = -(-blocks // multiprocessors)
    resident = min(load, tile.blocks_per_sm)
    warps = resident * tile.threads // 32
    efficiency = INSTANCES[replace(tile, parts=1, cached=False)] * min(1.0, 0.3 + 0.7 * warps / 8)
    slices = -(-product.terms // tile.depth(precision))
    depth = -(-slices // tile.parts) * tile.depth(precision)
    arithmetic = load * tile.pixels * tile.filters * depth / precision.rate / efficiency
    itemsize = np.dtype(precision.dtype).itemsize
    rows = tile.pixels * (0.4 if tile.cached else 1.0) + tile.filters
    copies = blocks * rows * depth * itemsize / 3072
    cycles = max(arithmetic, copies) + 1800.0 * -(-load // resident)
    if tile.parts > 1:
        cycles += 1200.0 + 150.0 * tile.parts + 8.0 * blocks * tile.pixels * tile.filters / 2048
    return cycles


class GemmTile(Protocol):
    """A tile of an implicit GEMM, by whichever instructions."""

    @property
    def pixels(self) -> int:
        """Of a tile."""

    @property
    def filters(self) -> int:
        """Of a tile."""

    @property
    def parts(self) -> int:
        """Blocks that share the terms of a tile."""

    @property
    def file(self) -> str:
        """The kernel's."""

    @property
    def threads(self) -> int:
        """The size of a block."""

    @property
    def shared_bytes(self) -> int:
        """A block's dynamic shared memory."""

    def instance(self, precision: Precision, output: NDArray[np.generic], activation: str) -> str:
        """Return the kernel's name for an output and an activation."""

    def tiles(self, product: Product) -> int:
        """Return how many tiles cover the result."""


def mma_workspace_floats(product: Product, tile: GemmTile) -> int:
    """Return how many numbers of workspace a launch needs: counters and partial sums."""
    if tile.parts == 1:
        return 0
    return SPLIT_TILES + tile.tiles(product) * tile.parts * tile.pixels * tile.filters


@cache
def choose_mma_tile(
    product: Product,
    precision: Precision,
    taps: int = 1,
    multiprocessors: int = MULTIPROCESSORS,
    shared_bytes: int = 227 * 1024,
) -> MmaTile:
    """Return the tile with the least modelled time that fits shared memory; of equals the first."""
    fitting = (
        tile
        for tile in mma_candidates(product, precision, taps, multiprocessors)
        if tile.shared_bytes <= shared_bytes
    )
    return min(fitting, key=lambda tile: mma_cycles(product, tile, precision, multiprocessors))
