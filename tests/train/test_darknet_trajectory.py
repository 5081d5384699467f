"""Darknet's own weights and losses of twenty iterations, from the same start."""

import json
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.darknet.config import read_config
from tinyyolo3.darknet.weights import Header, read_weights, write_weights
from tinyyolo3.data.darknet import read_darknet_list
from tinyyolo3.image.files import read_image
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import Parameters, cast_parameters, network_slots
from tinyyolo3.testing.tolerances import TRAINED_5_ITERATIONS, TRAINED_20_ITERATIONS, TRAINING_LOSS
from tinyyolo3.train.labels import Truths, darknet_truths
from tinyyolo3.train.step import Recipe, StepResult, read_recipe, start_training, training_step

ITERATIONS = {1: TRAINED_5_ITERATIONS, 5: TRAINED_5_ITERATIONS, 20: TRAINED_20_ITERATIONS}

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def folder(reference: Path) -> Path:
    return reference / "training"


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return read_recipe(build_graph(read_config(folder / "step.cfg")))


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["float32", "float64"])
def trained(
    request: pytest.FixtureRequest,
    folder: Path,
    recipe: Recipe,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[StepResult]:
    """Every iteration's result, on batches of the one picture twice."""
    header, before = read_weights(folder / "before.weights", network_slots(recipe.graph))
    image = read_image(folder / "image.png").astype(request.param).transpose(2, 0, 1) / 255
    truths = read_truths(folder, recipe, tmp_path_factory.mktemp("list") / "train.txt")
    state = start_training(cast_parameters(before, request.param), header.seen)
    results = []
    for _ in range(max(ITERATIONS)):
        results.append(training_step(recipe, state, np.stack([image] * 2), [truths] * 2))
        state = results[-1].state
    return results


def read_truths(folder: Path, recipe: Recipe, listed: Path) -> Truths:
    listed.write_text(f"{folder / 'image.png'}\n")
    (sample,) = read_darknet_list(listed, names=["a", "b", "c"])
    _, height, width = recipe.graph.input_shape
    return darknet_truths(sample, (width, height), 3)


def read_after(folder: Path, recipe: Recipe, iteration: int) -> tuple[Header, Parameters]:
    path = folder / f"after_{iteration}.weights"
    return read_weights(path, network_slots(recipe.graph))


def norm(arrays: list[FloatArray]) -> float:
    return float(np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays)))


@pytest.mark.parametrize("iteration", ITERATIONS)
def test_the_weights_change_as_darknets_do(
    iteration: int, folder: Path, recipe: Recipe, trained: list[StepResult]
) -> None:
    _, before = read_weights(folder / "before.weights", network_slots(recipe.graph))
    _, after = read_after(folder, recipe, iteration)
    found = trained[iteration - 1].state.parameters
    slots = network_slots(recipe.graph)
    change = norm([after[s.layer][s.name] - before[s.layer][s.name] for s in slots])
    error = norm([after[s.layer][s.name] - found[s.layer][s.name] for s in slots])
    assert error <= ITERATIONS[iteration] * change


@pytest.mark.parametrize("iteration", [1, 5])
def test_so_does_each_array_by_itself(
    iteration: int, folder: Path, recipe: Recipe, trained: list[StepResult]
) -> None:
    """What is learnt slowly, such as biases, would not be seen in the sum of all."""
    _, before = read_weights(folder / "before.weights", network_slots(recipe.graph))
    _, after = read_after(folder, recipe, iteration)
    for slot in network_slots(recipe.graph):
        wanted = after[slot.layer][slot.name]
        change = norm([wanted - before[slot.layer][slot.name]])
        found = trained[iteration - 1].state.parameters[slot.layer][slot.name]
        assert norm([wanted - found]) <= ITERATIONS[iteration] * change, slot


def test_the_losses_are_darknets(folder: Path, trained: list[StepResult]) -> None:
    wanted = json.loads((folder / "loss.json").read_text())["loss"]
    np.testing.assert_allclose([r.loss for r in trained], wanted, rtol=TRAINING_LOSS)


@pytest.mark.parametrize("iteration", ITERATIONS)
def test_a_file_of_them_is_darknets_in_form(
    iteration: int, folder: Path, recipe: Recipe, trained: list[StepResult], tmp_path: Path
) -> None:
    header, _ = read_after(folder, recipe, iteration)
    state = trained[iteration - 1].state
    slots = network_slots(recipe.graph)
    write_weights(tmp_path / "w", slots, state.parameters, Header(seen=state.seen))
    assert read_weights(tmp_path / "w", slots)[0] == header
    size = (folder / f"after_{iteration}.weights").stat().st_size
    assert (tmp_path / "w").stat().st_size == size
