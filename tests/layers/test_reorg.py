"""Reorg moves numbers: exactly where Darknet's loop moves them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.reorg import reorg_forward_reference
from tinyyolo3.testing.oracles import reorg_oracle
from tinyyolo3.testing.strategies import (
    DTYPES,
    assert_honours_out,
    layouts,
    normal_map,
    seeds,
)


@st.composite
def reorgs(draw):
    s = draw(st.integers(1, 3))
    shape = (
        draw(st.integers(1, 3)),
        s * s * draw(st.integers(1, 3)),
        s * draw(st.integers(1, 4)),
        s * draw(st.integers(1, 4)),
    )
    return draw(layouts())(normal_map(shape, draw(st.sampled_from(DTYPES)), draw(seeds()))), s


@settings(max_examples=50, deadline=None)
@given(reorg=reorgs())
def test_darknet_moves_every_number_by_its_own_flat_indices(reorg):
    x, stride = reorg
    actual = reorg_forward_reference(x, stride=stride)
    assert actual.dtype == x.dtype
    np.testing.assert_array_equal(actual, reorg_oracle(x, stride=stride))


@settings(max_examples=25, deadline=None)
@given(reorg=reorgs())
def test_out_and_its_surroundings(reorg):
    x, stride = reorg
    assert_honours_out(lambda out: reorg_forward_reference(x, stride=stride, out=out))


def test_darknet_reorg_is_not_a_space_to_depth():
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2)
    actual = reorg_forward_reference(x, stride=2)
    assert actual.shape == (1, 16, 1, 1)
    np.testing.assert_array_equal(
        actual.ravel(), [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]
    )
    space_to_depth = x.reshape(1, 4, 1, 2, 1, 2).transpose(0, 3, 5, 1, 2, 4)
    assert not np.array_equal(actual.ravel(), space_to_depth.ravel())


def test_sizes_that_cannot_be_divided_are_refused():
    for shape in ((1, 2, 4, 4), (1, 4, 3, 4), (1, 4, 4, 3)):
        with pytest.raises(InputError, match=r"stride=2 needs rows and columns divisible"):
            reorg_forward_reference(np.zeros(shape, np.float32), stride=2)
    with pytest.raises(InputError, match="stride=0"):
        reorg_forward_reference(np.zeros((1, 4, 4, 4), np.float32), stride=0)
