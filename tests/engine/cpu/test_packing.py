"""Packed weights: every number where the kernels' order has it, zeros elsewhere."""

from itertools import pairwise

import numpy as np
import pytest

from tinyyolo3.engine.cpu import packing
from tinyyolo3.engine.cpu.arithmetic import FLOAT32_PAIRS
from tinyyolo3.engine.cpu.microkernel import PANEL
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS, Filtering
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.testing.tolerances import PACKED_WINOGRAD

#: Around one and two vectors and panels, for any number of lanes.
COUNTS = (1, LANES - 1, LANES, LANES + 1, 2 * LANES, 3 * LANES + 2)


def random_weights(filters: int, channels: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(filters * 1000 + channels)
    return rng.standard_normal((filters, channels, size, size)).astype(np.float32)


@pytest.mark.parametrize(("filters", "channels"), [*pairwise(COUNTS), *pairwise(COUNTS[::-1])])
@pytest.mark.parametrize(("size", "depth"), [(1, LANES), (3, LANES), (3, 1), (1, 4)])
def test_panels(filters: int, channels: int, size: int, depth: int) -> None:
    weights = random_weights(filters, channels, size)
    packed = iter(packing.pack_panels(weights, depth))
    wide = packing.WIDTH
    for panel in range(packing.panels(filters)):
        last = panel == packing.panels(filters) - 1
        width = LANES if last and packing.ends_in_half(filters) else wide
        for run in range(-(-channels // depth)):
            for tap in range(size * size):
                for k in range(depth):
                    for n in range(width):
                        c, f = run * depth + k, panel * wide + n
                        inside = c < channels and f < filters
                        expected = weights[f, c].reshape(-1)[tap] if inside else 0
                        assert next(packed) == expected
    assert not any(packed)


@pytest.mark.parametrize("filters", {1, max(1, LANES // 2 - 1), LANES // 2})
@pytest.mark.parametrize(("channels", "depth"), [(LANES + 1, LANES), (3, 8), (2 * LANES, LANES)])
@pytest.mark.parametrize("size", [1, 3])
def test_pairs_of_channels(filters: int, channels: int, depth: int, size: int) -> None:
    weights = random_weights(filters, channels, size)
    packed = packing.pair_channels(packing.pack_panels(weights, depth))
    assert packed.size == packing.panel_floats(channels, size * size, depth, FLOAT32_PAIRS)
    assert packed.ctypes.data % BLOCK == 0
    numbers = iter(packed)
    for run in range(-(-channels // depth)):
        for tap in range(size * size):
            for k in range(0, depth, 2):
                for f in range(LANES // 2):
                    for c in (run * depth + k, run * depth + k + 1):
                        inside = c < channels and f < filters
                        expected = weights[f, c].reshape(-1)[tap] if inside else 0
                        assert next(numbers) == expected


@pytest.mark.parametrize("filtering", FILTERINGS.values(), ids=lambda f: f.name)
@pytest.mark.parametrize(("filters", "channels"), [(1, 1), (LANES + 3, LANES - 1), (5, 33)])
def test_winograd(filtering: Filtering, filters: int, channels: int) -> None:
    weights = random_weights(filters, channels, 3)
    matrix = filtering.distinct_weights
    size = len(matrix)
    shape = (packing.panels(filters), size, size, packing.blocks(channels) * LANES, packing.WIDTH)
    packed = packing.pack_winograd(weights, filtering).reshape(shape)
    expected = np.zeros(shape)
    for f in range(filters):
        for c in range(channels):
            own = matrix @ weights[f, c].astype(np.float64) @ matrix.T
            expected[f // packing.WIDTH, :, :, c, f % packing.WIDTH] = own
    scale = np.abs(expected).max()
    assert np.abs(packed - expected).max() <= PACKED_WINOGRAD * scale
    assert not packed[expected == 0].any()


@pytest.mark.parametrize("channels", COUNTS)
def test_depthwise(channels: int) -> None:
    weights = random_weights(channels, 1, 3)
    packed = packing.pack_depthwise(weights).reshape(-1, 9, LANES)
    assert len(packed) == packing.blocks(channels)
    for block, tap, lane in np.ndindex(*packed.shape):
        channel = block * LANES + lane
        expected = weights[channel].reshape(9)[tap] if channel < channels else 0
        assert packed[block, tap, lane] == expected


@pytest.mark.parametrize("filters", COUNTS)
def test_biases_fill_whole_panels(filters: int) -> None:
    biases = np.arange(1, filters + 1, dtype=np.float32)
    packed = packing.pack_biases(biases)
    assert len(packed) % (PANEL * LANES) == 0
    np.testing.assert_array_equal(packed[:filters], biases)
    assert not packed[filters:].any()


def test_merged_groups_have_zeros_between_them() -> None:
    weights = random_weights(6, 2, 3)
    merged = packing.merge_groups(weights, 3)
    assert merged.shape == (6, 6, 3, 3)
    for f, c in np.ndindex(6, 6):
        inside = f // 2 == c // 2
        expected = weights[f, c % 2] if inside else np.zeros((3, 3))
        np.testing.assert_array_equal(merged[f, c], expected)


@pytest.mark.parametrize("filtering", FILTERINGS.values(), ids=lambda f: f.name)
def test_products_come_in_the_order_of_their_weights(filtering: Filtering) -> None:
    table = packing.product_order(filtering)
    kept = sorted(set(filtering.weight_of))
    size, products = len(kept), filtering.products
    assert sorted(table[:-1, 0]) == list(range(products**2))
    assert (np.diff(table[:, 1]) >= 0).all()
    assert tuple(table[-1]) == (0, size * size)
    for position, weight in table[:-1]:
        i, j = divmod(int(position), products)
        row, column = (kept.index(filtering.weight_of[p]) for p in (i, j))
        assert weight == row * size + column
