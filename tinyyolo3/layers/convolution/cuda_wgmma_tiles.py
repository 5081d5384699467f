"""The tiles of ``kernels/wgmma_tile.cuh``, and what they cost: `cuda_mma_tiles` for warpgroups."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    SHARED_RATE,
    STREAM_K_FILE,
    Precision,
    load_of,
)
from tinyyolo3.layers.convolution.cuda_tiles import (
    MULTIPROCESSORS,
    Product,
)

#: Bytes of a row of a slice, and the halves in it.
ROW_BYTES, DEPTH = 128, 64
#: Pixels of a warpgroup.
GROUP_PIXELS = 64
#: Multiply-adds of a multiprocessor's tensor cores in a cycle, and bytes that the L2 cache gives.
RATE, L2_RATE = 2048.0, 4650.0


@dataclass(frozen=True)
class WgmmaTile:
    """An instance of the kernel's template, and how terms are shared.

    Attributes:
        pixels: of a tile; a warpgroup, or several, for each 64.
        filters: of a tile.
        groups_n: how many warpgroups share the filters.
        stages: slices in shared memory.
        blocks_per_sm: how many blocks' registers fit a multiprocessor.
        parts: blocks that share the terms of a tile.
        cached: pixels come by way of the L1 cache, which has them for the next taps.
        blocks: as of `MmaTile`.
    """

    pixels: int
    filters: int
    groups_n: int
    stages: int
    blocks_per_sm: int
    parts: int = 1
    cached: bool = False
    blocks: int = 0

    @property
    def file(self) -> str:
        """The kernel's."""
        return STREAM_K_FILE if self.blocks else "convolution_wgmma.cu"

    @property
    def threads(self) -> int:
        """The size of a block."""
        return 128 * (self.pixels // GROUP_PIXELS) * self.groups_n

    @property
    def shared_bytes(self) -> int:
        """A block's dynamic shared memory, of what `MmaTile` says, in whole eights of rows."""
        staged = self.stages * ROW_BYTES * (self.pixels + self.filters)
        return -(-(staged + 8 * self.pixels + 4 * self.filters + 4) // 1024) * 1024

    def depth(self, precision: Precision) -> int:
        """Return how many terms a slice has."""
        return ROW_BYTES // np.dtype(precision.dtype).itemsize

    def instance(self, precision: Precision, output: NDArray[np.generic], activation: str) -> str:
        """Return the kernel's name for an output and an activation; there are only halves."""
        assert precision.chunk == 8
        stored = "half" if output.dtype == np.float16 else "float"
        numbers = self.pixels, self.filters, self.groups_n, self.stages, self.blocks_per_sm
        rest = *map(str, numbers), "true" if self.cached else "false"
        arguments = stored, f"ACTIVATION_{activation.upper()}", *rest
        kernel = "wgmma_stream_k" if self.blocks else "convolution_wgmma"
        return f"{kernel}<{', '.join(arguments)}>"

    def tiles(self, product: Product) -> int:
        """Return how many tiles cover the result."""
        return -(-product.pixels // self.pixels) * -(-product.filters // self.filters)


#: The instances.
WGMMA_INSTANCES = (
    WgmmaTile(128, 256, 1, 4, 1),
    WgmmaTile(128, 128, 2, 6, 1),
    WgmmaTile(128, 128, 1, 3, 2),
    WgmmaTile(128, 64, 1, 4, 2),
    WgmmaTile(64, 128, 2, 6, 1),
    WgmmaTile(64, 128, 2, 4, 2),
    WgmmaTile(64, 64, 1, 6, 2),
    WgmmaTile(64, 64, 1, 4, 3),
    WgmmaTile(128, 32, 1, 5, 2),
    WgmmaTile(64, 32, 1, 6, 3),
)
#: Those that stream-K is tried with.
STREAM_K_WGMMA_INSTANCES = (WGMMA_INSTANCES[2], WGMMA_INSTANCES[5], WGMMA_INSTANCES[7])


def wgmma_cycles(
    product: Product, tile: WgmmaTile, multiprocessors: int = MULTIPROCESSORS
) -> float:
    """Return about how many cycles a convolution takes, as `mma_cycles` does.

    A warpgroup reads its pixels and its filters. Blocks take slices no quicker than the L2 cache
    gives them to all, some of the pixels but for the L1 cache, nor than one comes from there, about
    1,900 cycles, with those that are under way beside it. The constants are fitted to 1,200
    measurements on an H200; the tile that this prefers is 2 % slower than the quickest of those
    tried, on average.
    """
    load = load_of(product, tile, DEPTH, multiprocessors)
    resident = min(load.blocks, tile.blocks_per_sm)
    blocks = tile.blocks or tile.tiles(product) * tile.parts
    multiplied = tile.pixels * tile.filters * DEPTH / RATE
    read = tile.groups_n * tile.pixels + tile.pixels // GROUP_PIXELS * tile.filters
    moved = (read + tile.pixels + tile.filters) * ROW_BYTES / SHARED_RATE
    rows = tile.pixels * (0.6 if tile.cached else 1.0) + tile.filters
    slice_cycles = max(
        resident * max(1.62 * multiplied, 1.55 * moved),
        blocks / load.rounds * rows * ROW_BYTES / L2_RATE,
        1880.0 / (tile.stages - 2),
    )
    cycles = load.rounds * (3530.0 * load.fillings + load.slices * slice_cycles)
    if load.parts > 1:
        cycles += 2130.0 + 0.12 * load.parts * tile.pixels * tile.filters
    return cycles
