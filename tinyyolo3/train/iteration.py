"""One iteration in place: what `training_step` defines, without a copy of any parameter.

The way there and back is a `Propagation`'s. Deltas are added onto momentum's buffers as
mini-batches bring them, and the update goes through each parameter once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.layers.batchnorm_train import updated_running_moments
from tinyyolo3.network.parameters import Parameters
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.loss import head_deltas_reference
from tinyyolo3.train.loss_parts import LossParts, loss_parts_reference, printed_loss, sum_parts
from tinyyolo3.train.options import HeadRules
from tinyyolo3.train.propagation import BatchMoments, Propagation
from tinyyolo3.train.sgd import update_numba
from tinyyolo3.train.step import Recipe, TrainingState, check_batch, start_training

#: Takes a head's activated map, the truths of its pictures and its rules; returns the deltas, and
#: what they say of the loss.
HeadDeltas: TypeAlias = Callable[
    [FloatArray, Sequence[Truths], HeadRules], tuple[FloatArray, LossParts]
]


@dataclass(frozen=True, eq=False)
class IterationResult:
    """What an iteration gives.

    Attributes:
        state: the one after it; its arrays are those of the state before, changed.
        iteration: the number of the iteration, as the schedule counts it from 1.
        loss: per picture, as Darknet prints it.
        rate: the learning rate it was taken with.
        parts: what the loss is made of, of all heads and all pictures.
    """

    state: TrainingState
    iteration: int
    loss: float
    rate: float
    parts: LossParts


def reference_deltas(
    activated: FloatArray, truths: Sequence[Truths], rules: HeadRules
) -> tuple[FloatArray, LossParts]:
    """Return a head's deltas, and what they say of the loss, by the plain references."""
    deltas = head_deltas_reference(activated, truths, rules)
    return deltas, loss_parts_reference(activated, deltas, truths, rules)


def own_state(parameters: Parameters, seen: int = 0) -> TrainingState:
    """Return the state of a training without momentum, in arrays that nobody else has.

    Args:
        parameters: the network's; they are copied, layer by layer.
        seen: pictures that they were trained on.
    """
    copies = {
        index: {name: np.array(array, order="C") for name, array in own.items()}
        for index, own in parameters.items()
    }
    return start_training(copies, seen)


def iterate_in_place(
    recipe: Recipe,
    propagation: Propagation,
    head_deltas: HeadDeltas,
    state: TrainingState,
    pictures: FloatArray,
    truths: Sequence[Truths],
) -> IterationResult:
    """Do what `training_step` does, changing the arrays of the state.

    Args:
        recipe: the network and its options.
        propagation: for the recipe, of its mini-batch.
        head_deltas: the loss.
        state: where training stands, from `own_state` or an earlier iteration. If the iteration
            is not carried to its end, its arrays are of no more use.
        pictures: as of `training_step`.
        truths: those of each picture.

    Raises:
        InputError: as of `training_step`.
    """
    check_batch(recipe, pictures, truths)
    options = recipe.options
    loss, parts = 0.0, []
    for first in range(0, options.batch, options.mini_batch):
        part = slice(first, first + options.mini_batch)
        activated = propagation.forward(state.parameters, pictures[part])
        found = {
            index: head_deltas(activated[index], truths[part], rules)
            for index, rules in recipe.heads.items()
        }
        deltas = propagation.backward({index: pair[0] for index, pair in found.items()})
        _add_onto(state.buffers, deltas)
        _gather_moments(state.parameters, propagation.moments())
        heads = [pair[1] for pair in found.values()]
        loss += printed_loss(heads)
        parts += heads
    seen = state.seen + options.batch
    iteration = seen // options.batch
    rate = options.schedule.rate(iteration)
    _update(recipe, state, rate)
    return IterationResult(
        replace(state, seen=seen), iteration, loss / options.batch, rate, sum_parts(parts)
    )


def _add_onto(buffers: Parameters, deltas: Parameters) -> None:
    for index, own in deltas.items():
        for name, array in own.items():
            buffers[index][name][...] += array


def _gather_moments(parameters: Parameters, moments: BatchMoments) -> None:
    for index, (batch_mean, batch_variance, count) in moments.items():
        own = parameters[index]
        own["mean"][...], own["variance"][...] = updated_running_moments(
            own["mean"], own["variance"], batch_mean, batch_variance, count
        )


def _update(recipe: Recipe, state: TrainingState, rate: float) -> None:
    for index, own in state.buffers.items():
        if recipe.updates(index):
            for name, total in own.items():
                update_numba(
                    state.parameters[index][name],
                    total,
                    rate=rate * recipe.rate_factors.get(index, 1.0),
                    options=recipe.options,
                    decays=name == "weights",
                )
