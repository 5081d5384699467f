"""The protocol's plain version, and where the way back ends."""

from dataclasses import replace

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.apply import apply_layer
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import InputError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import Parameters, cast_parameters
from tinyyolo3.testing.tolerances import FOLDED_FLOAT64
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train.propagate import backward_training, forward_training
from tinyyolo3.train.propagation import ReferencePropagation
from tinyyolo3.train.step import Recipe, read_recipe

CFG = """
[net]
width=16
height=8
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
batch_normalize=1
filters=5
size=1
activation=leaky
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
classes=2
num=2
anchors=3,3, 8,6
"""
HEAD = 4


@pytest.fixture
def recipe() -> Recipe:
    return read_recipe(build_graph(parse_config(CFG, "x.cfg")))


@pytest.fixture
def parameters(recipe: Recipe) -> Parameters:
    return cast_parameters(random_weights(recipe.graph, 0), np.float64)


@pytest.fixture
def pictures() -> FloatArray:
    return np.random.default_rng(1).uniform(0, 1, (3, 3, 8, 16))


def deltas_like(output: FloatArray) -> FloatArray:
    return np.random.default_rng(2).standard_normal(output.shape)


def test_it_is_what_the_plain_passes_give(
    recipe: Recipe, parameters: Parameters, pictures: FloatArray
) -> None:
    propagation = ReferencePropagation(recipe)
    outputs = propagation.forward(parameters, pictures)
    traces = forward_training(recipe.graph, parameters, pictures)
    assert outputs.keys() == {HEAD}
    np.testing.assert_array_equal(outputs[HEAD], traces[HEAD].output)
    of_heads = {HEAD: deltas_like(outputs[HEAD])}
    found = propagation.backward(of_heads)
    wanted = backward_training(recipe.graph, parameters, traces, of_heads)
    assert found.keys() == wanted.keys() == {0, 2, 3}
    for index, own in wanted.items():
        for name, array in own.items():
            np.testing.assert_array_equal(found[index][name], array)


def test_moments_come_with_the_count_of_values(
    recipe: Recipe, parameters: Parameters, pictures: FloatArray
) -> None:
    propagation = ReferencePropagation(recipe)
    propagation.forward(parameters, pictures)
    found = propagation.moments()
    assert {index: count for index, (*_, count) in found.items()} == {0: 3 * 8 * 16, 2: 3 * 4 * 8}
    moments = forward_training(recipe.graph, parameters, pictures)[2].moments
    assert moments is not None
    np.testing.assert_array_equal(found[2][0], moments.mean)
    np.testing.assert_array_equal(found[2][1], moments.variance)


def test_frozen_layers_run_as_when_detecting_and_get_nothing(
    recipe: Recipe, parameters: Parameters, pictures: FloatArray
) -> None:
    frozen = ReferencePropagation(replace(recipe, frozen=2))
    x = pictures
    for layer in recipe.graph.layers[:2]:
        own = parameters.get(layer.index, {})
        x = apply_layer(REFERENCE, recipe.graph.parity, layer, own, (x,))
    outputs = frozen.forward(parameters, pictures)
    moments = frozen.moments()
    assert moments.keys() == {2}
    mean = parameters[2]["weights"][:, :, 0, 0] @ x.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(moments[2][0], mean, rtol=FOLDED_FLOAT64)
    assert frozen.backward({HEAD: deltas_like(outputs[HEAD])}).keys() == {2, 3}


def test_the_way_back_ends_at_stop_and_moments_do_not(
    recipe: Recipe, parameters: Parameters, pictures: FloatArray
) -> None:
    whole, stopped = (ReferencePropagation(replace(recipe, stop=stop)) for stop in (0, 2))
    outputs = whole.forward(parameters, pictures)
    np.testing.assert_array_equal(stopped.forward(parameters, pictures)[HEAD], outputs[HEAD])
    assert stopped.moments().keys() == {0, 2}
    of_heads = {HEAD: deltas_like(outputs[HEAD])}
    found, wanted = stopped.backward(of_heads), whole.backward(of_heads)
    assert found.keys() == {2, 3}
    np.testing.assert_array_equal(found[2]["weights"], wanted[2]["weights"])


def test_pictures_of_another_size_are_refused(recipe: Recipe, parameters: Parameters) -> None:
    with pytest.raises(InputError, match=r"\(3, 4, 8\) do not fit .* \(3, 8, 16\)"):
        ReferencePropagation(recipe).forward(parameters, np.zeros((1, 3, 4, 8)))
