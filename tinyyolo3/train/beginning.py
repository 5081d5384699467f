"""Where a training begins: with weights or random numbers, or where a checkpoint says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.darknet.files import PathLike
from tinyyolo3.errors import InputError
from tinyyolo3.network.parameters import Parameters
from tinyyolo3.train.checkpoint import Checkpoint, read_checkpoint
from tinyyolo3.train.folder import TrainingFolder
from tinyyolo3.train.initial import Start, read_start
from tinyyolo3.train.iteration import own_state
from tinyyolo3.train.settings import TrainingSettings
from tinyyolo3.train.step import Recipe


@dataclass(frozen=True, eq=False)
class Beginning:
    """Where a training begins or goes on.

    Attributes:
        checkpoint: parameters, momentum and the rest.
        last: the iteration at which it ends.
        goes_on: whether it has begun before.
        notes: what may be worth knowing, in a line each.
    """

    checkpoint: Checkpoint
    last: int
    goes_on: bool
    notes: tuple[str, ...]


def begin(
    recipe: Recipe,
    folder: TrainingFolder,
    weights: PathLike | None,
    settings: TrainingSettings,
    identity: Mapping[str, Any],
) -> Beginning:
    """Find out where to begin.

    Args:
        recipe: what is to be trained.
        folder: its checkpoint, if there is one, is gone on with.
        weights: what it begins with otherwise; None for random numbers.
        settings: of the training.
        identity: what may not change until it ends, as JSON has it.

    Raises:
        WeightsError: the weights or the checkpoint cannot be used.
        InputError: there is nothing left to train.
    """
    batch = recipe.options.batch
    goes_on = folder.checkpoint.exists()
    if goes_on:
        checkpoint = read_checkpoint(folder.checkpoint, recipe.graph, identity)
        notes: tuple[str, ...] = (f"going on after iteration {checkpoint.state.seen // batch}",)
    else:
        start = read_start(recipe.graph, weights, seed=settings.seed, cutoff=settings.cutoff)
        seen = 0 if settings.clear else start.seen
        averages = None if settings.ema is None else copy_parameters(start.parameters)
        checkpoint = Checkpoint(own_state(start.parameters, seen), averages, seen, identity)
        notes = _describe_start(recipe, weights, start, settings)
    last = _last_iteration(recipe, checkpoint, settings, goes_on=goes_on)
    return Beginning(checkpoint, last, goes_on, notes)


def copy_parameters(parameters: Parameters) -> Parameters:
    """Return parameters in arrays of their own."""
    return {
        index: {name: np.array(array, order="C") for name, array in own.items()}
        for index, own in parameters.items()
    }


def _last_iteration(
    recipe: Recipe, checkpoint: Checkpoint, settings: TrainingSettings, *, goes_on: bool
) -> int:
    batch, net = recipe.options.batch, recipe.graph.config.net
    if settings.iterations is not None:
        return checkpoint.first_seen // batch + settings.iterations
    last = recipe.options.schedule.max_batches
    if not last:
        raise InputError(f"{net.source}:{net.line} [net] has no max_batches=; give iterations")
    done = checkpoint.state.seen // batch
    if done >= last and not goes_on:
        raise InputError(
            f"the weights have seen {checkpoint.state.seen:,} pictures, {done} iterations, and "
            f"max_batches={last} ends there; clear begins to count anew, or give iterations"
        )
    return last


def _describe_start(
    recipe: Recipe, weights: PathLike | None, start: Start, settings: TrainingSettings
) -> tuple[str, ...]:
    if weights is None:
        frozen = f"; the {settings.freeze} frozen layers stay so" if settings.freeze else ""
        return (f"beginning with random weights, seed {settings.seed}{frozen}",)
    total = len(start.parameters)
    notes = [f"{weights}: {len(start.taken)} of {total} layers with parameters taken"]
    if start.missing:
        notes[0] += f"; from layer {start.missing[0]} on they are random"
    if start.seen and not settings.clear:
        iterations = start.seen // recipe.options.batch
        notes.append(f"going on after iteration {iterations}, as {weights} says")
    return tuple(notes)


def saved_parameters(checkpoint: Checkpoint) -> Mapping[int, Mapping[str, FloatArray]]:
    """Return what becomes weights: the averages, or the parameters where there are none."""
    if checkpoint.averages is not None:
        return checkpoint.averages
    return checkpoint.state.parameters
