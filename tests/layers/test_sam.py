"""SAM: one product per element, so every version is exact to the rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.sam import sam_forward_numba, sam_forward_reference
from tinyyolo3.testing.oracles import sam_oracle
from tinyyolo3.testing.strategies import (
    assert_honours_out,
    assert_same_for_any_thread_count,
    feature_maps,
    layouts,
    normal_map,
    seeds,
)

FORWARDS = [sam_forward_reference, sam_forward_numba]


@st.composite
def pairs(draw):
    x = draw(feature_maps())
    return x, draw(layouts())(normal_map(x.shape, x.dtype.type, draw(seeds())))


@settings(max_examples=40, deadline=None)
@given(pair=pairs(), forward=st.sampled_from(FORWARDS))
def test_agrees_with_the_oracle_on_any_layout(pair, forward):
    actual = forward(*pair)
    assert actual.dtype == pair[0].dtype
    np.testing.assert_array_equal(actual, sam_oracle(*pair).astype(pair[0].dtype))


@settings(max_examples=25, deadline=None)
@given(pair=pairs(), forward=st.sampled_from(FORWARDS))
def test_out_and_its_surroundings(pair, forward):
    assert_honours_out(lambda out: forward(*pair, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_known_value(forward):
    x = np.array([2.0, -3.0], np.float32).reshape(1, 2, 1, 1)
    np.testing.assert_array_equal(forward(x, x[:, ::-1]).ravel(), [-6.0, -6.0])


def test_any_number_of_threads_gives_the_same_bits():
    x, source = normal_map((2, 2, 5, 151, 163), np.float32, seed=1)
    assert_same_for_any_thread_count(lambda out: sam_forward_numba(x, source, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_maps_that_differ_are_refused(forward):
    x = np.zeros((1, 3, 2, 2), np.float32)
    with pytest.raises(InputError, match=r"float32\(1, 3, 2, 2\) like x, not float32\(1, 1, 2, 2"):
        forward(x, x[:, :1])
    with pytest.raises(InputError, match="not float64"):
        forward(x, x.astype(np.float64))
