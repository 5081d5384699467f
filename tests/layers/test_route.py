"""Route only copies: exact, and a single input is not even copied."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.route import route_forward_reference
from tinyyolo3.testing.oracles import route_oracle
from tinyyolo3.testing.strategies import (
    DTYPES,
    assert_honours_out,
    layouts,
    normal_map,
    seeds,
)


@st.composite
def routes(draw):
    """Inputs of one size with channels that `groups` divides, each in a layout of its own."""
    groups = draw(st.integers(1, 3))
    n, h, w = draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    dtype = draw(st.sampled_from(DTYPES))
    inputs = [
        draw(layouts())(normal_map((n, groups * parts, h, w), dtype, draw(seeds())))
        for parts in draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    ]
    return inputs, {"groups": groups, "group_id": draw(st.integers(0, groups - 1))}


@settings(max_examples=50, deadline=None)
@given(route=routes())
def test_agrees_exactly_with_the_oracle_on_any_layout(route):
    inputs, arguments = route
    actual = route_forward_reference(inputs, **arguments)
    assert actual.dtype == inputs[0].dtype
    np.testing.assert_array_equal(actual, route_oracle(inputs, **arguments))


@settings(max_examples=30, deadline=None)
@given(route=routes())
def test_out_and_its_surroundings(route):
    inputs, arguments = route
    assert_honours_out(lambda out: route_forward_reference(inputs, **arguments, out=out))


def test_darknet_groups_slice_each_input_before_concatenation():
    a = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)
    actual = route_forward_reference([a, a + 10], groups=2, group_id=1)
    np.testing.assert_array_equal(actual.ravel(), [2, 3, 12, 13])


def test_a_single_input_is_not_copied():
    x = np.zeros((1, 4, 2, 2), np.float32)
    assert route_forward_reference([x]) is x
    assert route_forward_reference([x], groups=2, group_id=1).base is x


def test_inputs_that_do_not_fit_are_refused():
    x = np.zeros((1, 4, 2, 2), np.float32)
    with pytest.raises(InputError, match="at least one feature map"):
        route_forward_reference([])
    for other in (np.zeros((1, 4, 2, 3), np.float32), np.zeros((2, 4, 2, 2), np.float32)):
        with pytest.raises(InputError, match="must agree in all but channels"):
            route_forward_reference([x, other])
    with pytest.raises(InputError, match="must agree in all but channels"):
        route_forward_reference([x, x.astype(np.float64)])
    with pytest.raises(InputError, match="groups=3 must divide the input's 4 channels"):
        route_forward_reference([x], groups=3)
    with pytest.raises(InputError, match="group_id=2 be one of"):
        route_forward_reference([x], groups=2, group_id=2)
