"""The tiles that ``kernels/gemm_tile.cuh`` cuts a product of matrices into, and what they cost.

A convolution is a product of matrices of (pixels × terms) and (terms × filters). A block sums one
tile of its result, `parts` blocks share the terms of one tile where there are too few tiles for
the GPU's multiprocessors.

The model of the time counts cycles, of any GPU with 128 multiply-adds a cycle; with 64, as on an
A100 or a T4, everything but the latencies takes twice as long. Its constants are rounded from a fit
to the blocked rung's times on an H200 (2026-11-20, 55 shapes at batch 1 and 35 at batch 8). With
`INSTANCES` as they were then, its choices for all these together took 1.0 and 1.9 % longer than the
quickest tiles. What has changed since is only counted, not measured: the order of multiply-adds
(``kernels/gemm_tile.cuh``) and with it the numbers of `INSTANCES`.
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
#: Cycles of a round of blocks beside the multiply-adds: the pipeline's filling and the storing.
ROUND_CYCLES = 1000.0
#: Cycles for a tile's last block to know that it is the last, and to add the sums of each part.
SPLIT_CYCLES, PART_CYCLES = 500.0, 400.0
#: Bytes that pass between the L2 cache and each multiprocessor in a cycle.
L2_BYTES = 32
#: Warps of a multiprocessor that hide each other's waiting.
FULL_WARPS = 12


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


#: The instances, each with the multiply-adds that a scheduler issues in a cycle of its loop, if a
#: warp is always ready: counted in the code compiled for sm_90, conflicts of register banks with it
#: (``kernels/gemm_tile.cuh``). Of 9 tiles that were measured on an H200, on 2026-11-20 on the
#: convolutions of three networks, these are the ones that were quickest or nearly so for more than
#: a few; without the others, batches of 8 take 1 % longer.
INSTANCES = {
    Tile(128, 64, 16, 8, 8, 3, 3): 0.75,
    Tile(64, 64, 16, 8, 4, 3, 5): 0.74,
    Tile(128, 32, 16, 8, 4, 3, 4): 0.74,
    Tile(32, 64, 16, 4, 4, 3, 5): 0.64,
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
    """Return about how many cycles the blocked rung takes, without the launch.

    With parts, partial sums are written to the L2 cache, and one block reads them part by part.
    """
    blocks = tile.tiles(product) * tile.parts
    slices = -(-product.terms // tile.depth)
    cycles = round_cycles(tile, blocks, -(-slices // tile.parts), multiprocessors)
    if tile.parts > 1:
        floats = 2 * blocks * tile.pixels * tile.filters
        cycles += SPLIT_CYCLES + PART_CYCLES * tile.parts
        cycles += 4 * floats / (L2_BYTES * multiprocessors)
    return cycles


def round_cycles(tile: Tile, blocks: int, slices: int, multiprocessors: int) -> float:
    """Return about how many cycles `blocks` tiles of so many slices take.

    The busiest multiprocessor has ⌈blocks / multiprocessors⌉ of them, and takes as many at a time
    as are resident; the last round may have fewer. In a round, these share its 128 multiply-adds a
    cycle: with 12 warps or more one is always ready, with one alone half of the time.
    """
    load = -(-blocks // multiprocessors)
    full, rest = divmod(load, tile.blocks_per_sm)
    work = tile.pixels * tile.filters * slices * tile.depth / 128

    def round_of(resident: int) -> float:
        ready = min(1.0, 0.5 + 0.5 * resident * tile.threads / 32 / FULL_WARPS)
        return resident * work / (INSTANCES[replace(tile, parts=1)] * ready) + ROUND_CYCLES

    return full * round_of(tile.blocks_per_sm) + (round_of(rest) if rest else 0.0)


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
