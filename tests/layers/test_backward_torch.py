"""Backward passes against PyTorch's autograd, where that is installed."""

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from torch.nn import functional  # noqa: E402

from tinyyolo3.layers.activation import (  # noqa: E402
    activation_backward_reference,
    activation_forward_reference,
)
from tinyyolo3.layers.batchnorm_train import (  # noqa: E402
    batchnorm_train_backward_reference,
    batchnorm_train_forward_reference,
    updated_running_moments,
)
from tinyyolo3.layers.connected import connected_backward_reference  # noqa: E402
from tinyyolo3.layers.convolution.backward import conv_backward_reference  # noqa: E402
from tinyyolo3.layers.maxpool import maxpool_backward_reference  # noqa: E402
from tinyyolo3.layers.softmax import (  # noqa: E402
    softmax_backward_reference,
    softmax_forward_reference,
)
from tinyyolo3.layers.upsample import upsample_backward_reference  # noqa: E402
from tinyyolo3.testing.convolutions import convolutions  # noqa: E402
from tinyyolo3.testing.strategies import feature_maps, normal_map, seeds  # noqa: E402
from tinyyolo3.testing.tolerances import BACKWARD_FLOAT64  # noqa: E402

ACTIVATIONS = {
    "leaky": lambda x: functional.leaky_relu(x, 0.1),
    "relu": functional.relu,
    "relu6": functional.relu6,
    "logistic": torch.sigmoid,
    "mish": functional.mish,
    "swish": functional.silu,
    "tanh": torch.tanh,
    "elu": functional.elu,
}


def tensor(array):
    return torch.from_numpy(np.array(array)).requires_grad_()


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    magnitude = max(1, np.abs(expected).max())
    assert np.all(np.abs(actual - expected) <= BACKWARD_FLOAT64 * magnitude)


def assert_autograds(gradients, gradient, result, *tensors):
    """Check `gradients` against what autograd gives each of `tensors` for `gradient`."""
    result.backward(torch.from_numpy(gradient))
    for found, leaf in zip(gradients, tensors, strict=True):
        assert_close(found, leaf.grad.numpy())


@settings(max_examples=60, deadline=None)
@given(call=convolutions(dtype=np.float64), seed=seeds())
def test_convolution(call, seed):
    x, weights = tensor(call.x), tensor(call.weights)
    biases = tensor(np.zeros(len(call.weights)))
    result = functional.conv2d(
        x,
        weights,
        biases,
        stride=call.options["stride"],
        padding=call.options["padding"] * call.options["dilation"],  # Darknet's counts so
        dilation=call.options["dilation"],
        groups=call.options["groups"],
    )
    gradient = normal_map(tuple(result.shape), np.float64, seed)
    gradients = conv_backward_reference(gradient, call.x, call.weights, **call.options)
    assert_autograds(gradients, gradient, result, x, weights, biases)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@settings(max_examples=20, deadline=None)
@given(x=feature_maps(dtype=np.float64), seed=seeds())
def test_activation(kind, x, seed):
    x = 8 * x
    gradient = normal_map(x.shape, np.float64, seed)
    y = activation_forward_reference(x, kind)
    leaf = tensor(x)
    found = activation_backward_reference(gradient, x, y, kind)
    assert_autograds([found], gradient, ACTIVATIONS[kind](leaf), leaf)


@pytest.mark.parametrize("shape", [(4, 5, 7, 9), (2, 3, 1, 1), (1, 2, 1, 5), (8, 1, 13, 13)])
def test_batchnorm_and_its_running_moments(shape):
    x, gradient = normal_map((2, *shape), np.float64, seed=1)
    mean, spread, scales, biases = normal_map((4, shape[1]), np.float64, seed=2)
    leaves = [tensor(a) for a in (x, scales, biases)]
    running = [torch.from_numpy(a.copy()) for a in (mean, spread**2)]
    result = functional.batch_norm(
        leaves[0], *running, *leaves[1:], training=True, momentum=0.1, eps=1e-5
    )
    y, moments = batchnorm_train_forward_reference(x, scales, biases)
    assert_close(y, result.detach().numpy())
    gradients = batchnorm_train_backward_reference(gradient, moments, scales)
    assert_autograds(gradients, gradient, result, *leaves)
    count = x.size // shape[1]
    updated = updated_running_moments(mean, spread**2, moments.mean, moments.variance, count)
    for found, expected in zip(updated, running, strict=True):
        assert_close(found, expected.numpy())


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (5, 1), (13, 1)])
@pytest.mark.parametrize("ties", [False, True])
def test_maxpool(size, stride, ties):
    x = normal_map((2, 3, 16, 20), np.float64, seed=3)
    x = np.round(x) if ties else x  # of equal maxima the first wins in PyTorch too
    half = size // 2 if size % 2 else 0
    leaf = tensor(x)
    result = functional.max_pool2d(leaf, size, stride, half)
    gradient = normal_map(tuple(result.shape), np.float64, seed=4)
    found = maxpool_backward_reference(
        gradient, x, size=size, stride=(stride, stride), padding=2 * half
    )
    assert_autograds([found], gradient, result, leaf)


def test_upsample():
    leaf = tensor(normal_map((2, 3, 5, 7), np.float64, seed=5))
    result = functional.interpolate(leaf, scale_factor=2, mode="nearest")
    gradient = normal_map(tuple(result.shape), np.float64, seed=6)
    assert_autograds([upsample_backward_reference(gradient, stride=2)], gradient, result, leaf)


def test_connected():
    arrays = (
        normal_map((3, 2, 4, 5), np.float64, seed=7),
        normal_map((6, 40), np.float64, seed=8),
        normal_map((6,), np.float64, seed=9),
    )
    x, weights, biases = leaves = [tensor(a) for a in arrays]
    result = functional.linear(x.flatten(1), weights, biases)[:, :, None, None]
    gradient = normal_map((3, 6, 1, 1), np.float64, seed=10)
    gradients = connected_backward_reference(gradient, *arrays[:2])
    assert_autograds(gradients, gradient, result, *leaves)


def test_softmax_of_groups_with_a_temperature():
    x, gradient = normal_map((2, 3, 4, 5, 6), np.float64, seed=11)
    leaf = tensor(x)
    result = functional.softmax(leaf.reshape(3, 4, 30) / 0.7, dim=2).reshape(x.shape)
    options = {"groups": 4, "temperature": 0.7}
    y = softmax_forward_reference(x, **options)
    assert_autograds([softmax_backward_reference(gradient, y, **options)], gradient, result, leaf)
