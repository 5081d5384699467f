"""The matrix kernels against NumPy's products in float64."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.arithmetic import FLOAT32, FLOAT32_PAIRS
from tinyyolo3.engine.cpu.microkernel import PANEL, ROWS, SHORT_ROWS, UNROLL, multiply_raw
from tinyyolo3.engine.cpu.packing import aligned_floats
from tinyyolo3.engine.cpu.panels import PANEL_KERNELS
from tinyyolo3.engine.cpu.program import CodePointer, call_panel
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.parallel import compiled
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation


@compiled
def raw(n: Any) -> None:
    multiply_raw(n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9])


@compiled
def run_panel(kernel: int, n: Any, slope: Any) -> None:
    call_panel(
        kernel, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12],
        n[13], slope,
    )  # fmt: skip


class Product:
    """Operands of some rows: A's runs lie in any order in memory, B is packed, C and R are blocked.

    C's memory holds NaN, so that a number written elsewhere than into these rows is found.
    """

    def __init__(
        self,
        vectors: int,
        outer: int,
        inner: int,
        steps: int,
        seed: int,
        rows: int = ROWS,
        paired: bool = False,
    ) -> None:
        self.rows = rows
        rng = np.random.default_rng(seed)
        run, width = steps * UNROLL * (2 if paired else 1), vectors * LANES
        self.terms = outer * inner * run
        distance = BLOCK * (rows + 1) + 4 * run  # of runs, in bytes
        self.memory = aligned_floats(outer * inner * distance // 4 + 64)
        self.memory[:] = rng.standard_normal(self.memory.size)
        self.b = aligned_floats(self.terms * width).reshape(self.terms, width)
        self.b[:] = rng.standard_normal(self.b.shape)
        self.packed = self.b
        if paired:  # each filter's weights for two numbers of the sum, side by side
            self.b[:, LANES // 2 :] = 0
            self.packed = aligned_floats(self.terms * width // 2)
            for k, f in np.ndindex(self.terms, LANES // 2):
                self.packed[k // 2 * LANES + 2 * f + k % 2] = self.b[k, f]
        # Inner runs lie further apart than outer ones.
        outer_stride, inner_stride = distance // 4 * 4, outer * distance // 4 * 4
        self.a = np.empty((rows, self.terms))
        for i in range(rows):
            for k in range(self.terms):
                block, j = divmod(k, run)
                o, q = divmod(block, inner)
                at = o * outer_stride + q * inner_stride + i * BLOCK + 4 * j
                self.a[i, k] = self.memory[at // 4]
        self.stride = BLOCK * (rows + 2)
        self.c = aligned_floats(vectors * self.stride // 4 + 64)
        self.c[:] = np.nan
        self.residual = aligned_floats(self.c.size)
        self.residual[:] = rng.standard_normal(self.c.size)
        self.bias = aligned_floats(width)
        self.bias[:] = rng.standard_normal(width)
        self.numbers = np.array(
            [
                *(self.memory.ctypes.data, outer, outer_stride, inner, inner_stride, steps),
                *(self.packed.ctypes.data, self.c.ctypes.data, self.stride),
            ],
            np.int64,
        )

    def blocked(self, memory: np.ndarray) -> np.ndarray:
        """Return the rows of a blocked map as (rows, vectors * lanes)."""
        vectors = self.b.shape[1] // LANES
        own = memory[: vectors * self.stride // 4].reshape(vectors, -1)
        tile = own[:, : self.rows * LANES].reshape(vectors, self.rows, LANES)
        return tile.transpose(1, 0, 2).reshape(self.rows, -1)

    def check(self, expected: np.ndarray, extra: np.ndarray | float = 0.0) -> None:
        magnitude = np.abs(self.a) @ np.abs(self.b.astype(np.float64)) + np.abs(extra)
        error = np.abs(self.blocked(self.c) - expected)
        assert (error <= summation(magnitude, self.terms + 2)).all(), error.max()
        vectors = self.b.shape[1] // LANES
        assert np.count_nonzero(~np.isnan(self.c)) == self.rows * vectors * LANES


#: Kernels, the vectors of their panels, the rows of their tiles, and whether they multiply pairs.
KERNELS = [
    *((PANEL_KERNELS[FLOAT32.name, ROWS][half], PANEL - half, ROWS, False) for half in (0, 1)),
    *((PANEL_KERNELS[FLOAT32.name, SHORT_ROWS][h], PANEL - h, SHORT_ROWS, False) for h in (0, 1)),
    (PANEL_KERNELS[FLOAT32_PAIRS.name, SHORT_ROWS][0], 1, SHORT_ROWS, True),
]
SHAPES = {
    "outer": st.integers(1, 3),
    "inner": st.integers(1, 3),
    "steps": st.integers(1, 5),
    "seed": seeds(),
}


@settings(max_examples=40, deadline=None)
@given(**SHAPES)
def test_raw_is_the_product(outer: int, inner: int, steps: int, seed: int) -> None:
    product = Product(PANEL, outer, inner, steps, seed)
    raw(np.append(product.numbers, product.b.ctypes.data))
    product.check(product.a @ product.b)


@pytest.mark.parametrize(("kernel", "vectors", "least", "paired"), KERNELS)
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("slope", [1.0, 0.1, 0.0])
def test_the_epilogue_adds_bias_bends_and_then_adds_the_residual(
    kernel: CodePointer,
    vectors: int,
    least: int,
    paired: bool,
    with_residual: bool,
    slope: float,
) -> None:
    @settings(max_examples=12, deadline=None)
    @given(rows=st.integers(least, 3 * ROWS + 1), **SHAPES)
    def check(rows: int, outer: int, inner: int, steps: int, seed: int) -> None:
        product = Product(vectors, outer, inner, steps, seed, rows, paired)
        address = product.residual.ctypes.data if with_residual else 0
        own = [product.bias.ctypes.data, address, product.stride, rows, 0]
        run_panel(kernel.address, np.append(product.numbers, own), np.float32(slope))
        total = product.a @ product.b + product.bias
        other = product.blocked(product.residual) if with_residual else 0.0
        expected = np.maximum(total, np.float32(slope) * total) + other
        product.check(expected, np.abs(product.bias) + np.abs(other))

    check()


@pytest.mark.parametrize(("kernel", "vectors", "least", "paired"), KERNELS)
@settings(max_examples=12, deadline=None)
@given(extra=st.integers(0, 2 * ROWS + 1), **SHAPES)
def test_prefetching_from_far_changes_no_bit(
    kernel: CodePointer,
    vectors: int,
    least: int,
    paired: bool,
    extra: int,
    outer: int,
    inner: int,
    steps: int,
    seed: int,
) -> None:
    rows = least + extra
    product = Product(vectors, outer, inner, steps, seed, rows, paired)
    found = []
    for far in (0, 1):
        product.c[:] = np.nan
        own = [product.bias.ctypes.data, 0, product.stride, rows, far]
        run_panel(kernel.address, np.append(product.numbers, own), np.float32(0.1))
        found.append(product.blocked(product.c).copy())
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(*found)
