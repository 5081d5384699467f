"""Activations: the reference against single-number formulas, the compiled loops against it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.errors import InputError
from tinyyolo3.layers.activation import (
    activation_forward_numba,
    activation_forward_reference,
)
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.activations import (
    EXACT_KINDS,
    assert_activations_close,
    extreme_values,
)
from tinyyolo3.testing.oracles import activation_oracle
from tinyyolo3.testing.strategies import (
    DTYPES,
    assert_honours_out,
    assert_same_for_any_thread_count,
    feature_maps,
    normal_map,
)

FORWARDS = [activation_forward_reference, activation_forward_numba]


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_extreme_arguments_give_the_formulas_value_without_a_warning(kind, dtype, forward):
    x = extreme_values(dtype)
    actual = forward(x, kind)
    assert actual.dtype == dtype
    assert_activations_close(actual, activation_oracle(x, kind))


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_nan_stays_nan(kind, forward):
    x = np.full((1, 2, 3, 5), np.nan, np.float32)
    assert np.isnan(forward(x, kind)).all()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("linear", -3.0, -3.0),
        ("leaky", -3.0, -0.3),
        ("leaky", 3.0, 3.0),
        ("relu", -3.0, 0.0),
        ("relu6", 7.0, 6.0),
        ("logistic", 0.0, 0.5),
        ("mish", 1.0, 0.8650983882673103),
        ("swish", 1.0, 0.7310585786300049),
        ("hard_mish", -1.0, -0.5),
        ("hard_mish", -2.5, 0.0),
        ("tanh", 1.0, 0.7615941559557649),
        ("elu", -1.0, -0.6321205588285577),
        ("selu", 1.0, 1.0507),
        ("selu", -1.0, -1.1112876898668622),
    ],
)
def test_known_values(kind, value, expected):
    for dtype in DTYPES:
        x = np.full((1, 1, 1, 1), value, dtype)
        for forward in FORWARDS:
            actual = forward(x, kind)
            assert actual.dtype == dtype
            assert_activations_close(actual, np.full(x.shape, expected))


@pytest.mark.parametrize("forward", FORWARDS)
def test_small_probabilities_keep_their_digits(forward):
    x = np.linspace(-80, -10, 20001).astype(np.float32).reshape(1, 1, 1, -1)
    expected = activation_oracle(x, "logistic")
    error = np.abs(forward(x, "logistic") - expected)
    assert np.all(error <= tolerances.LOGISTIC_TAIL_FLOAT32 * expected)


@settings(max_examples=60, deadline=None)
@given(x=feature_maps(), kind=st.sampled_from(ACTIVATIONS), scale=st.sampled_from([1, 10, 100]))
def test_numba_agrees_with_the_reference_on_any_layout(x, kind, scale):
    x = scale * x
    expected = activation_forward_reference(x, kind)
    actual = activation_forward_numba(x, kind)
    if kind in EXACT_KINDS:
        np.testing.assert_array_equal(actual, expected)
    else:
        assert actual.dtype == x.dtype
        assert_activations_close(actual, expected.astype(np.float64))


@settings(max_examples=30, deadline=None)
@given(x=feature_maps(), kind=st.sampled_from(ACTIVATIONS), forward=st.sampled_from(FORWARDS))
def test_out_and_its_surroundings(x, kind, forward):
    assert_honours_out(lambda out: forward(x, kind, out=out))


@settings(max_examples=30, deadline=None)
@given(x=feature_maps(), kind=st.sampled_from(ACTIVATIONS), forward=st.sampled_from(FORWARDS))
def test_out_may_be_the_input_itself(x, kind, forward):
    expected = forward(x, kind).copy()
    assert forward(x, kind, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_any_number_of_threads_gives_the_same_bits(kind):
    x = 4 * normal_map((1, 5, 201, 223), np.float32, seed=1)
    assert_same_for_any_thread_count(lambda out: activation_forward_numba(x, kind, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_linear_without_out_is_the_input_itself(forward):
    x = np.zeros((1, 2, 3, 4), np.float32)
    assert forward(x, "linear") is x


def test_darknet_mish_threshold_changes_no_float():
    """Beyond ±20 Darknet takes softplus for x or exp(x); the results meet to the last bits."""
    x = np.array([20.0001, 25, 60, -20.0001, -25, -60], np.float32).reshape(1, 1, 1, -1)
    expected = np.where(x > 0, x, x * np.tanh(np.exp(x.astype(np.float64))))
    for forward in FORWARDS:
        assert_activations_close(forward(x, "mish"), expected)


def test_darknet_leaky_slope_is_a_tenth():
    x = np.array([-1.0, -7.0], np.float32).reshape(1, 1, 1, 2)
    for forward in FORWARDS:
        np.testing.assert_array_equal(forward(x, "leaky"), np.float32(0.1) * x)


@pytest.mark.parametrize("forward", FORWARDS)
def test_refusals_name_what_was_expected_and_found(forward):
    x = np.zeros((1, 2, 3, 4), np.float32)
    with pytest.raises(InputError, match=r"kind must be one of linear, leaky.*not 'gelu'"):
        forward(x, "gelu")
    with pytest.raises(InputError, match=r"not an array of shape \(2, 3, 4\)"):
        forward(x[0], "relu")
    with pytest.raises(InputError, match="must be float32 or float64, not int64"):
        forward(x.astype(np.int64), "relu")
    with pytest.raises(InputError, match=r"out must be float32 of shape \(1, 2, 3, 4\)"):
        forward(x, "relu", out=np.zeros((1, 2, 3, 5), np.float32))
    with pytest.raises(InputError, match="not float64"):
        forward(x, "relu", out=np.zeros((1, 2, 3, 4), np.float64))


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = 5 * normal_map((2, 3, 17, 19), np.float32, seed=2)
    theirs = {
        "leaky": lambda t: functional.leaky_relu(t, 0.1),
        "relu": functional.relu,
        "relu6": functional.relu6,
        "logistic": torch.sigmoid,
        "mish": functional.mish,
        "swish": functional.silu,
        "tanh": torch.tanh,
        "elu": functional.elu,
    }
    for kind, function in theirs.items():
        expected = function(torch.from_numpy(x)).numpy().astype(np.float64)
        for forward in FORWARDS:
            assert_activations_close(forward(x, kind), expected)
