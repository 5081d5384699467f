"""kernels/softmax.cu against the plain reference."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.softmax import softmax_forward_cuda
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.kernels import (
    assert_stored,
    channel_counts,
    elements,
    kernel_map,
    margins,
    run_on_maps,
)
from tinyyolo3.testing.oracles import softmax_oracle


@st.composite
def scores(draw: st.DrawFn) -> tuple[FloatArray, int]:
    """A map and the number of its groups; a group may begin in the middle of a channel."""
    groups, side = draw(st.integers(1, 3)), st.integers(1, 6)
    shape = (draw(st.integers(1, 2)), draw(channel_counts), groups * draw(side), draw(side))
    x = kernel_map(shape, draw(st.integers(0, 1000)))
    return np.float32(draw(st.sampled_from([1, 10, 100]))) * x, groups


@settings(max_examples=30, deadline=None)
@given(
    drawn=scores(), temperature=st.sampled_from([1.0, 0.5, 3.0]), margin=margins, element=elements
)
def test_the_kernel_gives_each_groups_probabilities(
    target: Target, drawn: tuple[FloatArray, int], temperature: float, margin: int, element: type
) -> None:
    x, groups = drawn[0].astype(element), drawn[1]
    options = {"groups": groups, "temperature": temperature}
    launch = partial(softmax_forward_cuda, target, **options)
    actual = run_on_maps(target, launch, [x], x.shape, margin)
    expected = softmax_oracle(x, **options)
    largest = float(np.abs(x).max()) / temperature
    assert_stored(actual, expected, tolerances.softmax(expected, largest, np.float32))


def test_large_scores_do_not_overflow(target: Target) -> None:
    x = np.array([1e4, 1e4, -1e4], np.float32).reshape(1, 3, 1, 1)
    actual = run_on_maps(target, partial(softmax_forward_cuda, target), [x], x.shape)
    np.testing.assert_array_equal(actual.ravel(), [0.5, 0.5, 0.0])


@pytest.mark.parametrize("element", [np.float32, np.float16])
def test_an_infinite_score_gives_nan(target: Target, element: type) -> None:
    x = np.array([np.inf, 0.0], element).reshape(1, 2, 1, 1)
    actual = run_on_maps(target, partial(softmax_forward_cuda, target), [x], x.shape)
    assert np.isnan(actual).all()


def test_an_overflow_of_halves_is_not_lost(target: Target) -> None:
    x = np.array([-np.inf, 0.0], np.float16).reshape(1, 2, 1, 1)
    actual = run_on_maps(target, partial(softmax_forward_cuda, target), [x], x.shape)
    np.testing.assert_array_equal(actual.ravel(), [np.nan, 1.0])
