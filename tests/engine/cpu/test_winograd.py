"""Winograd's convolution on inputs that are hard for it, within a bound that is derived."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.toom_cook import FILTERINGS, Filtering
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.engines import Case, allowing, layer_case, plan_case
from tinyyolo3.testing.strategies import seeds

Maps = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


def alternating(shape: tuple[int, ...], _rng: np.random.Generator) -> np.ndarray:
    return (-1.0) ** np.indices(shape).sum(0)


def constant(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.full(shape, rng.uniform(-1, 1))


def wide_range(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(shape) * 10.0 ** rng.integers(-8, 9, shape)


def one_huge_pixel(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    x = rng.standard_normal(shape)
    x[tuple(rng.integers(shape))] = 1e6
    return x


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(shape)


MAPS = (alternating, constant, wide_range, one_huge_pixel, normal)


def magnitudes(case: Case, filtering: Filtering, padding: int) -> np.ndarray:
    """Return each output's `tolerances.winograd` magnitude: the algorithm in absolute values."""
    f, weights = filtering, np.abs(case.parameters[0]["weights"].astype(np.float64))
    a, b, g = np.abs(f.outputs), np.abs(f.inputs), np.abs(f.weights)
    filtered = np.einsum("pi,fcij,qj->fcpq", g, weights, g)
    filters, height, width = case.graph.layers[0].output_shape
    rows, columns = -(-height // f.m), -(-width // f.m)
    reach = f.m * f.stride
    x = np.abs(case.x[0].astype(np.float64))
    bottom = max(0, rows * reach + f.extent - padding - x.shape[1])
    right = max(0, columns * reach + f.extent - padding - x.shape[2])
    x = np.pad(x, ((0, 0), (padding, bottom), (padding, right)))
    result = np.zeros((filters, rows * f.m, columns * f.m))
    for i, j in np.ndindex(rows, columns):
        tile = x[:, i * reach : i * reach + f.extent, j * reach : j * reach + f.extent]
        spread = np.einsum("py,cyx,qx->cpq", b, tile, b)
        sums = np.einsum("fcpq,cpq->fpq", filtered, spread)
        result[:, i * f.m : (i + 1) * f.m, j * f.m : (j + 1) * f.m] = a @ sums @ a.T
    return result[:, :height, :width]


@pytest.mark.parametrize("kind", ["fused", "shared"])
@pytest.mark.parametrize("filtering", FILTERINGS.values(), ids=lambda f: f.name)
def test_rounding_stays_within_the_derived_bound(filtering: Filtering, kind: str) -> None:
    wish = f"winograd {filtering.name} {kind}"

    @settings(max_examples=30, deadline=None)
    @given(
        channels=st.integers(1, 40),
        filters=st.integers(1, 40),
        side=st.tuples(st.integers(3, 19), st.integers(3, 19)),
        padding=st.integers(0, 2),
        maps=st.sampled_from(MAPS),
        seed=seeds(),
    )
    def check(
        channels: int, filters: int, side: tuple[int, int], padding: int, maps: Maps, seed: int
    ) -> None:
        section = f"[convolutional]\nfilters={filters}\nsize=3\npadding={padding}\n"
        section += f"stride={filtering.stride}\nactivation=linear\n"
        case = layer_case(section, (channels, *side), seed)
        case.x[0] = maps(case.x.shape[1:], np.random.default_rng(seed))
        with allowing(wish):
            planned = plan_case(case, wish=wish)
            assert [step.algorithm for step in planned.plan.steps] == ["pack", wish, "unpack"]
            found = planned.forward(case.x)[0][0]
        exact = case.exact()[0][0]
        size = magnitudes(case, filtering, padding)
        size += np.abs(case.parameters[0]["biases"])[:, None, None]
        bound = tolerances.winograd(size, channels, filtering.extent)
        excess = (np.abs(found - exact) / bound).max()
        assert excess <= 1, excess

    check()


@pytest.mark.parametrize("filtering", FILTERINGS.values(), ids=lambda f: f.name)
def test_every_remainder_of_the_map_by_the_tile(filtering: Filtering) -> None:
    wish = f"winograd {filtering.name} shared"
    section = f"[convolutional]\nfilters=5\nsize=3\nstride={filtering.stride}\npad=1\n"
    section += "activation=leaky\n"
    first = 2 * filtering.m * filtering.stride
    for height in range(first, first + filtering.m * filtering.stride + 1):
        for width in (height, first + 1, 1, 2):
            case = layer_case(section, (18, height, width), seed=height * 100 + width)
            with allowing(wish):
                found = plan_case(case, wish=wish).forward(case.x)[0][0]
            size = magnitudes(case, filtering, 1) + 1
            bound = tolerances.winograd(size, 18, filtering.extent)
            assert (np.abs(found - case.exact()[0][0]) <= bound).all(), (height, width)
