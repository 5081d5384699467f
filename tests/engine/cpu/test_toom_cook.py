"""Winograd's matrices: they filter, and their bound on rounding errors holds."""

from fractions import Fraction

import numpy as np
import pytest

from tinyyolo3.engine.cpu.toom_cook import FILTERINGS, Filtering, toom_cook
from tinyyolo3.testing.tolerances import FILTERING_FLOAT64, summation

every_filtering = pytest.mark.parametrize("filtering", FILTERINGS.values(), ids=lambda f: f.name)


def slide(d: np.ndarray, g: np.ndarray, m: int, stride: int) -> np.ndarray:
    """Return m × m outputs of a 3 × 3 filter by the definition."""
    rows = range(m)
    return np.array(
        [
            [(d[i * stride : i * stride + 3, j * stride : j * stride + 3] * g).sum() for j in rows]
            for i in rows
        ]
    )


def winograd(f: Filtering, d: np.ndarray, g: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """Return the same by ``A ((G g Gᵀ) ⊙ (B d Bᵀ)) Aᵀ``, in a precision."""
    a, b = f.outputs.astype(dtype), f.inputs.astype(dtype)
    filtered = (f.weights @ g @ f.weights.T).astype(dtype)
    return a @ (filtered * (b @ d.astype(dtype) @ b.T)) @ a.T


@every_filtering
def test_sizes(filtering: Filtering) -> None:
    m, stride = filtering.m, filtering.stride
    assert filtering.extent == (m - 1) * stride + 3
    assert filtering.inputs.shape == (filtering.products, filtering.extent)
    assert filtering.weights.shape == (filtering.products, 3)
    assert filtering.name == f"F({m},3)" + ("/2" if stride == 2 else "")
    assert filtering.saving > 1


@every_filtering
def test_it_filters(filtering: Filtering) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        d = rng.standard_normal((filtering.extent,) * 2)
        g = rng.standard_normal((3, 3))
        exact = slide(d, g, filtering.m, filtering.stride)
        error = np.abs(winograd(filtering, d, g) - exact).max()
        assert error < FILTERING_FLOAT64 * np.abs(d).max() * np.abs(g).sum()


@pytest.mark.parametrize(("m", "taps"), [(1, 3), (2, 2), (2, 3), (3, 2), (4, 3)])
def test_toom_cook_is_exact_in_fractions(m: int, taps: int) -> None:
    points = [0, 1, -1, 2, -2][: m + taps - 2]
    matrices = toom_cook(m, taps, points)
    b, g, a = (
        [[Fraction(float(x)).limit_denominator(1000) for x in row] for row in matrix]
        for matrix in matrices
    )
    size = m + taps - 1
    for tap in range(taps):
        for position in range(size):
            for i in range(m):
                found = sum(a[i][p] * g[p][tap] * b[p][position] for p in range(size))
                assert found == (1 if position == i + tap else 0)


@every_filtering
def test_distinct_weights_are_each_products(filtering: Filtering) -> None:
    kept = sorted(set(filtering.weight_of))
    for product, own in enumerate(filtering.weight_of):
        row = filtering.distinct_weights[kept.index(own)]
        np.testing.assert_array_equal(row, filtering.weights[product])
    rows = {tuple(row) for row in filtering.distinct_weights}
    assert len(rows) == len(filtering.distinct_weights)


@every_filtering
def test_the_amplification_bounds_every_intermediate_number(filtering: Filtering) -> None:
    """For inputs and weights of ±1: the worst signs reach the bound, and none exceed it."""
    f, worst = filtering, 0.0
    for i in range(f.m):
        # The signs that make output i's terms add up rather than cancel.
        one = np.abs(f.outputs[i]) @ (np.abs(f.weights).sum(1) * np.abs(f.inputs).sum(1))
        worst = max(worst, (one / 3) ** 2)
    assert f.amplification == pytest.approx(worst)
    assert 1 <= f.amplification < 100


@every_filtering
def test_float32_errors_stay_below_the_amplified_bound(filtering: Filtering) -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        d = rng.choice([-1.0, 1.0], (filtering.extent,) * 2)
        g = rng.choice([-1.0, 1.0], (3, 3))
        exact = slide(d, g, filtering.m, filtering.stride)
        error = np.abs(winograd(filtering, d, g, np.float32) - exact).max()
        assert error <= filtering.amplification * summation(np.float64(9.0), 9)
