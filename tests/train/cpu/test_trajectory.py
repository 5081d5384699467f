"""Darknet's own weights and losses of twenty iterations, by compiled passes and loss."""

import json
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.darknet.config import read_config
from tinyyolo3.darknet.weights import read_weights
from tinyyolo3.data.darknet import read_darknet_list
from tinyyolo3.image.files import read_image
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import Parameters, network_slots
from tinyyolo3.testing.tolerances import TRAINED_5_ITERATIONS, TRAINED_20_ITERATIONS, TRAINING_LOSS
from tinyyolo3.train.cpu import CpuPropagation
from tinyyolo3.train.iteration import iterate_in_place, own_state
from tinyyolo3.train.labels import darknet_truths
from tinyyolo3.train.loss_numba import head_deltas_numba
from tinyyolo3.train.step import read_recipe

ITERATIONS = {1: TRAINED_5_ITERATIONS, 5: TRAINED_5_ITERATIONS, 20: TRAINED_20_ITERATIONS}

pytestmark = pytest.mark.reference


def change(one: Parameters, other: Parameters) -> float:
    """Return how far apart two networks' parameters are."""
    squares = [
        np.square(one[index][name] - other[index][name], dtype=np.float64).sum()
        for index in one
        for name in one[index]
    ]
    return float(np.sqrt(sum(squares)))


def test_it_is_darknets(reference: Path, tmp_path: Path) -> None:
    folder = reference / "training"
    recipe = read_recipe(build_graph(read_config(folder / "step.cfg")))
    slots = network_slots(recipe.graph)
    header, before = read_weights(folder / "before.weights", slots)
    image: FloatArray = read_image(folder / "image.png").astype(np.float32).transpose(2, 0, 1) / 255
    (tmp_path / "train.txt").write_text(f"{folder / 'image.png'}\n")
    (sample,) = read_darknet_list(tmp_path / "train.txt", names=["a", "b", "c"])
    _, height, width = recipe.graph.input_shape
    truths = darknet_truths(sample, (width, height), 3)
    propagation = CpuPropagation(recipe, recipe.options.mini_batch)
    state = own_state(before, header.seen)
    losses = []
    for iteration in range(1, max(ITERATIONS) + 1):
        result = iterate_in_place(
            recipe, propagation, head_deltas_numba, state, np.stack([image] * 2), [truths] * 2
        )
        state = result.state
        losses.append(result.loss)
        if iteration in ITERATIONS:
            _, after = read_weights(folder / f"after_{iteration}.weights", slots)
            error = change(after, state.parameters)
            assert error <= ITERATIONS[iteration] * change(after, before), iteration
    wanted = json.loads((folder / "loss.json").read_text())["loss"]
    np.testing.assert_allclose(losses, wanted, rtol=TRAINING_LOSS)
