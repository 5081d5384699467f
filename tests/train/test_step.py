"""One iteration: mini-batches, momentum, running moments, what is counted."""

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import ConfigError, InputError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import (
    Parameters,
    cast_parameters,
)
from tinyyolo3.network.parity import FLAVOURS
from tinyyolo3.testing.tolerances import FOLDED_FLOAT64
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.loss import head_deltas_reference
from tinyyolo3.train.loss_parts import loss_parts_reference
from tinyyolo3.train.propagate import forward_training
from tinyyolo3.train.step import Recipe, TrainingState, read_recipe, start_training, training_step

NET = "[net]\nwidth=16\nheight=8\nlearning_rate=.05\n"
LAYERS = """
[convolutional]
filters=4
size=3
stride=2
pad=1
{normalize}
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


def recipe(net: str = "", normalize: str = "batch_normalize=1", more: str = "") -> Recipe:
    text = NET + net + LAYERS.format(normalize=normalize) + more
    return read_recipe(build_graph(parse_config(text, "x.cfg")))


def start(own: Recipe, seen: int = 0) -> TrainingState:
    arrays = random_weights(own.graph, 0)
    return start_training(cast_parameters(arrays, np.float64), seen)


def batch(count: int) -> tuple[FloatArray, list[Truths]]:
    rng = np.random.default_rng(3)
    truths = [Truths(rng.uniform(0.2, 0.6, (2, 4)), rng.integers(0, 2, 2)) for _ in range(count)]
    return rng.uniform(0, 1, (count, 3, 8, 16)), truths


def assert_same(found: Parameters, wanted: Parameters) -> None:
    assert found.keys() == wanted.keys()
    for index, own in wanted.items():
        assert found[index].keys() == own.keys()
        for name, array in own.items():
            np.testing.assert_allclose(
                found[index][name], array, rtol=FOLDED_FLOAT64, atol=FOLDED_FLOAT64
            )


def test_subdivisions_equal_one_large_batch_without_batch_norm() -> None:
    whole, parts = (recipe(f"batch=4\nsubdivisions={count}", normalize="") for count in (1, 2))
    results = []
    for own in (whole, parts):
        state = start(own)
        for _ in range(2):  # the second with momentum
            result = training_step(own, state, *batch(4))
            state = result.state
        results.append(result)
    assert_same(results[1].state.parameters, results[0].state.parameters)
    assert_same(results[1].state.buffers, results[0].state.buffers)
    assert abs(results[1].loss / results[0].loss - 1) <= FOLDED_FLOAT64


def test_the_loss_is_that_of_a_picture() -> None:
    single, double = (recipe(f"batch={count}", normalize="") for count in (1, 2))
    pictures, truths = batch(1)
    losses = [
        training_step(single, start(single), pictures, truths).loss,
        training_step(double, start(double), np.concatenate([pictures] * 2), truths * 2).loss,
    ]
    assert abs(losses[1] / losses[0] - 1) <= FOLDED_FLOAT64


def test_batch_norm_sees_each_mini_batch_by_itself() -> None:
    own = recipe("batch=4\nsubdivisions=2\nlearning_rate=0")
    state = start(own)
    pictures, truths = batch(4)
    mean, variance = (state.parameters[0][name] for name in ("mean", "variance"))
    for part in (pictures[:2], pictures[2:]):
        raw = forward_training(own.graph, state.parameters, part)[0]
        assert raw.moments is not None
        count = 2 * 4 * 8
        mean = 0.9 * mean + 0.1 * raw.moments.mean
        variance = 0.9 * variance + 0.1 * raw.moments.variance * count / (count - 1)
    found = training_step(own, state, pictures, truths).state.parameters
    both = {"mean": mean, "variance": variance}
    assert_same({0: {name: found[0][name] for name in both}}, {0: both})


def test_momentum_goes_on_where_no_gradient_comes() -> None:
    own = recipe("momentum=.5\ndecay=0", normalize="")
    first = training_step(own, start(own), *batch(1)).state
    kept = first.buffers[0]["weights"]
    # Momentum's part of the next update is what the same step from empty buffers lacks.
    fresh = TrainingState(first.parameters, start(own).buffers, first.seen)
    ends = [training_step(own, each, *batch(1)).state for each in (first, fresh)]
    difference = ends[0].parameters[0]["weights"] - ends[1].parameters[0]["weights"]
    assert_same({0: {"w": difference}}, {0: {"w": 0.05 * kept}})


def test_weights_that_no_head_depends_on_decay() -> None:
    own = recipe("decay=.5", more="[convolutional]\nfilters=3\nactivation=linear\n")
    state = start(own)
    found = training_step(own, state, *batch(1)).state.parameters[3]
    before = state.parameters[3]
    wanted = {"weights": (1 - 0.05 * 0.5) * before["weights"], "biases": before["biases"]}
    assert_same({3: found}, {3: wanted})


def test_seen_grows_by_the_batch_and_counts_iterations_from_one() -> None:
    own = recipe("batch=2\npolicy=steps\nsteps=1,3\nscales=.5,.5")
    result = training_step(own, start(own, seen=0), *batch(2))
    assert (result.state.seen, result.rate) == (2, 0.025)
    result = training_step(own, start(own, seen=4), *batch(2))
    assert (result.state.seen, result.rate) == (6, 0.0125)


def test_seen_of_another_batch_size_is_rounded_down() -> None:
    own = recipe("batch=2\npolicy=steps\nsteps=3\nscales=.5")
    assert training_step(own, start(own, seen=3), *batch(2)).rate == 0.05
    assert training_step(own, start(own, seen=4), *batch(2)).rate == 0.025


def test_the_state_before_stays_as_it_is() -> None:
    own = recipe()
    state = start(own)
    copies = [cast_parameters(each, np.float64) for each in (state.parameters, state.buffers)]
    training_step(own, state, *batch(1))
    assert_same(state.parameters, copies[0])
    assert_same(state.buffers, copies[1])


def test_float32_stays_float32() -> None:
    own = recipe("batch=2")
    state = start_training(random_weights(own.graph, 0))
    pictures, truths = batch(2)
    found = training_step(own, state, pictures.astype(np.float32), truths).state
    for arrays in (*found.parameters.values(), *found.buffers.values()):
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


def test_the_loss_is_what_darknet_prints_of_an_iou_loss() -> None:
    pictures, truths = batch(1)
    own = recipe(more="iou_loss=ciou\n")
    activated = forward_training(own.graph, start(own).parameters, pictures)[-1].output
    (rules,) = own.heads.values()
    deltas = head_deltas_reference(activated, truths, rules)
    parts = loss_parts_reference(activated, deltas, truths, rules)
    squares = np.square(deltas, dtype=np.float64).sum()
    assert training_step(own, start(own), pictures, truths).loss == parts.cost != squares


def test_training_lowers_the_loss() -> None:
    own = recipe("batch=2")
    state, losses = start(own), []
    for _ in range(30):
        result = training_step(own, state, *batch(2))
        state = result.state
        losses.append(result.loss)
    assert losses[-1] < losses[0] / 4


def test_a_batch_of_another_size_is_refused() -> None:
    own = recipe("batch=2")
    pictures, truths = batch(2)
    with pytest.raises(InputError, match=r"\(2, 3, 8, 16\) and 2 truths, not .* and 1"):
        training_step(own, start(own), pictures, truths[:1])
    with pytest.raises(InputError, match=r"not \(1, 3, 8, 16\) and 2"):
        training_step(own, start(own), pictures[:1], truths)


def test_a_layer_without_a_backward_is_named_before_anything_is_trained() -> None:
    with pytest.raises(ConfigError, match=r"x.cfg:\d+ \[dropout\] cannot be trained"):
        recipe(more="[dropout]\n")


def test_another_flavours_numbers_are_refused() -> None:
    config = parse_config(NET + LAYERS.format(normalize=""), "x.cfg")
    graph = build_graph(config, parity=FLAVOURS["pjreddie"])
    with pytest.raises(InputError, match="parity='alexeyab', not 'pjreddie'"):
        read_recipe(graph)
