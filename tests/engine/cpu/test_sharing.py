"""How products are cut: all of it once, even shares, and jobs handed out as the program does."""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu import packing, sharing
from tinyyolo3.engine.cpu.arithmetic import BFLOAT16, FLOAT32, FLOAT32_PAIRS
from tinyyolo3.engine.cpu.convolution import multiply_job
from tinyyolo3.engine.cpu.microkernel import PANEL, ROWS, SHORT_ROWS, TILE_BYTES
from tinyyolo3.engine.cpu.program import (
    LINE,
    code_pointer,
    fetch_add,
    load_acquire,
    operation,
    run_steps,
    yield_core,
)
from tinyyolo3.engine.cpu.sharing import Cut, choose_tile_rows, cut_product, play_through
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES, carray, read_int
from tinyyolo3.testing.tolerances import summation

#: Lanes and rows of a tile on each kind of processor: see `target.describe_target`.
TARGETS = [(16, 13), (16, 10), (8, 6), (4, 12), (4, 10), (4, 6)]


def cut(
    pixels: int, channels: int, filters: int, workers: int, rounds: bool, tile_rows: int
) -> Cut:
    """Return the cut of a 1 × 1 convolution, asked for as lowering does, but found anew."""
    panel_bytes = 4 * packing.panel_floats(channels, 1, packing.LANES)
    pixel_bytes = packing.blocks(channels) * 4 * packing.LANES
    find = cut_product.__wrapped__
    return find(pixels, pixel_bytes, filters, panel_bytes, workers, 4 * workers, rounds, tile_rows)


#: Products of small and of large weights, for one to five workers.
PRODUCTS = st.tuples(
    st.one_of(st.integers(1, 5 * ROWS), st.integers(1, 1500)),
    st.sampled_from([1, LANES, 100, 700, 2000]),
    st.one_of(st.integers(1, 5 * LANES), st.integers(1, 600)),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([ROWS, SHORT_ROWS]),
)
#: Chunks of few tiles: rounded up to whole ones, five fewer hold all pixels (with 13 rows).
ROUNDED_UP = (1480, 1800, 600, 2, False, ROWS)


@code_pointer(14, 1)
def mark_pixels(  # a matrix kernel's arguments
    a: int, _0: int, _1: int, _2: int, _3: int, _4: int, b: int, _5: int, _6: int, _7: int,
    _8: int, _9: int, rows: int, _10: int, _slope: float,
) -> None:  # fmt: skip
    """Instead of multiplying, count which pixels come together with which panel."""
    for i in range(rows):
        fetch_add(a + b + 8 * i, 1)


def run_jobs(cut: Cut, pixels: int, filters: int) -> list[np.ndarray]:
    """Run `multiply_job` for each job; return how often it took each pixel (P, N) with each panel.

    A pixel's address and a panel's together are that of their counter.
    """
    panels = packing.panels(filters)
    counts = np.zeros((panels, pixels + ROWS), np.int64)  # a small map's tile goes beyond it
    target = packing.aligned_floats(panels * PANEL * pixels * LANES)
    scratch = packing.aligned_floats(TILE_BYTES // 4)
    fields: dict[str, int] = {
        "source": counts.ctypes.data, "pixel_bytes": 8, "panel_bytes": counts.strides[0],
        "rounded": 1, "pixels": pixels, "chunk": cut.chunk, "panels_per_job": cut.panels_per_job,
        "by_chunk": cut.by_chunk, "kernel": mark_pixels.address,
        "half_kernel": mark_pixels.address, "panels": panels,
        "half": packing.ends_in_half(filters), "target": target.ctypes.data,
        "target_stride": pixels * BLOCK, "tile_rows": cut.tile_rows,
    }  # fmt: skip
    record = np.zeros(1, multiply_job.dtype)
    for name, value in fields.items():
        record[name] = value
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    job, found = kind(multiply_job.address), []
    for index in range(cut.jobs):
        counts[:] = 0
        job(record.ctypes.data, index, scratch.ctypes.data)
        found.append(counts[:, :pixels].copy())
    return found


@settings(max_examples=60, deadline=None)
@given(product=PRODUCTS, by_chunk=st.booleans())
@example(product=ROUNDED_UP, by_chunk=False)
def test_jobs_take_every_pixel_with_every_panel_once(
    product: tuple[int, int, int, int, bool, int], by_chunk: bool
) -> None:
    pixels, _, filters, _, rounds, tile_rows = product
    found = cut(*product)
    found = Cut(found.chunk, found.chunks, found.panels_per_job, found.groups, by_chunk, tile_rows)
    taken = run_jobs(found, pixels, filters)
    np.testing.assert_array_equal(sum(taken), 1)
    costs = found.costs(pixels, filters, rounds)
    assert len(costs) == found.jobs
    for own, cost in zip(taken, costs, strict=True):
        panels = own.any(1).nonzero()[0]
        vectors = len(panels) * PANEL
        if packing.ends_in_half(filters) and panels[-1] == len(own) - 1:
            vectors -= 1
        tiles = -(-int(own.any(0).sum()) // tile_rows)
        extra = sharing.ROUNDING if rounds else 0
        assert cost == tiles * (vectors + extra) + sharing.START


@settings(max_examples=100, deadline=None)
@given(product=PRODUCTS)
@example(product=ROUNDED_UP)
@example(product=(1100, 190, 900, 1, False, ROWS))
def test_chunks_are_whole_tiles_that_stay_in_the_cache(
    product: tuple[int, int, int, int, bool, int],
) -> None:
    pixels, channels, filters, _, _, tile_rows = product
    found = cut(*product)
    assert found == cut(*product)
    assert found.chunk % tile_rows == 0 or (found.chunk == pixels < tile_rows)
    assert (found.chunks - 1) * found.chunk < pixels <= found.chunks * found.chunk
    largest = max(4 * tile_rows, min(512, sharing.PIXEL_CACHE_BYTES // _pixel_bytes(channels)))
    assert found.chunk < largest + tile_rows
    panels = packing.panels(filters)
    assert (found.groups - 1) * found.panels_per_job < panels
    assert found.groups * found.panels_per_job >= panels
    large = 4 * packing.panel_floats(channels, 1, LANES) * panels >= sharing.SMALL_WEIGHTS
    assert found.by_chunk != large


def _pixel_bytes(channels: int) -> int:
    return packing.blocks(channels) * BLOCK


@settings(max_examples=100, deadline=None)
@given(product=PRODUCTS)
def test_costs_are_all_tiles_and_what_jobs_add(
    product: tuple[int, int, int, int, bool, int],
) -> None:
    pixels, _, filters, _, rounds, tile_rows = product
    found = cut(*product)
    tiles = -(-pixels // tile_rows)
    extra = sharing.ROUNDING * found.groups if rounds else 0
    expected = tiles * (packing.blocks(filters) + extra) + sharing.START * found.jobs
    total = sum(found.costs(pixels, filters, rounds))
    assert abs(total - expected) <= summation(np.float64(expected), found.jobs, np.float64)


@settings(max_examples=100, deadline=None)
@given(costs=st.lists(st.integers(1, 100), min_size=1, max_size=40), workers=st.integers(1, 9))
def test_nobody_idles_before_the_last_job_is_taken(costs: list[int], workers: int) -> None:
    found = play_through([float(cost) for cost in costs], workers)
    total = sum(costs)
    assert max(total / workers, max(costs)) <= found <= total
    # The last one's job began before any other worker was free for good.
    assert found <= (total - max(costs)) / workers + max(costs)
    assert play_through([float(cost) for cost in costs], 1) == total


@settings(max_examples=100, deadline=None)
@given(pixels=st.integers(1, 2000), filters=st.integers(1, 200))
def test_tiles_are_chosen_to_compute_the_fewest_pixels_twice(pixels: int, filters: int) -> None:
    heights = (ROWS, SHORT_ROWS)
    padded = [-(-pixels // rows) * rows for rows in heights]
    half = packing.blocks(filters) % PANEL
    for arithmetic in (FLOAT32, BFLOAT16):
        chosen = heights.index(choose_tile_rows(pixels, filters, arithmetic))
        if half == 0:
            assert padded[chosen] == min(padded)
        if padded[0] <= padded[1]:
            assert chosen == 0
    assert choose_tile_rows(pixels, filters, FLOAT32_PAIRS) == SHORT_ROWS


@pytest.mark.skipif((ROWS, SHORT_ROWS) != (13, 10), reason="needs AVX-512's tiles")
@pytest.mark.parametrize(
    ("pixels", "filters", "rows"),
    [(100, 448, 10), (100, 16, 10), (169, 448, 13), (400, 272, 10), (6400, 64, 10), (6400, 16, 13)],
)
def test_usual_maps_get_tiles_that_divide_them(pixels: int, filters: int, rows: int) -> None:
    assert choose_tile_rows(pixels, filters, FLOAT32) == rows


@operation("costs", "clocks", "workers", "started", "jobs")
def take_time(steps: Any, index: int, scratch: int) -> None:
    """Take a job's time on its worker's clock, and wait until no other worker's clock is behind.

    The worker's number is what is at `scratch`. When all jobs have begun there is nothing to wait
    for.
    """
    step = carray(steps, 1)[0]
    worker = read_int(scratch)
    own = step.clocks + 8 * worker
    now = fetch_add(own, read_int(step.costs + 8 * index)) + read_int(step.costs + 8 * index)
    fetch_add(step.started, 1)
    behind = True
    while behind and load_acquire(step.started) < step.jobs:
        behind = False
        for other in range(step.workers):
            time = load_acquire(step.clocks + 8 * other)
            if time < now or (time == now and other < worker):
                behind = True
        yield_core()


def run_on_clocks(costs: np.ndarray, workers: int) -> int:
    """Return when the last job is done if `program.run_steps` hands jobs of these costs out."""
    clocks, started = np.zeros(workers, np.int64), np.zeros(1, np.int64)
    numbers = np.arange(workers)
    record = np.zeros(1, take_time.dtype)
    for name, value in {
        "costs": costs.ctypes.data, "clocks": clocks.ctypes.data, "workers": workers,
        "started": started.ctypes.data, "jobs": len(costs),
    }.items():  # fmt: skip
        record[name] = value
    table = np.array([[take_time.address, record.ctypes.data, len(costs)]], np.int64)
    counters = np.zeros((workers + 1) * LINE, np.int64)

    def work(worker: int) -> None:
        scratches = numbers.ctypes.data + 8 * numbers
        run_steps(worker, workers, table.ctypes.data, 1, counters.ctypes.data, scratches)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    assert clocks.sum() == costs.sum()
    return int(clocks.max())


@settings(max_examples=60, deadline=None)
@given(jobs=st.integers(1, 30), workers=st.integers(1, 5), seed=st.integers(0, 1000))
def test_playing_through_is_what_the_program_does(jobs: int, workers: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.integers(1, 2 ** rng.integers(1, 30), jobs)
    assert play_through(costs.astype(float).tolist(), workers) == run_on_clocks(costs, workers)


@pytest.mark.parametrize(("lanes", "rows"), TARGETS)
@pytest.mark.parametrize(
    ("pixels", "channels", "filters"),
    [(400, 288, 48), (100, 112, 448), (400, 48, 144), (1600, 144, 24), (1600, 96, 16)],
)
def test_two_workers_get_even_halves(
    pixels: int,
    channels: int,
    filters: int,
    lanes: int,
    rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packing, "LANES", lanes)
    costs = cut(pixels, channels, filters, 2, False, rows).costs(pixels, filters, False)
    assert play_through(costs, 2) <= 1.05 * sum(costs) / 2
    # Nor are halves even because there is much more to do.
    whole = -(-pixels // rows) * packing.blocks(filters)
    assert play_through(costs, 2) <= 1.06 * whole / 2
