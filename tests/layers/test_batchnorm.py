"""Batch normalisation: reference against the formula, compiled loop against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.batchnorm import (
    batchnorm_divisor,
    batchnorm_forward_numba,
    batchnorm_forward_reference,
)
from tinyyolo3.testing.oracles import batchnorm_oracle
from tinyyolo3.testing.strategies import (
    DTYPES,
    assert_honours_out,
    assert_same_for_any_thread_count,
    feature_maps,
    normal_map,
    seeds,
)
from tinyyolo3.testing.tolerances import summation

FORWARDS = [batchnorm_forward_reference, batchnorm_forward_numba]


def random_parameters(channels, dtype, seed):
    mean, spread, scales, biases = normal_map((4, channels), dtype, seed)
    return mean, spread**2, scales, biases


def bound(x, mean, variance, scales, biases, *, epsilon, inside):
    """The affine map is a sum of two products: the same sum over absolute values."""
    divisor = batchnorm_divisor(variance.astype(np.float64), epsilon, inside)
    m, s, b = (np.abs(p).reshape(-1, 1, 1) for p in (mean, scales / divisor, biases))
    return summation(s * (np.abs(x) + m) + b, 2, x.dtype)


@settings(max_examples=40, deadline=None)
@given(
    x=feature_maps(),
    seed=seeds(),
    epsilon=st.sampled_from([1e-5, 1e-6]),
    inside=st.booleans(),
    forward=st.sampled_from(FORWARDS),
)
def test_agrees_with_the_oracle_on_any_layout(x, seed, epsilon, inside, forward):
    parameters = random_parameters(x.shape[1], x.dtype, seed)
    options = {"epsilon": epsilon, "epsilon_inside_root": inside}
    actual = forward(x, *parameters, **options)
    assert actual.dtype == x.dtype
    error = np.abs(actual - batchnorm_oracle(x, *parameters, **options))
    assert np.all(error <= bound(x, *parameters, epsilon=epsilon, inside=inside))


@settings(max_examples=25, deadline=None)
@given(x=feature_maps(), seed=seeds(), forward=st.sampled_from(FORWARDS))
def test_out_and_its_surroundings_and_in_place(x, seed, forward):
    parameters = random_parameters(x.shape[1], x.dtype, seed)
    assert_honours_out(lambda out: forward(x, *parameters, out=out))
    expected = forward(x, *parameters)
    assert forward(x, *parameters, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("forward", FORWARDS)
def test_known_value(forward):
    one = np.ones(1, np.float64)
    x = np.full((1, 1, 1, 2), [[[[5.0, 1.0]]]])
    actual = forward(x, one, 4 * one, 3 * one, 0.5 * one, epsilon=0.0)
    np.testing.assert_array_equal(actual, [[[[6.5, 0.5]]]])


@pytest.mark.parametrize("forward", FORWARDS)
def test_parameters_of_another_precision_are_taken_in_the_maps(forward):
    x = normal_map((1, 2, 3, 3), np.float32, seed=8)
    single = random_parameters(2, np.float32, seed=3)
    double = [parameter.astype(np.float64) for parameter in single]
    assert forward(x, *double).tobytes() == forward(x, *single).tobytes()


def test_darknet_pjreddie_cpu_adds_epsilon_outside_the_root():
    variance = np.array([0.0, 4.0])
    np.testing.assert_array_equal(batchnorm_divisor(variance, 1e-6, False), [1e-6, 2 + 1e-6])
    np.testing.assert_array_equal(batchnorm_divisor(variance), np.sqrt([1e-5, 4 + 1e-5]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_the_same_bits(dtype):
    x = normal_map((3, 7, 101, 113), dtype, seed=4)  # threads begin inside an image
    parameters = random_parameters(7, dtype, seed=5)
    assert_same_for_any_thread_count(lambda out: batchnorm_forward_numba(x, *parameters, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_parameters_for_another_number_of_channels_are_refused(forward):
    three, two = np.ones(3, np.float32), np.ones(2, np.float32)
    x = np.zeros((1, 3, 2, 2), np.float32)
    with pytest.raises(InputError, match=r"variance must have shape \(3,\).*not \(2,\)"):
        forward(x, three, two, three, three)


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    x = normal_map((2, 6, 9, 11), np.float32, seed=6)
    mean, variance, scales, biases = random_parameters(6, np.float32, seed=7)
    t = [torch.from_numpy(a) for a in (x, mean, variance, scales, biases)]
    expected = torch.nn.functional.batch_norm(*t, training=False, eps=1e-5).numpy()
    tolerance = bound(x, mean, variance, scales, biases, epsilon=1e-5, inside=True)
    for forward in FORWARDS:
        actual = forward(x, mean, variance, scales, biases)
        assert np.all(np.abs(actual - expected) <= tolerance)
