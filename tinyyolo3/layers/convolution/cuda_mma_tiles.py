"""The tiles that ``kernels/mma_tile.cuh`` cuts a product of matrices into, and what they cost.

As `cuda_tiles`, for tensor cores: a block's warps multiply matrices, and a slice's depth is counted
in bytes, so that an instance serves halves and tf32 alike.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.layers.convolution.cuda_tiles import (
    MULTIPROCESSORS,
    SPLIT_TILES,
    Product,
)

#: The kernels of tiles whose `blocks` are given.
STREAM_K_FILE = "convolution_stream_k.cu"
#: Bytes that shared memory moves in a cycle.
SHARED_RATE = 128.0


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
        blocks: among which the slices of all tiles are dealt out evenly (stream-K,
            ``kernels/convolution_stream_k.cu``); 0 where each tile has `parts` blocks.
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
    blocks: int = 0

    @property
    def file(self) -> str:
        """The kernel's."""
        return STREAM_K_FILE if self.blocks else "convolution_mma.cu"

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
        kernel = "mma_stream_k" if self.blocks else "convolution_mma"
        return f"{kernel}<{', '.join(arguments)}>"

    def tiles(self, product: Product) -> int:
        """Return how many tiles cover the result."""
        return -(-product.pixels // self.pixels) * -(-product.filters // self.filters)


#: The instances: of those tried on an H200, the fewest that are all but the quickest everywhere.
INSTANCES = (
    MmaTile(192, 128, 128, 4, 2, 3, 1),
    MmaTile(128, 128, 128, 2, 4, 3, 2),
    MmaTile(128, 64, 128, 2, 2, 4, 2),
    MmaTile(64, 128, 128, 2, 4, 4, 2),
    MmaTile(64, 64, 128, 2, 2, 6, 2),
    MmaTile(64, 64, 128, 2, 2, 4, 3),
    MmaTile(32, 64, 128, 2, 2, 4, 4),
    MmaTile(64, 32, 128, 2, 1, 4, 4),
    MmaTile(128, 32, 64, 4, 1, 4, 4),
    MmaTile(32, 32, 128, 2, 1, 4, 5),
)


#: Those that stream-K is tried with: the quickest of several sizes, and the smallest.
STREAM_K_INSTANCES = (INSTANCES[2], INSTANCES[5], INSTANCES[9])


def mma_terms(channels: int, size: int, precision: Precision) -> int:
    """Return a convolution's terms, each tap's channels filled up to whole chunks of 16 bytes."""
    return size * size * -(-channels // precision.chunk) * precision.chunk


def mma_cycles(
    product: Product, tile: MmaTile, precision: Precision, multiprocessors: int = MULTIPROCESSORS
) -> float:
    """Return about how many cycles a convolution takes on tensor cores.

    The busiest multiprocessor has ⌈blocks / multiprocessors⌉ blocks. A slice takes what tensor
    cores or shared memory need for it, whichever is more: each warp reads the rows that it
    multiplies, and all rows are written before; and some cycles that other resident blocks fill. To
    that come the beginning and the end of each round of resident blocks, about 2 µs, and with parts
    the partial sums, which one block adds up. The constants are fitted to 1,200 measurements on an
    H200, fp16 and tf32 alike; the tile that this prefers is 4 % slower than the quickest of those
    tried, on average. Stream-K was not among them: that each tile which a block goes on to costs it
    another beginning and end is a cautious guess.
    """
    depth = tile.depth(precision)
    load = load_of(product, tile, depth, multiprocessors)
    multiplied = tile.pixels * tile.filters * depth / precision.rate
    read = tile.warps_n * tile.pixels + tile.warps_m * tile.filters
    moved = (read + tile.pixels + tile.filters) * tile.row_bytes / SHARED_RATE
    cycles = load.rounds * (3640.0 * load.fillings + 425.0 * load.slices)
    cycles += load.blocks * load.slices * max(1.55 * multiplied, 1.06 * moved)
    if load.parts > 1:
        cycles += 3250.0 + 0.114 * load.parts * tile.pixels * tile.filters
    return cycles


@dataclass(frozen=True)
class Load:
    """What the busiest multiprocessor has to do.

    Attributes:
        blocks: of all rounds.
        rounds: of resident blocks.
        slices: of each block.
        fillings: how often a block's pipeline begins anew, with another tile.
        parts: how many blocks a tile's sums come from.
    """

    blocks: int
    rounds: int
    slices: int
    fillings: int
    parts: int


def load_of(product: Product, tile: "GemmTile", depth: int, multiprocessors: int) -> Load:
    """Return how a product's slices, of so many terms each, are dealt out.

    With stream-K a stretch of n slices touches up to 1 + ⌈(n - 1) / s⌉ tiles of s slices, and such
    a tile up to 1 + ⌈(s - 1) / n⌉ stretches of n slices or more.
    """
    tiles, of_tile = tile.tiles(product), -(-product.terms // depth)
    slices, fillings, parts = -(-product.terms // (depth * tile.parts)), 1, tile.parts
    blocks = tiles * tile.parts
    if tile.blocks:
        blocks = tile.blocks
        slices = -(-tiles * of_tile // blocks)
        shortest = max(tiles * of_tile // blocks, 1)
        fillings, parts = 1 + -(-(slices - 1) // of_tile), 1 + -(-(of_tile - 1) // shortest)
    load = -(-blocks // multiprocessors)
    rounds = -(-load // min(load, tile.blocks_per_sm))
    return Load(load, rounds, slices, fillings, parts)


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
    def blocks(self) -> int:
        """Blocks among which all tiles' slices are dealt out; 0 where tiles have their own."""

    @property
    def blocks_per_sm(self) -> int:
        """How many are resident on a multiprocessor."""

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


def mma_grid(product: Product, tile: GemmTile) -> tuple[int, int]:
    """Return the blocks of a launch."""
    return (tile.blocks, 1) if tile.blocks else (tile.tiles(product), tile.parts)


def mma_counters(product: Product, tile: GemmTile) -> int:
    """Return how many counters a launch needs, where blocks share tiles."""
    if tile.blocks:
        return tile.blocks
    return tile.tiles(product) if tile.parts > 1 else 0


def mma_workspace_floats(product: Product, tile: GemmTile) -> int:
    """Return how many numbers of workspace a launch needs: counters and partial sums."""
    if not mma_counters(product, tile):
        return 0
    sums = 2 * tile.blocks if tile.blocks else tile.tiles(product) * tile.parts
    return SPLIT_TILES + sums * tile.pixels * tile.filters
