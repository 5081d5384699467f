"""The tiles that ``kernels/convolution_halo.cu`` cuts a 3 × 3 convolution into, and what they cost.

A tile is a rectangle of output pixels of one picture; the pixels under it, with their halo, lie in
shared memory. Which rectangle is not the compiler's affair: any will do that has no more pixels
than an instance's, and no more of them under it than it has room for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.layers.convolution.cuda_algorithms import Problem
from tinyyolo3.layers.convolution.cuda_mma_tiles import Precision
from tinyyolo3.layers.convolution.cuda_tiles import MULTIPROCESSORS, PARTS, SPLIT_TILES

#: The side of the kernels, and their taps.
SIDE, TAPS = 3, 9
#: Chunks of 16 bytes of a block of channels.
BLOCK_CHUNKS = 8


@dataclass(frozen=True)
class HaloTile:
    """An instance of the kernel's template, and how terms are shared.

    Attributes:
        pixels: of a tile, at the most.
        filters: of a tile.
        chunks: 16-byte chunks of a pixel in shared memory: 8, or 4 or 1 for maps with no more.
        halo: pixels under a tile, at the most.
        warps_m: how many warps share the pixels.
        warps_n: how many share the filters.
        stages: slices of weights in shared memory.
        blocks_per_sm: how many blocks' registers fit a multiprocessor.
        parts: blocks that share the channels of a tile.
    """

    pixels: int
    filters: int
    chunks: int
    halo: int
    warps_m: int
    warps_n: int
    stages: int
    blocks_per_sm: int
    parts: int = 1

    file = "convolution_halo.cu"

    @property
    def threads(self) -> int:
        """The size of a block."""
        return 32 * self.warps_m * self.warps_n

    @property
    def shared_bytes(self) -> int:
        """A block's dynamic shared memory: weights, pixels, tables, biases, a counter."""
        buffers = 2 if self.chunks == BLOCK_CHUNKS else 1
        weights = self.stages * self.filters * (BLOCK_CHUNKS + 1) * 16
        pixels = buffers * self.halo * (self.chunks | 1) * 16
        tables = 4 * (2 * TAPS * BLOCK_CHUNKS + self.halo + 2 * self.pixels)
        return -(-(weights + pixels + tables + 4 * self.filters + 4) // 16) * 16

    def instance(self, precision: Precision, output: NDArray[np.generic], activation: str) -> str:
        """Return the kernel's name for an output and an activation."""
        types = precision.element, "half" if output.dtype == np.float16 else "float"
        numbers = (
            *(self.pixels, self.filters, self.chunks, self.halo),
            *(self.warps_m, self.warps_n, self.stages, self.blocks_per_sm),
        )
        arguments = *types, f"ACTIVATION_{activation.upper()}", *map(str, numbers)
        return f"convolution_halo<{', '.join(arguments)}>"

    def tiles(self, problem: Problem) -> int:
        """Return how many tiles cover the result of a convolution that fits."""
        rectangle = tile_rectangle(problem, self.pixels, self.halo)
        assert rectangle is not None
        return _tiles(problem, *rectangle) * -(-problem.filters // self.filters)


#: The instances, each with the share of the tensor cores' rate that it reaches.
HALO_INSTANCES = {
    HaloTile(192, 64, 8, 256, 4, 2, 4, 2): 0.70,
    HaloTile(96, 64, 8, 160, 2, 2, 4, 2): 0.65,
    HaloTile(128, 64, 8, 184, 4, 2, 4, 2): 0.65,
    HaloTile(128, 128, 8, 184, 2, 4, 4, 1): 0.75,
    HaloTile(192, 128, 8, 256, 4, 2, 3, 1): 0.80,
    HaloTile(192, 32, 8, 256, 4, 1, 4, 2): 0.60,
    HaloTile(64, 64, 8, 112, 2, 2, 4, 3): 0.60,
    HaloTile(256, 128, 8, 336, 4, 2, 3, 1): 0.85,
    HaloTile(128, 64, 4, 184, 4, 2, 4, 2): 0.60,
    HaloTile(256, 64, 4, 336, 8, 1, 4, 2): 0.65,
    HaloTile(256, 32, 1, 336, 8, 1, 2, 2): 0.50,
    HaloTile(128, 32, 1, 184, 4, 1, 2, 4): 0.50,
    HaloTile(64, 64, 8, 320, 2, 2, 4, 1): 0.60,
    HaloTile(128, 64, 8, 592, 4, 2, 3, 1): 0.65,
    HaloTile(128, 64, 4, 592, 4, 2, 4, 2): 0.60,
}


def halo_pixels(problem: Problem, rows: int, columns: int) -> int:
    """Return how many pixels lie under a rectangle of output pixels, as shared memory has them."""
    step_y, step_x = problem.stride
    margin = (SIDE - 1) * problem.dilation + 1
    width = -(-((columns - 1) * step_x + margin) // step_x) * step_x
    return ((rows - 1) * step_y + margin) * width


@cache
def tile_rectangle(problem: Problem, pixels: int, halo: int) -> tuple[int, int] | None:
    """Return the rows and columns of a tile, None if not even one output pixel fits.

    The fewest tiles come first; then rows of whole eights, whose pixels lie in different banks of
    shared memory; then the fewest pixels under the tile, and the longest rows.
    """
    fitting = [
        (rows, columns)
        for columns in range(1, min(problem.width, pixels) + 1)
        for rows in range(1, min(problem.height, pixels // columns) + 1)
        if halo_pixels(problem, rows, columns) <= halo
    ]
    if not fitting:
        return None

    def cost(sides: tuple[int, int]) -> tuple[int, bool, int, int]:
        columns = sides[1]
        return _tiles(problem, *sides), columns % 8 > 0, halo_pixels(problem, *sides), -columns

    return min(fitting, key=cost)


def halo_chunks(problem: Problem, precision: Precision) -> int:
    """Return how many chunks of 16 bytes a pixel of the input has."""
    return -(-problem.channels // precision.chunk)


def halo_fits(problem: Problem, precision: Precision, tile: HaloTile) -> bool:
    """Return whether an instance can compute a convolution."""
    chunks = halo_chunks(problem, precision)
    return (
        problem.size == SIDE
        and (tile.chunks == BLOCK_CHUNKS or chunks <= tile.chunks)
        and tile_rectangle(problem, tile.pixels, tile.halo) is not None
    )


def halo_candidates(
    problem: Problem, precision: Precision, multiprocessors: int = MULTIPROCESSORS
) -> Iterator[HaloTile]:
    """Yield every tile worth trying: each instance, and its channels in parts."""
    chunks = halo_chunks(problem, precision)
    for instance in HALO_INSTANCES:
        if not halo_fits(problem, precision, instance):
            continue
        if instance.filters >= 2 * max(problem.filters, 32):
            continue
        if instance.chunks == BLOCK_CHUNKS and chunks <= BLOCK_CHUNKS // 2:
            continue
        yield instance
        tiles = instance.tiles(problem)
        if tiles > SPLIT_TILES:
            continue
        blocks = -(-chunks // BLOCK_CHUNKS)
        most = min(-(-multiprocessors * instance.blocks_per_sm // tiles), blocks)
        for parts in PARTS:
            if parts <= most:
                yield replace(instance, parts=parts)


def halo_cycles(
    problem: Problem,
    tile: HaloTile,
    precision: Precision,
    multiprocessors: int = MULTIPROCESSORS,
) -> float:
    """Return about how many cycles a convolution takes, as `mma_cycles` counts them."""
    blocks = tile.tiles(problem) * tile.parts
    load = -(-blocks // multiprocessors)
    resident = min(load, tile.blocks_per_sm)
    warps = resident * tile.threads // 32
    efficiency = HALO_INSTANCES[replace(tile, parts=1)] * min(1.0, 0.4 + 0.6 * warps / 8)
    chunks = halo_chunks(problem, precision)
    channel_blocks = -(-chunks // (BLOCK_CHUNKS * tile.parts))
    slices = min(TAPS * channel_blocks, -(-TAPS * chunks // BLOCK_CHUNKS))
    depth = slices * BLOCK_CHUNKS * precision.chunk
    arithmetic = load * tile.pixels * tile.filters * depth / precision.rate / efficiency
    pixel_bytes = tile.halo * min(chunks, BLOCK_CHUNKS * channel_blocks) * 16
    copies = blocks * (pixel_bytes + tile.filters * slices * BLOCK_CHUNKS * 16) / 3072
    cycles = max(arithmetic, copies) + 2200.0 * -(-load // resident)
    if tile.parts > 1:
        cycles += 1200.0 + tile.parts * tile.pixels * tile.filters / 24
    return cycles


def halo_workspace_floats(problem: Problem, tile: HaloTile) -> int:
    """Return how many numbers of workspace a launch needs: counters and partial sums."""
    if tile.parts == 1:
        return 0
    return SPLIT_TILES + tile.tiles(problem) * tile.parts * tile.pixels * tile.filters


def _tiles(problem: Problem, rows: int, columns: int) -> int:
    return problem.images * -(-problem.height // rows) * -(-problem.width // columns)
