"""An iteration in place against the step that defines it."""

from dataclasses import replace

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import InputError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import Parameters, cast_parameters
from tinyyolo3.testing.tolerances import FOLDED_FLOAT64
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train.iteration import iterate_in_place, own_state, reference_deltas
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.propagation import ReferencePropagation
from tinyyolo3.train.step import Recipe, read_recipe, training_step

OPTIONS = "[net]\nbatch=4\nsubdivisions=2\nlearning_rate=.01\nburn_in=3\n"


@pytest.fixture
def recipe(tiny_cfg: str) -> Recipe:
    text = tiny_cfg.replace("[net]\n", OPTIONS)
    return read_recipe(build_graph(parse_config(text, "x.cfg")))


@pytest.fixture
def parameters(recipe: Recipe) -> Parameters:
    return cast_parameters(random_weights(recipe.graph, 0), np.float64)


def batch() -> tuple[FloatArray, list[Truths]]:
    rng = np.random.default_rng(3)
    truths = [Truths(rng.uniform(0.2, 0.6, (n, 4)), rng.integers(0, 2, n)) for n in (2, 0, 1, 3)]
    return rng.uniform(0, 1, (4, 3, 32, 32)), truths


def assert_close(found: Parameters, wanted: Parameters) -> None:
    assert found.keys() == wanted.keys()
    for index, own in wanted.items():
        for name, array in own.items():
            np.testing.assert_allclose(
                found[index][name], array, rtol=FOLDED_FLOAT64, atol=FOLDED_FLOAT64
            )


@pytest.mark.parametrize(
    "changes", [{}, {"frozen": 3}, {"stop": 3}, {"rate_factors": {2: 0.5, 10: 0.0}}]
)
def test_it_is_the_step_that_defines_it(
    recipe: Recipe, parameters: Parameters, changes: dict[str, int]
) -> None:
    recipe = replace(recipe, **changes)
    propagation = ReferencePropagation(recipe)
    wanted, state = own_state(parameters, 4), own_state(parameters, 4)
    for _ in range(2):  # the second with momentum
        defined = training_step(recipe, wanted, *batch())
        result = iterate_in_place(recipe, propagation, reference_deltas, state, *batch())
        wanted, state = defined.state, result.state
        assert_close(state.parameters, wanted.parameters)
        assert_close(state.buffers, wanted.buffers)
        assert (state.seen, result.rate) == (wanted.seen, defined.rate)
        assert result.loss == pytest.approx(defined.loss, rel=FOLDED_FLOAT64)
    assert result.iteration == 3


def test_the_parts_add_up_to_the_loss(recipe: Recipe, parameters: Parameters) -> None:
    state = own_state(parameters)
    found = iterate_in_place(
        recipe, ReferencePropagation(recipe), reference_deltas, state, *batch()
    )
    heads, pictures = 2, 4
    assert found.parts.cost / heads / pictures == pytest.approx(found.loss, rel=FOLDED_FLOAT64)
    assert min(found.parts.box, found.parts.objectness, found.parts.classes) > 0


def test_the_arrays_are_the_states_own_and_stay_so(recipe: Recipe, parameters: Parameters) -> None:
    before = cast_parameters(parameters, np.float64)
    state = own_state(parameters)
    array = state.parameters[0]["weights"]
    found = iterate_in_place(
        recipe, ReferencePropagation(recipe), reference_deltas, state, *batch()
    )
    assert found.state.parameters[0]["weights"] is array
    assert (array != before[0]["weights"]).any()
    assert_close(parameters, before)


def test_a_batch_of_another_size_is_refused(recipe: Recipe, parameters: Parameters) -> None:
    pictures, truths = batch()
    with pytest.raises(InputError, match=r"\(4, 3, 32, 32\) and 4 truths, not .* and 3"):
        iterate_in_place(
            recipe,
            ReferencePropagation(recipe),
            reference_deltas,
            own_state(parameters),
            pictures,
            truths[:3],
        )
