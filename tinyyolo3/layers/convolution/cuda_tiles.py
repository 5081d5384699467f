"""The tiles that ``kernels/gemm_tile.cuh`` cuts a product of matrices into, and what they cost.

A convolution is a product of matrices of (pixels × terms) and (terms × filters). A block sums one
tile of its result, `parts` blocks share the terms of one tile where there are too few tiles for
the GPU's multiprocessors.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

#: Multiprocessors that are reckoned with where the target does not say: those of an H100 or H200.
MULTIPROCESSORS = 132
#: The most tiles among which terms are split: the length of the workspace's counters.
SPLIT_TILES = 1024
#: The numbers of parts that the terms may be cut into.
PARTS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24)
#: Slices of each part at the least: the pipeline has to fill before it can run.
LEAST_SLICES = 4


@dataclass(frozen=True)
class Product:
    """The matrix product of a convolution.

    Attributes:
        pixels: output pixels of all images, the rows.
        filters: the columns.
        terms: of each sum: size² · channels.
    """

    pixels: int
    filters: int
    terms: int


@dataclass(frozen=True)
class Tile:
    """An instance of the kernel's template, and how terms are shared.

    Attributes:
        pixels: of a tile.
        filters: of a tile.
        depth: terms of a slice, copied at a time.
        thread_pixels: rows of a thread's sums.
        thread_filters: columns of them.
        stages: slices in shared memory.
        blocks_per_sm: how many blocks' registers fit a multiprocessor.
        parts: blocks that share the terms of a tile.
    """

    pixels: int
    filters: int
    depth: int
    thread_pixels: int
    thread_filters: int
    stages: int
    blocks_per_sm: int
    parts: int = 1

    @property
    def threads(self) -> int:
        """The size of a block."""
        return self.pixels * self.filters // (self.thread_pixels * self.thread_filters)

    @property
    def shared_bytes(self) -> int:
        """A block's dynamic shared memory: the stages, and a counter with its alignment."""
        return 4 * self.stages * self.depth * (self.pixels + self.filters) + 16

    def instance(self, vector: int = 4) -> str:
        """Return the kernel's name, copying `vector` channels at a time: 4, or 1 for `ODD`."""
        numbers = (self.pixels, self.filters, self.depth, self.thread_pixels, self.thread_filters)
        rest = (self.stages, vector, self.blocks_per_sm)
        return f"convolution_blocked<{', '.join(map(str, (*numbers, *rest)))}>"

    def tiles(self, product: Product) -> int:
        """Return how many tiles cover the result."""
        return self.tiles_of(product.pixels, product.filters)

    def tiles_of(self, rows: int, columns: int) -> int:
        """Return how many tiles cover a matrix."""
        return -(-rows // self.pixels) * -(-columns // self.filters)


#: The instances, each with the share of the multiply-adds' peak that it reaches with full warps:
#: of instructions in its loop, those that are multiply-adds.
INSTANCES = {
    Tile(128, 128, 16, 8, 8, 3, 2): 0.87,
    Tile(128, 128, 8, 8, 8, 4, 2): 0.84,
    Tile(64, 128, 16, 8, 8, 3, 4): 0.86,
    Tile(128, 64, 16, 8, 8, 3, 3): 0.86,
    Tile(32, 128, 16, 8, 8, 3, 7): 0.86,
    Tile(64, 64, 16, 8, 8, 3, 6): 0.86,
    Tile(64, 64, 16, 8, 4, 3, 5): 0.80,
    Tile(128, 32, 16, 8, 4, 3, 4): 0.80,
    Tile(64, 32, 16, 8, 4, 3, 10): 0.78,
    Tile(32, 64, 16, 4, 4, 3, 5): 0.70,
    Tile(128, 256, 16, 8, 16, 3, 1): 0.91,
    Tile(256, 128, 16, 16, 8, 3, 1): 0.91,
}

#: The one for maps whose channels cannot be copied four at a time: the first layer's three.
ODD = Tile(128, 32, 16, 8, 4, 3, 4)


def candidates(product: Product, multiprocessors: int = MULTIPROCESSORS) -> Iterator[Tile]:
    """Yield every tile worth trying: each instance, and its terms in parts up to full occupancy."""
    for instance in INSTANCES:
        if instance.filters >= 2 * max(product.filters, 32):
            continue
        tiles = instance.tiles(product)
        yield instance
        if tiles > SPLIT_TILES:
            continue
        slices = -(-product.terms // instance.depth)
        # More blocks than are resident at a time would only add partial sums.
        most = min(-(-multiprocessors * instance.blocks_per_sm // tiles), slices // LEAST_SLICES)
        for parts in PARTS:
            if parts <= most:
                yield replace(instance, parts=parts)


def modelled_cycles(product: Product, tile: Tile, multiprocessors: int = MULTIPROCESSORS) -> float:
    """Return about how many cycles the blocked rung takes.

    With parts, partial sums are written to and read from the L2 cache at about 2 KiB a cycle, and
    come with another round of latency.
    """
    blocks = tile.tiles(product) * tile.parts
    slices = -(-product.terms // tile.depth)
    cycles = round_cycles(tile, blocks, -(-slices // tile.parts), multiprocessors)
    if tile.parts > 1:
        cycles += 1500.0 + 8.0 * blocks * tile.pixels * tile.filters / 2048
    return cycles


def round_cycles(tile: Tile, blocks: int, slices: int, multiprocessors: int) -> float:
    """Return about how many cycles `blocks` tiles of so many slices take.

    The busiest multiprocessor has ⌈blocks / multiprocessors⌉ of them. Its 128 multiply-adds a cycle
    are shared by those that are resident; below 12 warps it waits at times, with 4 half of it. To
    that come the filling of the pipeline and the storing of the tile, about 1 µs for each round of
    resident blocks.
    """
    load = -(-blocks // multiprocessors)
    resident = min(load, tile.blocks_per_sm)
    warps = resident * tile.threads // 32
    efficiency = INSTANCES[replace(tile, parts=1)] * min(1.0, 0.35 + 0.65 * warps / 12)
    cycles = load * tile.pixels * tile.filters * slices * tile.depth / 128 / efficiency
    return cycles + 2000.0 * -(-load // resident)


def workspace_floats(product: Product, tile: Tile) -> int:
    """Return how many numbers of workspace the blocked rung needs: counters and partial sums."""
    if tile.parts == 1:
        return 0
    return SPLIT_TILES + tile.tiles(product) * tile.parts * tile.pixels * tile.filters


@cache
def choose_tile(product: Product, multiprocessors: int = MULTIPROCESSORS) -> Tile:
    """Return the blocked rung's tile with the least modelled time; of equals the first."""
    return min(
        candidates(product, multiprocessors),
        key=lambda tile: modelled_cycles(product, tile, multiprocessors),
    )
