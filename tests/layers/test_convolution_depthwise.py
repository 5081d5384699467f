"""Depthwise convolution against the reference, one channel per group."""

import numpy as np
import pytest
from hypothesis import given, settings

from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.depthwise import conv_forward_depthwise
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.testing.convolutions import Convolution, convolutions
from tinyyolo3.testing.strategies import (
    LAYOUTS,
    assert_honours_out,
    assert_same_for_any_thread_count,
    normal_map,
)


@settings(max_examples=60, deadline=None)
@given(call=convolutions(depthwise=True, max_side=13))
def test_depthwise_agrees_with_the_reference_on_any_layout(call):
    actual = conv_forward_depthwise(*call.arrays, **call.options)
    expected = conv_forward_reference(*call.arrays, **call.options)
    assert actual.dtype == call.x.dtype
    assert actual.shape == expected.shape
    assert np.all(np.abs(actual - expected) <= 2 * call.tolerance())


@pytest.mark.parametrize("sides", [(61, 67), (3, 2100), (2100, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_depthwise_agrees_with_the_reference_on_maps_worked_on_in_parts(sides, stride):
    call = Convolution(
        normal_map((1, 2, *sides), np.float32, seed=1),
        normal_map((2, 1, 3, 3), np.float32, seed=2),
        normal_map((2,), np.float32, seed=3),
        {"stride": stride, "padding": 1, "dilation": 1, "groups": 2},
    )
    actual = conv_forward_depthwise(*call.arrays, **call.options)
    expected = conv_forward_reference(*call.arrays, **call.options)
    assert np.all(np.abs(actual - expected) <= 2 * call.tolerance())


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_result_goes_to_an_array_of_any_layout(layout):
    x, weights = normal_map((2, 3, 7, 8), np.float32, 1), normal_map((6, 1, 3, 3), np.float32, 2)
    options = {"stride": (1, 2), "padding": 1, "groups": 3}
    expected = conv_forward_depthwise(x, weights, None, **options)
    out = LAYOUTS[layout](np.full_like(expected, np.nan))
    assert conv_forward_depthwise(x, weights, None, **options, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_result_goes_to_a_channel_slice_and_nowhere_else():
    x, weights = normal_map((2, 3, 7, 8), np.float32, 1), normal_map((3, 1, 5, 5), np.float32, 2)
    biases = normal_map((3,), np.float32, 3)
    assert_honours_out(
        lambda out: conv_forward_depthwise(x, weights, biases, padding=2, groups=3, out=out)
    )


def test_thread_count_does_not_change_a_bit():
    x, weights = (
        normal_map((2, 24, 61, 67), np.float32, 1),
        normal_map((24, 1, 3, 3), np.float32, 2),
    )
    assert_same_for_any_thread_count(
        lambda out: conv_forward_depthwise(x, weights, None, padding=1, groups=24, out=out)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.zeros((3, 3, 3, 3), np.float32), "groups": 1}, "have one channel, found 3"),
        ({"groups": 2}, "need 2 input channels, found 3"),
        ({"weights": np.zeros((4, 1, 3, 3), np.float32)}, "must divide"),
        ({"out": np.zeros((1, 3, 6, 7), np.float32)}, "out must be float32 of shape (1, 3, 6, 6)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    arguments = {
        "x": np.zeros((1, 3, 8, 8), np.float32),
        "weights": np.zeros((3, 1, 3, 3), np.float32),
        "biases": None,
        "groups": 3,
    }
    with pytest.raises(InputError) as caught:
        conv_forward_depthwise(**(arguments | change))
    assert message in str(caught.value)
