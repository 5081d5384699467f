"""A training under way: from one checkpoint to the next, until it ends or is told to stop.

All that goes on from here is in the checkpoint; tables, weights and the plot follow from it. Source
of the order of things: AlexeyAB's detector.c, train_detector.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyyolo3.charts.training import draw_training
from tinyyolo3.darknet.files import PathLike
from tinyyolo3.darknet.weights import Header, write_weights
from tinyyolo3.data.samples import DataSet
from tinyyolo3.errors import TrainingError
from tinyyolo3.network.parameters import find_bad_values, network_slots
from tinyyolo3.train.averaging import average_decay, average_numba
from tinyyolo3.train.backends import Propagations
from tinyyolo3.train.batches import BatchSource
from tinyyolo3.train.beginning import Beginning, saved_parameters
from tinyyolo3.train.checkpoint import write_checkpoint
from tinyyolo3.train.folder import LogRow, TrainingFolder, ValidationRow
from tinyyolo3.train.interrupt import deferred_signals
from tinyyolo3.train.iteration import IterationResult, iterate_in_place
from tinyyolo3.train.settings import TrainingSettings
from tinyyolo3.train.step import Recipe
from tinyyolo3.train.table import open_table, read_table
from tinyyolo3.train.validation import StoppedError, validate


@dataclass(frozen=True, eq=False)
class Plan:
    """What a training needs to know, and never changes.

    Attributes:
        cfg: the network's file, for the detector that is validated.
        recipe: for the cfg's own input size.
        folder: to write.
        settings: of the training.
        source: of batches.
        validation: a labelled set, or None.
        names: the classes, as the training set calls them; None if it has no names.
        draws: whether there will be a plot.
        progress: is told of each iteration, and of the last one's number.
        say: is told, in one line, what a person may want to know.
    """

    cfg: PathLike
    recipe: Recipe
    folder: TrainingFolder
    settings: TrainingSettings
    source: BatchSource
    validation: DataSet | None
    names: tuple[str, ...] | None
    draws: bool
    progress: Callable[[LogRow, int], None]
    say: Callable[[str], None]


class TrainingRun:
    """A training between two iterations, and what is done with it."""

    def __init__(self, plan: Plan, start: Beginning) -> None:
        self._plan = plan
        self._last = start.last
        self._is_new = not start.goes_on
        self._checkpoint = start.checkpoint
        settings = plan.settings
        self._propagations = Propagations(plan.recipe, settings.backend, settings.threads)
        rows = read_table(plan.folder.validations, ValidationRow._fields)
        self._validations = [ValidationRow(*row) for row in rows]

    @property
    def iteration(self) -> int:
        """The last iteration that is done."""
        return self.seen // self._plan.recipe.options.batch

    @property
    def seen(self) -> int:
        """Pictures seen."""
        return self._checkpoint.state.seen

    @property
    def best(self) -> ValidationRow | None:
        """The validation with the highest mAP, the first of equal ones."""
        return max(self._validations, key=lambda row: row.darknet_map, default=None)

    def to_the_end(self) -> None:
        """Train until the last iteration, or until a signal says to stop.

        Raises:
            TrainingError: a number is none any more.
            OutputError: something cannot be written.
        """
        plan, folder = self._plan, self._plan.folder
        if self._is_new:
            self._save()  # now, to see that there is room for it
        with (
            deferred_signals(self._tell_of_stop) as stopped,
            open_table(folder.log, LogRow._fields, iteration=self.iteration) as append,
        ):
            while True:
                if self._validation_is_due() and not stopped():
                    self._validate(stopped)
                if self.iteration >= self._last or stopped():
                    break
                row = self._iterate()
                append(row)
                plan.progress(row, self._last)
                if self._saving_is_due() or stopped():
                    self._save()
            if self.iteration >= self._last:
                self._write_weights("final")
            self._draw()

    def _iterate(self) -> LogRow:
        """Go through an iteration."""
        plan, began = self._plan, time.perf_counter()
        batch = plan.source.batch(self.iteration + 1)
        height, width = batch.pictures.shape[2:]
        recipe, propagation = self._propagations.at((width, height))
        with np.errstate(all="ignore"):  # the loss tells of numbers that are none
            result = iterate_in_place(
                recipe,
                propagation,
                self._propagations.head_deltas,
                self._checkpoint.state,
                batch.pictures,
                batch.truths,
            )
        if not math.isfinite(result.loss):
            self._give_up(result.iteration, f"the loss is {result.loss}")
        self._checkpoint = replace(self._checkpoint, state=result.state)
        self._average()
        seconds = time.perf_counter() - began
        return _log_row(result, recipe, seconds)

    def _average(self) -> None:
        averages, settings = self._checkpoint.averages, self._plan.settings
        if averages is None or settings.ema is None:
            return
        updates = (self.seen - self._checkpoint.first_seen) // self._plan.recipe.options.batch
        decay = average_decay(settings.ema, updates)
        for index, own in self._checkpoint.state.parameters.items():
            for name, array in own.items():
                average_numba(averages[index][name], array, decay)

    def _validation_is_due(self) -> bool:
        every, first = self._plan.settings.validate_every, self._checkpoint.first_seen
        if every is None or self.seen == first:
            return False
        done = any(row.iteration == self.iteration for row in self._validations)
        return not done and (self.iteration % every == 0 or self.iteration == self._last)

    def _saving_is_due(self) -> bool:
        every = self._plan.settings.checkpoint_every
        due = self.iteration % every == 0 or self.iteration == self._last
        return due or self._validation_is_due()  # which may be interrupted

    def _validate(self, stopped: Callable[[], bool]) -> None:
        plan, before = self._plan, self.best
        if plan.validation is None:
            return
        self._write_weights("last")
        try:
            row = validate(
                plan.cfg,
                plan.folder.last,
                plan.validation,
                self.iteration,
                names=plan.names,
                threads=plan.settings.threads,
                stopped=stopped,
            )
        except StoppedError:
            return
        if before is None or row.darknet_map > before.darknet_map:
            self._write_weights("best")
        place, columns = plan.folder.validations, ValidationRow._fields
        with open_table(place, columns, iteration=self.iteration - 1) as append:
            append(row)
        self._validations.append(row)
        plan.say(
            f"iteration {self.iteration}: mAP@0.50 {row.darknet_map:.4f}, "
            f"AP50 {row.average_precision_50:.4f}, AP {row.average_precision:.4f}"
        )
        self._draw()

    def _save(self) -> None:
        """Write a checkpoint, unless it would not be worth going on with."""
        parameters = self._checkpoint.state.parameters
        for index, name, problem in find_bad_values(parameters)[:1]:
            layer = self._plan.recipe.graph.layers[index]
            self._give_up(self.iteration, f"layer {index} [{layer.kind}] {name}: {problem}")
        config = self._plan.recipe.graph.config
        write_checkpoint(self._plan.folder.checkpoint, config, self._checkpoint)
        self._write_weights("last")

    def _write_weights(self, which: str) -> None:
        folder, slots = self._plan.folder, network_slots(self._plan.recipe.graph)
        path = {"last": folder.last, "best": folder.best, "final": folder.final}[which]
        write_weights(path, slots, saved_parameters(self._checkpoint), Header(seen=self.seen))

    def _draw(self) -> None:
        """Draw what the tables say."""
        plan, folder = self._plan, self._plan.folder
        rows = read_table(folder.log, LogRow._fields) if plan.draws else []
        if not rows:
            return
        columns = dict(zip(LogRow._fields, np.array(rows).T, strict=True))
        measured = np.array(self._validations).reshape(-1, len(ValidationRow._fields)).T
        draw_training(
            folder.plot,
            columns["iteration"],
            columns["loss"],
            {name: columns[name] for name in ("box", "objectness", "classes")},
            columns["rate"],
            measured_at=measured[0],
            measures={"mAP@0.50": measured[3], "AP@0.50:0.95": measured[1]},
            title=Path(plan.recipe.graph.config.source).name,
            subtitle=f"iteration {self.iteration} of {self._last}, {self.seen:,} pictures",
        )

    def _give_up(self, iteration: int, reason: str) -> None:
        checkpoint = self._plan.folder.checkpoint
        kept = f"; {checkpoint} stays as it was before" if checkpoint.exists() else ""
        raise TrainingError(
            f"{self._plan.recipe.graph.config.source}: training stopped in iteration {iteration}: "
            f"{reason}{kept}; a lower learning_rate or a longer burn_in may help"
        )

    def _tell_of_stop(self) -> None:
        self._plan.say("stopping after this iteration (again: at once, without a checkpoint)")


def _log_row(result: IterationResult, recipe: Recipe, seconds: float) -> LogRow:
    _, height, width = recipe.graph.input_shape
    # The printed loss is meaned over heads and pictures; so are its parts.
    shares = len(recipe.heads) * recipe.options.batch
    return LogRow(
        iteration=result.iteration,
        seen=result.state.seen,
        rate=result.rate,
        loss=result.loss,
        box=result.parts.box / shares,
        objectness=result.parts.objectness / shares,
        classes=result.parts.classes / shares,
        iou=result.parts.mean_iou,
        width=width,
        height=height,
        images_per_second=recipe.options.batch / seconds,
    )
