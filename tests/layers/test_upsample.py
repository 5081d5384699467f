"""Nearest-neighbour upsampling: copies times a factor, so every version is exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.upsample import upsample_forward_numba, upsample_forward_reference
from tinyyolo3.testing.oracles import upsample_oracle
from tinyyolo3.testing.strategies import (
    assert_honours_out,
    assert_same_for_any_thread_count,
    feature_maps,
    map_shapes,
    normal_map,
)

FORWARDS = [upsample_forward_reference, upsample_forward_numba]


def small_maps():
    return feature_maps(map_shapes(max_images=2, max_channels=4, max_side=7))


@settings(max_examples=40, deadline=None)
@given(
    x=small_maps(),
    stride=st.integers(1, 4),
    scale=st.sampled_from([1.0, 0.5, -2.0]),
    forward=st.sampled_from(FORWARDS),
)
def test_agrees_exactly_with_the_oracle_on_any_layout(x, stride, scale, forward):
    actual = forward(x, stride=stride, scale=scale)
    assert actual.dtype == x.dtype
    np.testing.assert_array_equal(actual, upsample_oracle(x, stride=stride, scale=scale))


@settings(max_examples=25, deadline=None)
@given(x=small_maps(), stride=st.integers(1, 4), scale=st.floats(-3, 3, width=32))
def test_numba_agrees_exactly_with_the_reference_for_any_scale(x, stride, scale):
    np.testing.assert_array_equal(
        upsample_forward_numba(x, stride=stride, scale=scale),
        upsample_forward_reference(x, stride=stride, scale=scale),
    )


@settings(max_examples=25, deadline=None)
@given(x=small_maps(), stride=st.integers(1, 4), forward=st.sampled_from(FORWARDS))
def test_out_and_its_surroundings(x, stride, forward):
    assert_honours_out(lambda out: forward(x, stride=stride, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_known_value(forward):
    x = np.array([[[[1, 2], [3, 4]]]], np.float32)
    expected = [[[[3, 3, 6, 6], [3, 3, 6, 6], [9, 9, 12, 12], [9, 9, 12, 12]]]]
    np.testing.assert_array_equal(forward(x, stride=2, scale=3.0), expected)


def test_any_number_of_threads_gives_the_same_bits():
    x = normal_map((2, 7, 53, 59), np.float32, seed=1)
    assert_same_for_any_thread_count(lambda out: upsample_forward_numba(x, stride=2, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_a_stride_below_one_is_refused(forward):
    with pytest.raises(InputError, match="stride must be positive, not 0"):
        forward(np.zeros((1, 1, 2, 2), np.float32), stride=0)


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    x = normal_map((2, 5, 13, 17), np.float32, seed=2)
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), scale_factor=2).numpy()
    for forward in FORWARDS:
        np.testing.assert_array_equal(forward(x, stride=2), expected)
