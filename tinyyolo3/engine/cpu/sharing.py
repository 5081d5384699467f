"""How a matrix product is cut into jobs, so that all workers are done at about the same time.

A product of ``pixels`` rows and some panels of filters is cut both ways: into chunks of pixels, and
its panels into groups. A small network has products of 20 µs; two halves that differ by an odd
panel or a few tiles leave one worker idle for a tenth of it. Which cut is best depends on how jobs
are handed out (`program.run_steps`: each worker takes its own share in order, then what others have
left), so that is played through here, for a few dozen cuts, when the network is planned.

The order of the jobs decides which worker meets what. *By chunk*, a worker takes all panels of its
pixels, which it has just computed itself. By panel, it reads only its own part of the weights:
right where these are what fills the cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heapreplace

from tinyyolo3.engine.cpu import packing
from tinyyolo3.engine.cpu.arithmetic import Arithmetic
from tinyyolo3.engine.cpu.microkernel import PANEL, ROWS, SHORT_ROWS

#: Inputs of a job's pixels are chosen to stay in this part of the second-level cache.
PIXEL_CACHE_BYTES = 384 << 10
#: Weights up to this size may be read once by every chunk of pixels.
SMALL_WEIGHTS = 600 << 10
#: Beginning a job takes about as long as half a vector of a tile,
START = 0.5
#: and rounding a tile's inputs to bfloat16, where each job does so, a fifth of one.
ROUNDING = 0.2
#: What part of its longest job a step may last longer, for an unforeseen delay of a worker.
DELAY = 0.05
#: So many jobs in all, or for each worker, are played through; with more, the workers end about
#: together however they are handed out.
MOST_PLAYED, MOST_PLAYED_EACH = 128, 8
#: About how many numbers of chunks are tried.
TRIED = 8


@dataclass(frozen=True)
class Cut:
    """A product's jobs.

    Attributes:
        chunk: pixels of a job (the last one's may be fewer).
        chunks: how many there are.
        panels_per_job: panels of a job (the last one's may be fewer).
        groups: how many groups of panels there are.
        by_chunk: whether jobs of one chunk come one after the other, or those of one group.
        tile_rows: pixels of a tile.
    """

    chunk: int
    chunks: int
    panels_per_job: int
    groups: int
    by_chunk: bool
    tile_rows: int = ROWS

    @property
    def jobs(self) -> int:
        """How many jobs there are."""
        return self.chunks * self.groups

    def costs(self, pixels: int, filters: int, rounds: bool) -> list[float]:
        """Return what the jobs take, in order, in vectors of tiles."""
        vectors, step = packing.blocks(filters), PANEL * self.panels_per_job
        widths = [min(step, vectors - first) for first in range(0, vectors, step)]
        sizes = [min(self.chunk, pixels - first) for first in range(0, pixels, self.chunk)]
        tiles = [-(-size // self.tile_rows) for size in sizes]
        extra = ROUNDING if rounds else 0.0
        if self.by_chunk:
            return [t * (w + extra) + START for t in tiles for w in widths]
        return [t * (w + extra) + START for w in widths for t in tiles]


def choose_tile_rows(pixels: int, filters: int, arithmetic: Arithmetic) -> int:
    """Return how many pixels a tile is to have, so that a product takes the least time.

    A map's last tile overlaps the one before it: 100 pixels are eight tiles of 13 or ten of 10. In
    a full panel multiplying takes the time, in a half one reading: each row, and the weights.
    """
    if arithmetic.fold is not None:
        return SHORT_ROWS
    full, half = divmod(packing.blocks(filters), PANEL)

    def time(rows: int) -> int:
        return -(-pixels // rows) * (2 * full * rows + half * (rows + 1))

    return min((ROWS, SHORT_ROWS), key=time)


@lru_cache(maxsize=1000)
def cut_product(
    pixels: int,
    pixel_bytes: int,
    filters: int,
    panel_bytes: int,
    workers: int,
    jobs: int,
    rounds: bool = False,
    tile_rows: int = ROWS,
) -> Cut:
    """Return the best cut of a product.

    Args:
        pixels: rows.
        pixel_bytes: of a pixel's inputs.
        filters: columns.
        panel_bytes: of a panel's weights.
        workers: how many share the jobs out.
        jobs: how many jobs there should be at least, where the product is large.
        rounds: whether each job rounds its pixels' inputs to bfloat16 first.
        tile_rows: pixels of a tile.
    """
    panels = packing.panels(filters)
    largest = max(4 * tile_rows, min(512, PIXEL_CACHE_BYTES // pixel_bytes))
    fewest = -(-pixels // largest)
    if panels * panel_bytes >= SMALL_WEIGHTS:
        return _cut(pixels, panels, fewest, panels_per_job(fewest, panels, jobs), False, tile_rows)
    most = fewest + jobs
    if pixels < 4 * tile_rows * jobs:
        most = max(fewest, min(most, pixels // (2 * tile_rows)))

    def cost(cut: Cut) -> tuple[float, int]:
        costs = cut.costs(pixels, filters, rounds)
        if workers == 1 or len(costs) <= max(MOST_PLAYED, MOST_PLAYED_EACH * workers):
            last = play_through(costs, workers)
        else:
            last = sum(costs) / workers + max(costs) / 2
        return last + DELAY * max(costs), cut.jobs

    return min(dict.fromkeys(_cuts(pixels, panels, fewest, most, tile_rows)), key=cost)


def _cuts(pixels: int, panels: int, fewest: int, most: int, tile_rows: int) -> Iterator[Cut]:
    shares = {-(-panels // n) for n in (1, 2, 3, 4, 6, 8, panels)}
    for chunks in range(fewest, most + 1, max(1, (most - fewest) // TRIED)):
        for share in sorted(shares):
            yield _cut(pixels, panels, chunks, share, True, tile_rows)


def _cut(pixels: int, panels: int, chunks: int, share: int, by_chunk: bool, tile_rows: int) -> Cut:
    """Return a cut with whole tiles in all chunks but the last."""
    chunk = -(-pixels // chunks)
    chunk = -(-chunk // tile_rows) * tile_rows if chunk > tile_rows else pixels
    return Cut(chunk, -(-pixels // chunk), share, -(-panels // share), by_chunk, tile_rows)


def panels_per_job(chunks: int, panels: int, jobs: int) -> int:
    """Return how many panels a job takes, so that there are enough jobs."""
    share = panels
    while chunks * -(-panels // share) < jobs and share > 1:
        share = -(-share // 2)
    return share


def play_through(costs: Sequence[float], workers: int) -> float:
    """Return when the last job is done, handed out as `program.run_steps` does."""
    jobs = len(costs)
    bounds = [share * jobs // workers for share in range(workers + 1)]
    following = bounds[:-1]
    free = [(0.0, worker) for worker in range(workers)]
    heapify(free)
    for _ in range(jobs):
        now, worker = free[0]
        share = worker
        while following[share] == bounds[share + 1]:
            share = (share + 1) % workers
        heapreplace(free, (now + costs[following[share]], worker))
        following[share] += 1
    return max(free)[0]
