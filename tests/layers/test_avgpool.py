"""Global average pooling: both versions against an exactly rounded sum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.avgpool import avgpool_forward_numba, avgpool_forward_reference
from tinyyolo3.testing.oracles import avgpool_oracle
from tinyyolo3.testing.strategies import (
    assert_honours_out,
    assert_same_for_any_thread_count,
    feature_maps,
    normal_map,
)
from tinyyolo3.testing.tolerances import summation

FORWARDS = [avgpool_forward_reference, avgpool_forward_numba]


def bound(x):
    area = x.shape[2] * x.shape[3]
    return summation(np.abs(x).mean(axis=(2, 3), keepdims=True), area, x.dtype)


@settings(max_examples=40, deadline=None)
@given(x=feature_maps(), forward=st.sampled_from(FORWARDS))
def test_agrees_with_the_oracle_on_any_layout(x, forward):
    actual = forward(x)
    assert actual.dtype == x.dtype
    assert actual.shape == (*x.shape[:2], 1, 1)
    assert np.all(np.abs(actual - avgpool_oracle(x)) <= bound(x))


@settings(max_examples=25, deadline=None)
@given(x=feature_maps(), forward=st.sampled_from(FORWARDS))
def test_out_and_its_surroundings(x, forward):
    assert_honours_out(lambda out: forward(x, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_known_value(forward):
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(forward(x), [[[[2.5]], [[8.5]]]])


def test_a_large_float32_map_loses_no_digits():
    x = np.full((1, 1, 512, 512), 0.1, np.float32)
    assert avgpool_forward_numba(x)[0, 0, 0, 0] == np.float32(0.1)


def test_any_number_of_threads_gives_the_same_bits():
    x = normal_map((2, 11, 97, 89), np.float32, seed=1)
    assert_same_for_any_thread_count(lambda out: avgpool_forward_numba(x, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_a_map_without_pixels_is_refused(forward):
    with pytest.raises(InputError, match=r"not an array of shape \(1, 2, 0, 3\)"):
        forward(np.zeros((1, 2, 0, 3), np.float32))


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    x = normal_map((2, 5, 13, 17), np.float32, seed=2)
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x), 1).numpy()
    for forward in FORWARDS:
        assert np.all(np.abs(forward(x) - expected) <= bound(x))
