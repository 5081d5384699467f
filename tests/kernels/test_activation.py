"""kernels/activation.cu against the plain reference and the formulas in float64."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import download_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import activation_forward_cuda, activation_forward_reference
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.activations import (
    EXACT_KINDS,
    assert_activations_close,
    assert_activations_stored,
    extreme_values,
)
from tinyyolo3.testing.kernels import assert_stored, elements, kernel_maps, margins, run_on_maps
from tinyyolo3.testing.oracles import activation_oracle


def activate(target: Target, x: FloatArray, kind: str, margin: int = 0) -> FloatArray:
    launch = partial(activation_forward_cuda, target, kind=kind)
    return run_on_maps(target, launch, [x], x.shape, margin)


@settings(max_examples=40, deadline=None)
@given(
    x=kernel_maps(),
    kind=st.sampled_from(ACTIVATIONS),
    scale=st.sampled_from([1, 10, 100]),
    margin=margins,
    element=elements,
)
def test_the_kernel_activates_as_the_reference(
    target: Target, x: FloatArray, kind: str, scale: int, margin: int, element: type
) -> None:
    x = (scale * x).astype(element)
    expected = activation_forward_reference(x.astype(np.float32), kind)
    actual = activate(target, x, kind, margin)
    if kind in EXACT_KINDS:
        assert_stored(actual, expected, 0)
    else:
        assert_activations_stored(actual, expected.astype(np.float64))


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_extreme_arguments_give_the_formulas_value(target: Target, kind: str) -> None:
    x = extreme_values(np.float32)
    assert_activations_close(activate(target, x, kind), activation_oracle(x, kind))


def test_small_probabilities_keep_their_digits(target: Target) -> None:
    x = np.linspace(-80, -10, 4001).astype(np.float32).reshape(1, 1, 1, -1)
    expected = activation_oracle(x, "logistic")
    error = np.abs(activate(target, x, "logistic") - expected)
    assert np.all(error <= tolerances.LOGISTIC_TAIL_FLOAT32 * expected)


@pytest.mark.parametrize("kind", ["elu", "selu", "tanh", "mish"])
def test_small_arguments_keep_their_digits(target: Target, kind: str) -> None:
    x = -np.geomspace(1e-30, 1e-3, 401).astype(np.float32).reshape(1, 1, 1, -1)
    expected = activation_forward_reference(x.astype(np.float64), kind)
    error = np.abs(activate(target, x, kind) - expected)
    assert np.all(error <= tolerances.ELEMENTARY_FLOAT32 * np.abs(expected))


@pytest.mark.parametrize("channels", [3, 4])
def test_the_output_may_be_the_input(target: Target, channels: int) -> None:
    x = np.linspace(-3, 3, 2 * channels * 5 * 7, dtype=np.float32).reshape(2, channels, 5, 7)
    device = upload_map(target, x)
    activation_forward_cuda(target, device, device, "leaky")
    expected = activation_forward_reference(x, "leaky")
    np.testing.assert_array_equal(download_map(target, device), expected)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_an_overflow_of_halves_is_not_lost(target: Target, kind: str) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 6.4e4], np.float16).reshape(1, 1, 1, -1)
    actual = np.isfinite(activate(target, x, kind))
    np.testing.assert_array_equal(actual.ravel(), [False, False, False, kind != "selu"])
