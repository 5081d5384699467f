"""Training from files: what the command ``tinyyolo3 train`` and the examples call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyyolo3.charts.canvas import require_matplotlib
from tinyyolo3.darknet.config import read_config
from tinyyolo3.darknet.files import PathLike
from tinyyolo3.data.samples import DataSet
from tinyyolo3.errors import DataError, InputError, OutputError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.parallel import thread_limit
from tinyyolo3.train.batches import BatchSource, open_batches
from tinyyolo3.train.beginning import begin
from tinyyolo3.train.folder import LogRow, TrainingFolder, ValidationRow, held_folder
from tinyyolo3.train.gathering import gather_samples
from tinyyolo3.train.run import Plan, TrainingRun
from tinyyolo3.train.settings import TrainingSettings, check_settings
from tinyyolo3.train.step import read_recipe

#: Is told of each iteration, and of the last one's number.
Progress = Callable[[LogRow, int], None]
#: Is told, in one line, what a person may want to know.
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingResult:
    """What a training gives.

    Attributes:
        iteration: the last one.
        seen: pictures seen, as in the header of the weights.
        weights: the file of the trained weights.
        validation: the best validation, or None.
    """

    iteration: int
    seen: int
    weights: Path
    validation: ValidationRow | None


def train(
    cfg: PathLike,
    data: DataSet | BatchSource,
    out: PathLike,
    *,
    weights: PathLike | None = None,
    settings: TrainingSettings | None = None,
    validation: DataSet | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> TrainingResult:
    """Train a network, or go on with a training that was interrupted.

    Ctrl-C and a termination let the iteration end and write a checkpoint before they do what they
    always do; a second one acts at once.

    Args:
        cfg: the network, with how to train it.
        data: what to learn from: a labelled set, or anything that gives batches.
        out: the folder to write, see `TrainingFolder`. A checkpoint there is gone on with.
        weights: a ``.weights`` file to begin with, whole or the first layers of one; None for
            random numbers.
        settings: see `TrainingSettings`.
        validation: a labelled set to measure on, every ``settings.validate_every`` iterations.
        progress: is called after each iteration.
        say: is called with what a person may want to know.

    Raises:
        TrainingError: the loss is no number any more, or another training writes to the folder;
            the last checkpoint stays.
        TinyYoloError: something cannot be used or written.
    """
    settings = settings or TrainingSettings()
    graph = build_graph(read_config(cfg))
    check_settings(settings, graph)
    if settings.validate_every is not None and validation is None:
        raise InputError("validate_every needs a set for validation")
    recipe = read_recipe(graph, settings.loss, frozen=settings.freeze)
    folder = TrainingFolder(Path(out))
    say = say or (lambda _: None)
    identity: dict[str, Any] = dict(settings.identity())
    with (
        thread_limit(settings.threads),
        _open_source(graph, data, settings, identity, say) as source,
        held_folder(folder),
    ):
        start = begin(recipe, folder, weights, settings, identity)
        for note in start.notes:
            say(note)
        plan = Plan(
            cfg=cfg,
            recipe=recipe,
            folder=folder,
            settings=settings,
            source=source,
            validation=validation,
            names=data.names if isinstance(data, DataSet) else None,
            draws=_can_draw(folder, say),
            progress=progress or (lambda *_: None),
            say=say,
        )
        run = TrainingRun(plan, start)
        run.to_the_end()
        return TrainingResult(run.iteration, run.seen, folder.final, run.best)


def _can_draw(folder: TrainingFolder, say: Say) -> bool:
    try:
        require_matplotlib(folder.plot)
    except OutputError as problem:
        say(f"{problem}; going on without a plot")
        return False
    return True


@contextmanager
def _open_source(
    graph: Graph,
    data: DataSet | BatchSource,
    settings: TrainingSettings,
    identity: dict[str, Any],
    say: Say,
) -> Iterator[BatchSource]:
    """Open the batches of a set, and add to the identity what decides them."""
    if not isinstance(data, DataSet):
        yield data
        return
    classes = graph.heads[0].classes
    if len(data.names) != classes:
        head = graph.config.layers[graph.heads[0].index]
        raise DataError(
            f"{data.source}: has {len(data.names)} classes, but {head.source}:{head.line} "
            f"[{head.kind}] has classes={classes}"
        )
    gathered = gather_samples(data, classes)
    for note in gathered.notes:
        say(f"{data.source}: {note}")
    identity["pictures"] = len(gathered.samples)
    with open_batches(
        graph, gathered.samples, seed=settings.seed, workers=settings.workers
    ) as source:
        yield source
