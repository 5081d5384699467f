"""Scale channels: one product per element, so every version is exact to the rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.scale_channels import (
    scale_channels_forward_numba,
    scale_channels_forward_reference,
)
from tinyyolo3.testing.oracles import scale_channels_oracle
from tinyyolo3.testing.strategies import (
    assert_honours_out,
    assert_same_for_any_thread_count,
    feature_maps,
    layouts,
    normal_map,
    seeds,
)

FORWARDS = [scale_channels_forward_reference, scale_channels_forward_numba]


@st.composite
def scalings(draw):
    source = draw(feature_maps())
    n, c, h, w = source.shape
    scale_wh = draw(st.booleans())
    shape = (n, 1, h, w) if scale_wh else (n, c, 1, 1)
    x = draw(layouts())(normal_map(shape, source.dtype.type, draw(seeds())))
    return x, source, scale_wh


@settings(max_examples=50, deadline=None)
@given(scaling=scalings(), forward=st.sampled_from(FORWARDS))
def test_agrees_with_darknets_flat_indices_on_any_layout(scaling, forward):
    x, source, scale_wh = scaling
    actual = forward(x, source, scale_wh=scale_wh)
    assert actual.dtype == source.dtype
    expected = scale_channels_oracle(x, source, scale_wh=scale_wh)
    np.testing.assert_array_equal(actual, expected.astype(source.dtype))


@settings(max_examples=25, deadline=None)
@given(scaling=scalings(), forward=st.sampled_from(FORWARDS))
def test_out_and_its_surroundings(scaling, forward):
    x, source, scale_wh = scaling
    assert_honours_out(lambda out: forward(x, source, scale_wh=scale_wh, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_known_values(forward):
    source = np.arange(1, 9, dtype=np.float32).reshape(1, 2, 2, 2)
    by_channel = np.array([10, 100], np.float32).reshape(1, 2, 1, 1)
    by_cell = np.array([1, 10, 100, 1000], np.float32).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(
        forward(by_channel, source).ravel(), [10, 20, 30, 40, 500, 600, 700, 800]
    )
    np.testing.assert_array_equal(
        forward(by_cell, source, scale_wh=True).ravel(), [1, 20, 300, 4000, 5, 60, 700, 8000]
    )


@pytest.mark.parametrize("scale_wh", [False, True])
def test_any_number_of_threads_gives_the_same_bits(scale_wh):
    source = normal_map((2, 5, 151, 163), np.float32, seed=1)
    x = source[:, :1] if scale_wh else source[:, :, :1, :1]
    assert_same_for_any_thread_count(
        lambda out: scale_channels_forward_numba(x, source, scale_wh=scale_wh, out=out)
    )


@pytest.mark.parametrize("forward", FORWARDS)
def test_factors_of_the_wrong_shape_or_dtype_are_refused(forward):
    source = np.zeros((1, 3, 2, 2), np.float32)
    with pytest.raises(InputError, match=r"float32\(1, 3, 1, 1\).*scale_wh=0, not float32\(1, 1"):
        forward(source[:, :1], source)
    with pytest.raises(InputError, match=r"float32\(1, 1, 2, 2\).*scale_wh=1"):
        forward(source[:, :, :1, :1], source, scale_wh=True)
    with pytest.raises(InputError, match="not float64"):
        forward(np.zeros((1, 3, 1, 1)), source)
