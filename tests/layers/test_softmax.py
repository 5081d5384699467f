"""Softmax: against a formulation that takes no maximum off."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.softmax import softmax_forward_reference
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.oracles import softmax_oracle
from tinyyolo3.testing.strategies import (
    DTYPES,
    assert_honours_out,
    layouts,
    normal_map,
    seeds,
)


@st.composite
def softmaxes(draw):
    groups = draw(st.integers(1, 3))
    n, h, w = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    shape = (n, groups * draw(st.integers(1, 4)), h, w)
    values = normal_map(shape, draw(st.sampled_from(DTYPES)), draw(seeds()))
    x = draw(layouts())(draw(st.sampled_from([1, 10, 100])) * values)
    return x, {"groups": groups, "temperature": draw(st.sampled_from([1.0, 0.5, 3.0]))}


@settings(max_examples=50, deadline=None)
@given(softmax=softmaxes())
def test_agrees_with_the_oracle_on_any_layout(softmax):
    x, arguments = softmax
    actual = softmax_forward_reference(x, **arguments)
    assert actual.dtype == x.dtype
    expected = softmax_oracle(x, **arguments)
    largest = float(np.abs(x).max()) / arguments["temperature"]
    assert np.all(np.abs(actual - expected) <= tolerances.softmax(expected, largest, x.dtype))


@settings(max_examples=25, deadline=None)
@given(softmax=softmaxes())
def test_out_and_its_surroundings(softmax):
    x, arguments = softmax
    assert_honours_out(lambda out: softmax_forward_reference(x, **arguments, out=out))


def test_known_values():
    x = np.log(np.array([1, 3, 2, 2], np.float64)).reshape(1, 4, 1, 1)
    actual = softmax_forward_reference(x, groups=2).ravel()
    expected = np.array([0.25, 0.75, 0.5, 0.5])
    assert np.all(np.abs(actual - expected) <= tolerances.softmax(expected, 2.0, np.float64))


def test_large_scores_do_not_overflow():
    x = np.array([1e4, 1e4, -1e4], np.float32).reshape(1, 3, 1, 1)
    np.testing.assert_array_equal(softmax_forward_reference(x).ravel(), [0.5, 0.5, 0.0])


def test_an_infinite_score_gives_nan_without_a_warning():
    x = np.array([np.inf, 0.0], np.float32).reshape(1, 2, 1, 1)
    assert np.isnan(softmax_forward_reference(x)).any()


def test_arguments_out_of_range_are_refused():
    x = np.zeros((1, 4, 1, 1), np.float32)
    with pytest.raises(InputError, match="groups=3 must divide the 4 elements"):
        softmax_forward_reference(x, groups=3)
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="temperature must be positive"):
            softmax_forward_reference(x, temperature=temperature)


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    x = 5 * normal_map((3, 50, 1, 1), np.float32, seed=1)
    expected = torch.nn.functional.softmax(torch.from_numpy(x), dim=1).numpy()
    error = np.abs(softmax_forward_reference(x) - expected)
    assert np.all(error <= tolerances.softmax(expected, float(np.abs(x).max()), np.float32))
