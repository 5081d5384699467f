"""Backward passes against central differences of their forward passes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.layers.activation import (
    activation_backward_reference,
    activation_forward_reference,
)
from tinyyolo3.layers.avgpool import avgpool_backward_reference, avgpool_forward_reference
from tinyyolo3.layers.batchnorm_train import (
    batchnorm_train_backward_reference,
    batchnorm_train_forward_reference,
)
from tinyyolo3.layers.connected import connected_backward_reference, connected_forward_reference
from tinyyolo3.layers.convolution.backward import conv_backward_reference
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.layers.maxpool import maxpool_backward_reference, maxpool_forward_reference
from tinyyolo3.layers.route import route_backward_reference, route_forward_reference
from tinyyolo3.layers.scale_channels import (
    scale_channels_backward_reference,
    scale_channels_forward_reference,
)
from tinyyolo3.layers.shortcut import shortcut_backward_reference, shortcut_forward_reference
from tinyyolo3.layers.softmax import softmax_backward_reference, softmax_forward_reference
from tinyyolo3.layers.upsample import upsample_backward_reference, upsample_forward_reference
from tinyyolo3.testing.convolutions import convolutions
from tinyyolo3.testing.gradients import assert_gradients
from tinyyolo3.testing.strategies import feature_maps, layouts, map_shapes, normal_map, seeds

SHAPES = map_shapes(max_images=3, max_channels=4, max_side=7)
#: Where an activation has a kink or changes its formula.
KINKS = (-20, -2, 0, 6, 20)


def maps64(shapes=SHAPES):
    return feature_maps(shapes, np.float64)


@settings(max_examples=60, deadline=None)
@given(call=convolutions(dtype=np.float64), seed=seeds())
def test_convolution(call, seed):
    biases = normal_map((len(call.weights),), np.float64, seed)
    assert_gradients(
        lambda x, w, b: conv_forward_reference(x, w, b, **call.options),
        lambda g: conv_backward_reference(g, call.x, call.weights, **call.options),
        [call.x, call.weights, biases],
        seed,
    )


@pytest.mark.parametrize("kind", ACTIVATIONS)
@settings(max_examples=25, deadline=None)
@given(x=maps64(), seed=seeds())
def test_activation(kind, x, seed):
    x = 8 * x
    for kink in KINKS:
        x[np.abs(x - kink) < 1e-3] = kink + 1e-3
    y = activation_forward_reference(x, kind)
    assert_gradients(
        lambda x: activation_forward_reference(x, kind),
        lambda g: [activation_backward_reference(g, x, y, kind)],
        [x],
        seed,
    )


@settings(max_examples=40, deadline=None)
@given(x=maps64(), seed=seeds())
def test_batchnorm(x, seed):
    assume(np.all(x.var(axis=(0, 2, 3)) > 0.01))  # where the function bends, steps are too long
    scales, biases = normal_map((2, x.shape[1]), np.float64, seed)
    _, moments = batchnorm_train_forward_reference(x, scales, biases)
    assert_gradients(
        lambda x, scales, biases: batchnorm_train_forward_reference(x, scales, biases)[0],
        lambda g: batchnorm_train_backward_reference(g, moments, scales),
        [x, scales, biases],
        seed,
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=SHAPES, size=st.integers(1, 5), seed=seeds())
def test_maxpool(data, shape, size, seed):
    cells = int(np.prod(shape))
    x = np.random.default_rng(seed).permutation(cells).reshape(shape) / 100  # no ties
    needed = max(0, size - min(shape[2:]))
    options = {
        "size": size,
        "stride": data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        # Less than the size on either side: a window wholly outside gives the lowest number.
        "padding": data.draw(st.integers(needed, max(needed, 2 * size - 2))),
    }
    y = maxpool_forward_reference(x, **options)
    assume(np.all(y >= 0))
    assert_gradients(
        lambda x: maxpool_forward_reference(x, **options),
        lambda g: [maxpool_backward_reference(g, data.draw(layouts())(x), **options)],
        [x],
        seed,
    )


@settings(max_examples=25, deadline=None)
@given(x=maps64(), stride=st.integers(1, 4), scale=st.sampled_from([1.0, 0.3, -2.0]), seed=seeds())
def test_upsample(x, stride, scale, seed):
    assert_gradients(
        lambda x: upsample_forward_reference(x, stride=stride, scale=scale),
        lambda g: [upsample_backward_reference(g, stride=stride, scale=scale)],
        [x],
        seed,
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data(), groups=st.integers(1, 3), seed=seeds())
def test_route(data, groups, seed):
    n, _, h, w = data.draw(SHAPES)
    channels = data.draw(st.lists(st.integers(1, 3).map(lambda c: c * groups), max_size=3))
    channels = channels or [groups]
    options = {"groups": groups, "group_id": data.draw(st.integers(0, groups - 1))}
    assert_gradients(
        lambda *inputs: route_forward_reference(inputs, **options),
        lambda g: route_backward_reference(g, channels, **options),
        [normal_map((n, c, h, w), np.float64, seed + c) for c in channels],
        seed,
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), equal=st.booleans(), seed=seeds())
def test_shortcut(data, equal, seed):
    n, c, h, w = data.draw(map_shapes(max_images=2, max_channels=4, max_side=4))
    k = 1 if equal else data.draw(st.integers(1, 3))
    x = normal_map((n, c, k * h, k * w), np.float64, seed)
    others = []
    for number in range(1, data.draw(st.integers(1, 3)) + 1):
        factor = data.draw(st.sampled_from([1, k, 2 * k]))
        shape = (n, data.draw(st.integers(1, 6)), factor * h, factor * w)
        others.append(normal_map(x.shape if equal else shape, np.float64, seed + number))
    options = {
        "alpha": data.draw(st.sampled_from([1.0, 0.5, -0.3])) if len(others) == 1 else 1.0,
        "beta": data.draw(st.sampled_from([1.0, 2.0, 0.7])),
    }
    assert_gradients(
        lambda x, *others: shortcut_forward_reference(x, others, **options),
        lambda g: shortcut_backward_reference(g, [other.shape for other in others], **options),
        [x, *others],
        seed,
    )


@settings(max_examples=20, deadline=None)
@given(x=maps64(), seed=seeds())
def test_avgpool(x, seed):
    assert_gradients(
        avgpool_forward_reference, lambda g: [avgpool_backward_reference(g, x.shape)], [x], seed
    )


@settings(max_examples=25, deadline=None)
@given(source=maps64(), scale_wh=st.booleans(), seed=seeds())
def test_scale_channels(source, scale_wh, seed):
    n, c, h, w = source.shape
    x = normal_map((n, 1, h, w) if scale_wh else (n, c, 1, 1), np.float64, seed)
    assert_gradients(
        lambda x, source: scale_channels_forward_reference(x, source, scale_wh=scale_wh),
        lambda g: scale_channels_backward_reference(g, x, source, scale_wh=scale_wh),
        [x, source],
        seed,
    )


@settings(max_examples=20, deadline=None)
@given(x=maps64(), outputs=st.integers(1, 5), seed=seeds())
def test_connected(x, outputs, seed):
    weights = normal_map((outputs, x[0].size), np.float64, seed)
    assert_gradients(
        connected_forward_reference,
        lambda g: connected_backward_reference(g, x, weights),
        [x, weights, normal_map((outputs,), np.float64, seed + 1)],
        seed,
    )


@settings(max_examples=30, deadline=None)
@given(x=maps64(), by_channel=st.booleans(), heat=st.sampled_from([1.0, 0.5, 3.0]), seed=seeds())
def test_softmax(x, by_channel, heat, seed):
    options = {"groups": x.shape[1] if by_channel else 1, "temperature": heat}
    y = softmax_forward_reference(x, **options)
    assert_gradients(
        lambda x: softmax_forward_reference(x, **options),
        lambda g: [softmax_backward_reference(g, y, **options)],
        [x],
        seed,
    )
