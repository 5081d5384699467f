"""Single layers' options, and what they do to a step."""

from dataclasses import replace

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.darknet.config import Config, parse_config
from tinyyolo3.errors import ConfigError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import cast_parameters
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT64
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.layer_rules import read_rate_factors, read_stop
from tinyyolo3.train.step import (
    Recipe,
    StepResult,
    TrainingState,
    read_recipe,
    start_training,
    training_step,
)

CFG = """
[net]
width=8
height=8
learning_rate=.1
decay=.5
[convolutional]
batch_normalize=1
filters=3
{0}
[convolutional]
batch_normalize=1
filters=4
{1}
[convolutional]
filters=6
activation=linear
{2}
[yolo]
mask=0
classes=1
num=1
anchors=3,3
"""


def config(*options: str) -> Config:
    return parse_config(CFG.format(*options), "x.cfg")


def step(recipe: Recipe) -> tuple[TrainingState, StepResult]:
    arrays = cast_parameters(random_weights(recipe.graph, 0), np.float64)
    state = start_training(arrays)
    pictures: FloatArray = np.random.default_rng(3).uniform(0, 1, (1, 3, 8, 8))
    truths = Truths(np.array([[0.4, 0.6, 0.3, 0.3]]), np.array([0]))
    return state, training_step(recipe, state, pictures, [truths])


def change(name: str, index: int, recipe: Recipe) -> FloatArray:
    before, result = step(recipe)
    return result.state.parameters[index][name] - before.parameters[index][name]


def test_the_way_back_ends_behind_the_last_layer_that_stops_it() -> None:
    assert read_stop(config("", "", "")) == 0
    assert read_stop(config("stopbackward=1", "", "stopbackward=0")) == 1
    assert read_stop(config("stopbackward=1", "stopbackward=1", "")) == 2


def test_another_stop_than_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x.cfg:14 \[convolutional\] stopbackward=300 is not"):
        read_stop(config("", "stopbackward=300", ""))


def test_the_layer_that_stops_the_way_back_decays_and_those_before_it_stay() -> None:
    recipe = read_recipe(build_graph(config("", "stopbackward=1", "")))
    before, result = step(recipe)
    after = result.state.parameters
    np.testing.assert_array_equal(after[0]["weights"], before.parameters[0]["weights"])
    decayed = (1 - 0.1 * 0.5) * before.parameters[1]["weights"]
    np.testing.assert_allclose(after[1]["weights"], decayed, rtol=ELEMENTARY_FLOAT64)
    np.testing.assert_array_equal(after[1]["biases"], before.parameters[1]["biases"])
    whole = read_recipe(build_graph(config("", "", "")))
    np.testing.assert_array_equal(change("weights", 2, recipe), change("weights", 2, whole))
    for index in (0, 1):  # running moments are gathered all the same
        np.testing.assert_array_equal(change("mean", index, recipe), change("mean", index, whole))


def test_frozen_layers_keep_everything() -> None:
    recipe = replace(read_recipe(build_graph(config("", "", ""))), frozen=2)
    before, result = step(recipe)
    for index in (0, 1):
        for arrays in ("parameters", "buffers"):
            own = getattr(result.state, arrays)[index]
            for name, array in getattr(before, arrays)[index].items():
                np.testing.assert_array_equal(own[name], array)
    assert change("weights", 2, recipe).any()


def test_a_layers_own_rate_multiplies_the_networks() -> None:
    recipe = read_recipe(build_graph(config("", "learning_rate=.5", "learning_rate=1.0")))
    assert recipe.rate_factors == {1: 0.5}
    whole = read_recipe(build_graph(config("", "", "")))
    for index, factor in ((0, 1.0), (1, 0.5), (2, 1.0)):
        np.testing.assert_allclose(
            change("weights", index, recipe),
            factor * change("weights", index, whole),
            rtol=0,
            atol=ELEMENTARY_FLOAT64,
        )


def test_a_rate_below_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x.cfg:10 \[convolutional\] learning_rate=-1 must be"):
        read_rate_factors(config("learning_rate=-1", "", ""))
