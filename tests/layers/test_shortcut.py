"""Shortcut: overlapping sums against Darknet's flat indices; the compiled loop is exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.shortcut import shortcut_forward_numba, shortcut_forward_reference
from tinyyolo3.testing.oracles import shortcut_oracle
from tinyyolo3.testing.strategies import (
    DTYPES,
    assert_honours_out,
    assert_same_for_any_thread_count,
    layouts,
    normal_map,
    seeds,
)
from tinyyolo3.testing.tolerances import summation

FORWARDS = [shortcut_forward_reference, shortcut_forward_numba]


@st.composite
def shortcuts(draw):
    """A map, one to three others (of `x`'s shape or larger, smaller, deeper), alpha and beta."""
    dtype = draw(st.sampled_from(DTYPES))
    equal = draw(st.booleans())
    n, h, w = draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    c, k = draw(st.integers(1, 4)), 1 if equal else draw(st.integers(1, 3))

    def one(channels, factor):
        shape = (n, channels, factor * h, factor * w)
        return draw(layouts())(normal_map(shape, dtype, draw(seeds())))

    x = one(c, k)
    count = draw(st.integers(1, 3))
    others = [
        one(c, 1) if equal else one(draw(st.integers(1, 6)), draw(st.sampled_from([1, k, 2 * k])))
        for _ in range(count)
    ]
    alpha = draw(st.sampled_from([1.0, 0.5, -0.3])) if count == 1 else 1.0
    return x, others, {"alpha": alpha, "beta": draw(st.sampled_from([1.0, 2.0, 0.7]))}


@settings(max_examples=60, deadline=None)
@given(shortcut=shortcuts())
def test_reference_agrees_with_darknets_flat_indices(shortcut):
    x, others, factors = shortcut
    actual = shortcut_forward_reference(x, others, **factors)
    assert actual.dtype == x.dtype
    magnitude = shortcut_oracle(
        np.abs(x), [np.abs(o) for o in others], **{k: abs(v) for k, v in factors.items()}
    )
    error = np.abs(actual - shortcut_oracle(x, others, **factors))
    assert np.all(error <= summation(magnitude, 1 + len(others), x.dtype))


@settings(max_examples=40, deadline=None)
@given(shortcut=shortcuts())
def test_numba_agrees_exactly_with_the_reference_on_any_layout(shortcut):
    x, others, factors = shortcut
    np.testing.assert_array_equal(
        shortcut_forward_numba(x, others, **factors),
        shortcut_forward_reference(x, others, **factors),
    )


@settings(max_examples=30, deadline=None)
@given(shortcut=shortcuts(), forward=st.sampled_from(FORWARDS))
def test_out_and_its_surroundings(shortcut, forward):
    x, others, factors = shortcut
    assert_honours_out(lambda out: forward(x, others, **factors, out=out))


@settings(max_examples=20, deadline=None)
@given(shortcut=shortcuts(), forward=st.sampled_from(FORWARDS))
def test_inputs_are_left_alone(shortcut, forward):
    x, others, factors = shortcut
    before = [a.copy() for a in (x, *others)]
    forward(x, others, **factors)
    for array, copy in zip((x, *others), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("forward", FORWARDS)
def test_darknet_smaller_map_lands_on_every_second_cell(forward):
    x = np.zeros((1, 1, 4, 4), np.float32)
    small = np.array([[[[1, 2], [3, 4]]]], np.float32)
    expected = [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(forward(x, [small])[0, 0], expected)


@pytest.mark.parametrize("forward", FORWARDS)
def test_darknet_larger_map_is_sampled_and_extra_channels_ignored(forward):
    x = np.zeros((1, 1, 2, 2), np.float32)
    large = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    np.testing.assert_array_equal(forward(x, [large])[0, 0], [[0, 2], [8, 10]])


@pytest.mark.parametrize("forward", FORWARDS)
def test_darknet_alpha_applies_only_where_the_maps_overlap(forward):
    x = np.ones((1, 2, 1, 1), np.float32)
    other = np.ones((1, 1, 1, 1), np.float32)
    actual = forward(x, [other], alpha=3.0, beta=5.0)
    np.testing.assert_array_equal(actual.ravel(), [8, 1])


def test_any_number_of_threads_gives_the_same_bits():
    x, a, b = normal_map((3, 2, 5, 151, 163), np.float32, seed=1)
    assert_same_for_any_thread_count(
        lambda out: shortcut_forward_numba(x, [a, b], beta=0.7, out=out)
    )


@pytest.mark.parametrize("forward", FORWARDS)
def test_maps_that_cannot_be_overlaid_are_refused(forward):
    x = np.zeros((1, 2, 4, 4), np.float32)
    for shape in ((1, 2, 3, 3), (1, 2, 4, 8), (1, 2, 8, 4), (1, 2, 6, 6), (2, 2, 4, 4)):
        with pytest.raises(InputError, match="cannot be laid over"):
            forward(x, [np.zeros(shape, np.float32)])
    with pytest.raises(InputError, match="cannot be laid over"):
        forward(x, [x.astype(np.float64)])
    with pytest.raises(InputError, match="at least one feature map"):
        forward(x, [])
    with pytest.raises(InputError, match="alpha must be 1 with 2 other maps"):
        forward(x, [x, x], alpha=0.5)
