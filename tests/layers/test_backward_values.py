"""Backward passes: Darknet's habits, what becomes of the arguments, and which are refused."""

import numpy as np
import pytest

from tinyyolo3.activations import ACTIVATIONS, LEAKY_SLOPE
from tinyyolo3.errors import InputError
from tinyyolo3.layers.activation import (
    activation_backward_reference,
    activation_forward_reference,
)
from tinyyolo3.layers.avgpool import avgpool_backward_reference
from tinyyolo3.layers.batchnorm_train import (
    batchnorm_train_backward_reference,
    batchnorm_train_forward_reference,
    updated_running_moments,
)
from tinyyolo3.layers.connected import connected_backward_reference
from tinyyolo3.layers.convolution.backward import conv_backward_reference
from tinyyolo3.layers.maxpool import maxpool_backward_reference
from tinyyolo3.layers.route import route_backward_reference
from tinyyolo3.layers.scale_channels import (
    scale_channels_backward_reference,
)
from tinyyolo3.layers.shortcut import shortcut_backward_reference
from tinyyolo3.layers.softmax import softmax_backward_reference
from tinyyolo3.layers.upsample import upsample_backward_reference
from tinyyolo3.testing.strategies import normal_map
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT32, ELEMENTARY_FLOAT64


def test_darknet_leaky_and_relu_at_zero_have_the_lower_slope():
    zero, one = np.zeros((1, 1, 1, 2), np.float32), np.ones((1, 1, 1, 2), np.float32)
    zero[..., 1] = -0.0
    leaky = activation_backward_reference(one, zero, zero, "leaky")
    np.testing.assert_array_equal(leaky, np.float32(LEAKY_SLOPE) * one)
    np.testing.assert_array_equal(activation_backward_reference(one, zero, zero, "relu"), zero)


@pytest.mark.parametrize("kind", ["leaky", "relu"])
def test_darknet_slope_is_read_off_the_output(kind):
    one = np.ones((1, 1, 1, 1))
    np.testing.assert_array_equal(activation_backward_reference(one, -one, one, kind), one)


@pytest.mark.parametrize("kind", ["mish", "swish", "hard_mish"])
def test_kinds_that_fall_and_rise_need_the_input_only(kind):
    x = normal_map((1, 2, 3, 4), np.float64, seed=1)
    y = activation_forward_reference(x, kind)
    found = activation_backward_reference(np.ones_like(x), x, np.full_like(x, np.nan), kind)
    np.testing.assert_array_equal(found, activation_backward_reference(np.ones_like(x), x, y, kind))


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_slopes_far_out_are_those_of_the_asymptotes(kind):
    x = np.array([-1e4, 1e4], np.float32).reshape(1, 1, 1, 2)
    y = activation_forward_reference(x, kind)
    found = activation_backward_reference(np.ones_like(x), x, y, kind)
    assert found.dtype == np.float32
    below = {"linear": 1, "leaky": np.float32(LEAKY_SLOPE)}.get(kind, 0)
    above = {"relu6": 0, "logistic": 0, "tanh": 0, "selu": np.float32(1.0507)}.get(kind, 1)
    assert np.all(np.abs(found.ravel() - [below, above]) <= ELEMENTARY_FLOAT32)


def test_darknet_running_variance_is_unbiased_and_the_batchs_is_not():
    x = np.array([1.0, 2.0, 3.0, 6.0]).reshape(2, 1, 1, 2)
    one = np.ones(1)
    y, moments = batchnorm_train_forward_reference(x, one, 0 * one, epsilon=0.0)
    np.testing.assert_array_equal([moments.mean, moments.variance], [[3.0], [3.5]])
    np.testing.assert_array_equal(y, (x - 3) / np.sqrt(3.5))
    mean, variance = updated_running_moments(10 * one, 20 * one, moments.mean, moments.variance, 4)
    np.testing.assert_allclose(mean, 0.9 * 10 + 0.1 * 3, rtol=ELEMENTARY_FLOAT64)
    np.testing.assert_allclose(variance, 0.9 * 20 + 0.1 * 14 / 3, rtol=ELEMENTARY_FLOAT64)


def test_darknet_epsilon_is_inside_the_root():
    x = np.array([-1.0, 1.0]).reshape(2, 1, 1, 1)
    y, moments = batchnorm_train_forward_reference(x, np.ones(1), np.zeros(1), epsilon=3.0)
    assert moments.divisor == 2
    np.testing.assert_array_equal(y, x / 2)


def test_darknet_first_of_equal_maxima_wins():
    x = np.ones((1, 1, 3, 3), np.float32)
    gradient = np.array([[[[1, 2], [4, 8]]]], np.float32)
    found = maxpool_backward_reference(gradient, x, size=2, stride=(1, 1), padding=0)
    np.testing.assert_array_equal(found, [[[[1, 2, 0], [4, 8, 0], [0, 0, 0]]]])


def test_a_window_without_a_maximum_gives_nothing():
    lowest = np.finfo(np.float32).min
    for nothing in (np.nan, -np.inf, lowest):
        x = np.full((1, 1, 2, 2), nothing, np.float32)
        gradient = np.ones((1, 1, 2, 2), np.float32)
        found = maxpool_backward_reference(gradient, x, size=2, stride=(2, 2), padding=2)
        np.testing.assert_array_equal(found, np.zeros_like(x))


def test_a_cell_that_wins_several_windows_gets_the_sum():
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = 1
    gradient = np.array([[[[1.0, 2.0], [4.0, 8.0]]]])
    found = maxpool_backward_reference(gradient, x, size=2, stride=(1, 1), padding=0)
    np.testing.assert_array_equal(found, 15 * x)


def test_an_input_routed_twice_gets_both_gradients():
    gradient = normal_map((2, 4, 3, 3), np.float32, seed=2)
    found = route_backward_reference(gradient, [2, 2])
    np.testing.assert_array_equal(found, [gradient[:, :2], gradient[:, 2:]])


def test_darknet_shortcut_gradient_lands_on_every_second_cell():
    gradient = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    of_x, of_small = shortcut_backward_reference(gradient, [(1, 2, 2, 2)], beta=3.0)
    np.testing.assert_array_equal(of_x, gradient)
    np.testing.assert_array_equal(of_small, [[[[0, 6], [24, 30]], [[0, 0], [0, 0]]]])


def every_backward(dtype):
    """Return for each layer its name, a function and the arrays that it reads, gradient first."""
    a, b, c = normal_map((3, 2, 4, 6, 6), dtype, seed=3)
    point, weights = a[:, :, :1, :1].copy(), normal_map((4, 4, 1, 1), dtype, seed=4)
    _, moments = batchnorm_train_forward_reference(b, weights[0, :, 0, 0], weights[1, :, 0, 0])
    pool = {"size": 1, "stride": (1, 1), "padding": 0}
    matrix = normal_map((4, 144), dtype, seed=5)
    return {
        "convolution": (conv_backward_reference, [a, b, weights]),
        **{
            kind: (lambda *arrays, k=kind: [activation_backward_reference(*arrays, k)], [a, b, c])
            for kind in ACTIVATIONS
        },
        "batchnorm": (
            lambda g, s: batchnorm_train_backward_reference(g, moments, s),
            [a, weights[0, :, 0, 0]],
        ),
        "maxpool": (lambda g, x: [maxpool_backward_reference(g, x, **pool)], [a, b]),
        "upsample": (lambda g: [upsample_backward_reference(g, stride=1)], [a]),
        "route": (lambda g: route_backward_reference(g, [4]), [a]),
        "shortcut": (lambda g: shortcut_backward_reference(g, [g.shape, g.shape]), [a]),
        "avgpool": (lambda g: [avgpool_backward_reference(g, (2, 4, 1, 1))], [point]),
        "scale_channels": (scale_channels_backward_reference, [a, point, b]),
        "connected": (connected_backward_reference, [point, b, matrix]),
        "softmax": (lambda g, y: [softmax_backward_reference(g, y)], [a, b]),
    }


@pytest.mark.parametrize("layer", every_backward(np.float32))
def test_gradients_are_new_arrays_of_the_inputs_dtype(layer):
    for dtype in (np.float32, np.float64):
        backward, arrays = every_backward(dtype)[layer]
        before = [array.copy() for array in arrays]
        gradients = backward(*arrays)
        for array, copy in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, copy)
        for number, gradient in enumerate(gradients):
            assert gradient.dtype == dtype
            others = [*arrays, *gradients[:number]]
            assert not any(np.shares_memory(gradient, other) for other in others)


@pytest.mark.parametrize(
    "layer", sorted(set(every_backward(np.float32)) - {"upsample", "shortcut"})
)
def test_a_gradient_of_another_shape_is_refused(layer):
    backward, (gradient, *arrays) = every_backward(np.float32)[layer]
    with pytest.raises(InputError, match="gradient must"):
        backward(np.concatenate([gradient, gradient], axis=1), *arrays)


@pytest.mark.parametrize("layer", ["convolution", "leaky", "batchnorm", "maxpool", "softmax"])
def test_a_gradient_of_another_precision_is_refused(layer):
    backward, (gradient, *arrays) = every_backward(np.float32)[layer]
    with pytest.raises(InputError, match=r"gradient must be float32 .* not float64"):
        backward(gradient.astype(np.float64), *arrays)


def test_arguments_that_cannot_be_are_refused():
    x = np.ones((1, 3, 5, 5), np.float32)
    with pytest.raises(InputError, match="stride=2 must be positive and divide"):
        upsample_backward_reference(x, stride=2)
    with pytest.raises(InputError, match="cannot be laid over"):
        shortcut_backward_reference(x, [(1, 3, 4, 4)])
    with pytest.raises(InputError, match="y must be float32 of shape"):
        activation_backward_reference(x, x, x[:, :1], "leaky")
    with pytest.raises(InputError, match="kind must be one of"):
        activation_backward_reference(x, x, x, "gelu")
    with pytest.raises(InputError, match=r"scales must be float32 of shape \(3,\)"):
        batchnorm_train_forward_reference(x, np.ones(2, np.float32), np.ones(3, np.float32))


def test_one_number_has_no_variance():
    x, one = np.ones((1, 1, 1, 1)), np.ones(1)
    with pytest.raises(InputError, match="at least two numbers per channel, found 1"):
        batchnorm_train_forward_reference(x, one, one)
    _, moments = batchnorm_train_forward_reference(np.ones((2, 1, 1, 1)), one, one)
    with pytest.raises(InputError, match="at least two numbers per channel, found 1"):
        updated_running_moments(one, one, moments.mean, moments.variance, 1)
