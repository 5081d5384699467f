"""kernels/maxpool.cu against the plain reference."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.maxpool import maxpool_forward_cuda, maxpool_forward_reference
from tinyyolo3.testing.kernels import (
    assert_stored,
    elements,
    kernel_map,
    kernel_maps,
    margins,
    run_on_maps,
)


@settings(max_examples=40, deadline=None)
@given(
    x=kernel_maps(),
    size=st.integers(1, 5),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 5),
    margin=margins,
    element=elements,
)
def test_the_kernel_pools_as_the_reference(
    target: Target,
    x: FloatArray,
    size: int,
    stride: tuple[int, int],
    padding: int,
    margin: int,
    element: type,
) -> None:
    x = x.astype(element)
    if min(x.shape[2:]) + padding < size:
        padding = size
    options = {"size": size, "stride": stride, "padding": padding}
    expected = maxpool_forward_reference(x.astype(np.float32), **options)
    launch = partial(maxpool_forward_cuda, target, **options)
    actual = run_on_maps(target, launch, [x], expected.shape, margin)
    assert_stored(actual, expected, 0)


def test_a_pyramid_pools_large_windows_on_a_small_map(target: Target) -> None:
    x = kernel_map((2, 8, 9, 7), seed=1)
    options = {"size": 13, "stride": (1, 1), "padding": 12}
    launch = partial(maxpool_forward_cuda, target, **options)
    expected = maxpool_forward_reference(x, **options)
    np.testing.assert_array_equal(run_on_maps(target, launch, [x], x.shape), expected)


@pytest.mark.parametrize("channels", [1, 4])
def test_nan_never_wins(target: Target, channels: int) -> None:
    x = np.full((1, channels, 2, 2), np.nan, np.float32)
    x[:, :, 0, 1] = 1.0
    options = {"size": 2, "stride": (2, 2), "padding": 0}
    launch = partial(maxpool_forward_cuda, target, **options)
    actual = run_on_maps(target, launch, [x], (1, channels, 1, 1))
    np.testing.assert_array_equal(actual, np.ones((1, channels, 1, 1)))


@pytest.mark.parametrize("channels", [1, 4, 8])
@pytest.mark.parametrize("overflow", [np.inf, -np.inf, np.nan])
def test_an_overflow_of_halves_is_not_lost(target: Target, channels: int, overflow: float) -> None:
    x = np.ones((1, channels, 2, 4), np.float16)
    x[:, -1, 1, 0] = overflow
    launch = partial(maxpool_forward_cuda, target, size=2, stride=(2, 2), padding=0)
    actual = run_on_maps(target, launch, [x], (1, channels, 1, 2))
    expected = np.ones((1, channels, 1, 2), bool)
    expected[:, -1, 0, 0] = False
    np.testing.assert_array_equal(np.isfinite(actual), expected)
