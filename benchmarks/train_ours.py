"""This project's own training step."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import tinyyolo3
from peers.base import FloatArray, Model
from tinyyolo3.darknet.config import read_config
from tinyyolo3.loading import load_parameters
from tinyyolo3.network.build import build_graph
from tinyyolo3.train.cpu import CpuPropagation
from tinyyolo3.train.iteration import iterate_in_place, own_state
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.loss_parts import LossParts
from tinyyolo3.train.options import HeadRules
from tinyyolo3.train.step import read_recipe
from train_base import Trainer, read_gradients, read_pictures

NOTHING = LossParts(0, 0, 0, 0, 0)


def load(folder: Path, threads: int) -> Trainer:
    """Make an iteration whose loss has the given gradient."""
    model = Model(folder, 0)
    graph = build_graph(read_config(model.cfg))
    recipe = read_recipe(graph)
    pictures, gradients = read_pictures(folder), read_gradients(folder)
    propagation = CpuPropagation(recipe, len(pictures), threads)
    state = own_state(load_parameters(graph, model.weights))
    deltas = {index: -gradients[graph.layers[index].inputs[0]] for index in recipe.heads}
    by_shape = {array.shape: array for array in deltas.values()}
    truths = [Truths(np.zeros((0, 4)), np.zeros(0, np.int64))] * len(pictures)

    def given(
        activated: FloatArray, _truths: Sequence[Truths], _rules: HeadRules
    ) -> tuple[FloatArray, LossParts]:
        return by_shape[activated.shape], NOTHING

    def results() -> dict[str, FloatArray]:
        heads = propagation.forward(state.parameters, pictures)
        found = propagation.backward(deltas)
        weights = {f"weights.{index}": -own["weights"] for index, own in found.items()}
        return weights | {f"head.{graph.layers[i].inputs[0]}": x for i, x in heads.items()}

    return Trainer(
        tinyyolo3.__version__,
        lambda: iterate_in_place(recipe, propagation, given, state, pictures, truths),
        results,
    )
