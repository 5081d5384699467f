"""One iteration of training: a batch in mini-batches, their deltas added up, and one update.

Source: AlexeyAB's network.c, train_network_waitkey and train_network_datum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.batchnorm_train import updated_running_moments
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import (
    RUNNING_STATISTICS,
    LayerParameters,
    Parameters,
    materialize,
)
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.layer_rules import read_rate_factors, read_stop
from tinyyolo3.train.loss import head_deltas_reference
from tinyyolo3.train.loss_parts import loss_parts_reference, printed_loss
from tinyyolo3.train.options import (
    HeadRules,
    TrainingOptions,
    read_head_rules,
    read_training_options,
)
from tinyyolo3.train.propagate import Trace, backward_training, check_trainable, forward_training
from tinyyolo3.train.sgd import update_reference


@dataclass(frozen=True)
class Recipe:
    """A network and all that decides how it is trained.

    Attributes:
        graph: for one input size.
        options: of the step.
        heads: the rules of each [yolo] head, by its layer's index.
        frozen: layers before this one keep their parameters and running statistics: their batch
            norm normalises by the latter, as when detecting.
        stop: layers before this one get no gradient, but their batch norm goes on normalising by
            the batch's moments, and gathering them.
        rate_factors: what the learning rate of a layer is multiplied by, where that is not 1.
    """

    graph: Graph
    options: TrainingOptions
    heads: Mapping[int, HeadRules]
    frozen: int = 0
    stop: int = 0
    rate_factors: Mapping[int, float] = field(default_factory=dict)

    @property
    def first_reached(self) -> int:
        """The first layer that gradients are carried to."""
        return max(self.frozen, self.stop)

    def updates(self, index: int) -> bool:
        """Return whether a layer's parameters are updated."""
        # DARKNET: the layer that has stopbackward, the last without a gradient, still decays.
        return index >= max(self.frozen, self.stop - 1)


@dataclass(frozen=True, eq=False)
class TrainingState:
    """What an iteration starts from and leaves behind.

    Attributes:
        parameters: the network's, all of one dtype.
        buffers: what momentum keeps of each learnt parameter's updates; shaped as these.
        seen: pictures trained on, as in the header of a ``.weights`` file.
    """

    parameters: Parameters
    buffers: Parameters
    seen: int


@dataclass(frozen=True, eq=False)
class StepResult:
    """What an iteration gives.

    Attributes:
        state: the one after it.
        loss: per picture, the heads' costs meaned, as Darknet prints it (`LossParts.cost`).
        rate: the learning rate it was taken with.
    """

    state: TrainingState
    loss: float
    rate: float


def read_recipe(graph: Graph, preset: str = "darknet", *, frozen: int = 0) -> Recipe:
    """Read how a graph's cfg wants it trained.

    Args:
        graph: the network, of one input size.
        preset: how the heads' deltas are taken, one of `tinyyolo3.train.options.PRESETS`.
        frozen: layers before this one keep their parameters.

    Raises:
        ConfigError: a layer that is not frozen has no backward pass, there is no head, or an option
            is out of range or not supported in training; with its line.
        InputError: the graph has the numbers of another flavour of Darknet than AlexeyAB's, or
            there is no such preset.
    """
    if graph.parity.name != "alexeyab":
        raise InputError(f"training follows parity='alexeyab', not {graph.parity.name!r}")
    check_trainable(graph, frozen=frozen)
    config = graph.config
    return Recipe(
        graph,
        read_training_options(config),
        read_head_rules(graph, preset),
        frozen=frozen,
        stop=read_stop(config),
        rate_factors=read_rate_factors(config),
    )


def start_training(parameters: Parameters, seen: int = 0) -> TrainingState:
    """Return the state of a training that has no momentum yet.

    Args:
        parameters: the network's.
        seen: pictures that they were trained on. A ``.weights`` file keeps no momentum: this is
            also how Darknet goes on with one.
    """
    kept = materialize(parameters)
    buffers = {
        index: {
            name: np.zeros_like(array)
            for name, array in own.items()
            if name not in RUNNING_STATISTICS
        }
        for index, own in kept.items()
    }
    return TrainingState(kept, buffers, seen)


def training_step(
    recipe: Recipe, state: TrainingState, pictures: FloatArray, truths: Sequence[Truths]
) -> StepResult:
    """Train on one batch.

    Args:
        recipe: the network and its options.
        state: where training stands; it stays as it is.
        pictures: (B, C, H, W) of the graph's input shape and the parameters' dtype, values from 0
            to 1, with B the recipe's batch.
        truths: those of each picture.

    Raises:
        InputError: there are not as many pictures or truths as the batch takes, or pictures of
            another shape.
    """
    check_batch(recipe, pictures, truths)
    options = recipe.options
    parameters, deltas, loss = state.parameters, state.buffers, 0.0
    for first in range(0, options.batch, options.mini_batch):
        part = slice(first, first + options.mini_batch)
        traces = forward_training(recipe.graph, parameters, pictures[part], frozen=recipe.frozen)
        of_heads = _head_deltas(recipe, traces, truths[part])
        found = backward_training(
            recipe.graph, parameters, traces, of_heads, first=recipe.first_reached
        )
        # DARKNET: deltas are added onto what momentum kept of the last update.
        deltas = _add(deltas, found)
        loss += printed_loss(
            [
                loss_parts_reference(traces[index].output, of_heads[index], truths[part], rules)
                for index, rules in recipe.heads.items()
            ]
        )
        parameters = _gather_moments(parameters, traces)
    seen = state.seen + options.batch
    # DARKNET: `seen` counts the pictures at hand, so that the first iteration is 1.
    rate = options.schedule.rate(seen // options.batch)
    updated = _update(recipe, parameters, deltas, rate)
    return StepResult(TrainingState(*updated, seen), loss / options.batch, rate)


def check_batch(recipe: Recipe, pictures: FloatArray, truths: Sequence[Truths]) -> None:
    """Check that pictures and truths are one batch of the recipe.

    Raises:
        InputError: they are not.
    """
    batch = recipe.options.batch
    expected = (batch, *recipe.graph.input_shape)
    if pictures.shape != expected or len(truths) != batch:
        raise InputError(
            f"a batch has pictures {expected} and {batch} truths, not {pictures.shape} "
            f"and {len(truths)}"
        )


def _head_deltas(
    recipe: Recipe, traces: Sequence[Trace], truths: Sequence[Truths]
) -> dict[int, FloatArray]:
    return {
        index: head_deltas_reference(traces[index].output, truths, rules)
        for index, rules in recipe.heads.items()
    }


def _add(sums: Parameters, deltas: Parameters) -> Parameters:
    return {
        index: {name: array + deltas[index][name] for name, array in own.items()}
        if index in deltas
        else own
        for index, own in sums.items()
    }


def _gather_moments(parameters: Parameters, traces: Sequence[Trace]) -> Parameters:
    """Return the parameters with the running mean and variance of each batch norm moved on."""
    found: dict[int, LayerParameters] = dict(parameters)
    for index, trace in enumerate(traces):
        if trace.moments is not None:
            own, moments = found[index], trace.moments
            count = moments.normalized[:, 0].size
            mean, variance = updated_running_moments(
                own["mean"], own["variance"], moments.mean, moments.variance, count
            )
            found[index] = {**own, "mean": mean, "variance": variance}
    return found


def _update(
    recipe: Recipe, parameters: Parameters, deltas: Parameters, rate: float
) -> tuple[Parameters, Parameters]:
    """Return the parameters and the buffers after an update of all that is learnt."""
    new_parameters, new_buffers = dict(parameters), dict(deltas)
    for index, own in deltas.items():
        if not recipe.updates(index):
            continue
        pairs = {
            name: update_reference(
                parameters[index][name],
                total,
                rate=rate * recipe.rate_factors.get(index, 1.0),
                options=recipe.options,
                decays=name == "weights",
            )
            for name, total in own.items()
        }
        new_parameters[index] = {**parameters[index], **{n: pair[0] for n, pair in pairs.items()}}
        new_buffers[index] = {name: pair[1] for name, pair in pairs.items()}
    return new_parameters, new_buffers
