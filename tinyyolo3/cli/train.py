"""``tinyyolo3 train``: a network learns from labelled pictures, as Darknet's would.

All that goes on from one iteration to the next is in a checkpoint in the output folder, so that a
training that was interrupted, in whatever way, goes on to the same result.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from tinyyolo3.cli.arguments import add_data_arguments, fraction, positive
from tinyyolo3.cli.messages import one_line, report
from tinyyolo3.cli.progress import Progress
from tinyyolo3.errors import InputError, TrainingError

if TYPE_CHECKING:
    from tinyyolo3.data.samples import DataSet
    from tinyyolo3.train.folder import LogRow
    from tinyyolo3.train.settings import TrainingSettings

DESCRIPTION = """\
Teach a network from labelled pictures, as AlexeyAB's darknet detector train does: the cfg says how.
DATA is a Darknet .data file, a list of pictures (.txt, with --names), a COCO .json file, or a
folder of Pascal VOC annotations. It ends in DIR/final.weights. The same command goes on with a
training that was interrupted, to the same result.
"""
EXAMPLES = """\
examples:
  tinyyolo3 train --data obj.data --cfg obj.cfg --weights darknet53.conv.74 --out obj
  tinyyolo3 train --data obj.data --cfg obj.cfg --weights obj.weights --clear --freeze 75 \\
      --iterations 2000 --validate-every 200 --out obj
"""
#: When the first iteration is not done after so many seconds, it is said why that may be.
PATIENCE_S = 8.0
#: Where there is no terminal for a bar, a line is printed whenever so many iterations are done.
LINE_EVERY = 100


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument_group("data").add_argument
    add("--data", required=True, metavar="DATA", help="the labelled pictures to learn from")
    add_data_arguments(add, split="train")
    add(
        "--valid",
        metavar="DATA",
        help="those to validate on (default: the part valid of --data)",
    )
    add = parser.add_argument_group("network").add_argument
    add("--cfg", required=True, metavar="FILE", help="Darknet's .cfg file, with how to train")
    add(
        "--weights",
        metavar="FILE",
        help="what to begin with: a .weights file, or one of the first layers alone, as "
        "darknet53.conv.74 (default: random numbers)",
    )
    add("--cutoff", type=positive, metavar="N", help="take only the layers before N from it")
    add("--clear", action="store_true", help="count iterations from 0, whatever it has seen")
    _add_training_arguments(parser.add_argument_group("how to train").add_argument)
    add = parser.add_argument_group("output").add_argument
    add("--out", required=True, metavar="DIR", help="folder to write, or to go on with")
    add("--resume", action="store_true", help="go on, or fail if there is nothing to go on with")
    add(
        "--checkpoint-every",
        type=positive,
        default=100,
        metavar="N",
        help="iterations from one checkpoint to the next (default: 100)",
    )
    add(
        "--validate-every",
        type=positive,
        metavar="N",
        help="iterations from one validation to the next (default: none)",
    )


def _add_training_arguments(add: Callable[..., object]) -> None:
    add("--iterations", type=positive, metavar="N", help="(default: up to the cfg's max_batches)")
    add("--freeze", type=whole, default=0, metavar="N", help="layers before N stay as they are")
    add(
        "--ema",
        type=decay,
        metavar="D",
        help="save a moving average that keeps D of itself in each iteration, such as 0.998",
    )
    add("--seed", type=whole, default=0, metavar="N", help="of all that is random (default: 0)")
    add(
        "--loss",
        choices=("darknet", "gradient", "paper"),
        default="darknet",
        help="Darknet's own steps, the gradients of the loss that it stands for, or these with the "
        "paper's weights of 5 and 0.5 (default: darknet)",
    )
    add("--backend", choices=("cpu", "reference"), default="cpu", help="reference: plain NumPy")
    add("--threads", type=positive, metavar="N", help="CPU threads (default: all)")
    add("--workers", type=whole, metavar="N", help="processes for pictures (default: one a core)")


def whole(text: str) -> int:
    """Return a whole number of at least 0."""
    return 0 if text == "0" else positive(text)


def decay(text: str) -> float:
    """Return a number between 0 and 1."""
    value = fraction(text)
    if value in (0, 1):
        raise ArgumentTypeError(f"expected a number between 0 and 1, found {text!r}")
    return value


def run(arguments: Namespace) -> int:
    """Train as the arguments say, and return the exit status.

    Raises:
        TinyYoloError: something cannot be used or written, or the training cannot go on.
    """
    from tinyyolo3.data.open import open_dataset
    from tinyyolo3.train.folder import TrainingFolder
    from tinyyolo3.train.loop import train

    folder = TrainingFolder(Path(arguments.out))
    if arguments.resume and not folder.checkpoint.exists():
        raise TrainingError(f"{folder.checkpoint}: no such file, so there is nothing to go on with")
    if arguments.valid and not arguments.validate_every:
        raise InputError("--valid needs --validate-every N")
    data = open_dataset(
        arguments.data, images=arguments.images, split=arguments.split, names=arguments.names
    )
    told = _Told()
    with told, _keeping_what_is_done(folder.checkpoint, told):
        result = train(
            arguments.cfg,
            data,
            folder.path,
            weights=arguments.weights,
            settings=_settings(arguments),
            validation=_open_validation(arguments) if arguments.validate_every else None,
            progress=told.progress,
            say=told.say,
        )
    _print(f"written: {result.weights}, after iteration {result.iteration}")
    if result.validation is not None:
        best = result.validation
        _print(
            f"best: {folder.best}, of iteration {best.iteration:.0f}: "
            f"mAP@0.50 {best.darknet_map:.4f}"
        )
    return 0


def _settings(arguments: Namespace) -> "TrainingSettings":
    from dataclasses import fields

    from tinyyolo3.train.settings import TrainingSettings

    names = {field.name for field in fields(TrainingSettings)}
    return TrainingSettings(**{n: value for n, value in vars(arguments).items() if n in names})


def _open_validation(arguments: Namespace) -> "DataSet":
    from tinyyolo3.data.open import open_dataset

    place = arguments.valid or arguments.data
    if not arguments.valid and place.lower().endswith((".json", ".txt")):
        raise InputError(f"{place} has no part to validate on: --valid DATA names another set")
    images = None if arguments.valid else arguments.images
    is_list = place.lower().endswith(".txt")
    return open_dataset(
        place, images=images, split="valid", names=arguments.names if is_list else None
    )


class _Told:
    """What is told of a training: a bar on a terminal, lines otherwise."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._first = Timer(PATIENCE_S, self._explain_wait)
        self._first.daemon = True

    def __enter__(self) -> "_Told":
        self._first.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._first.cancel()
        self.clear()

    def clear(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.clear()

    def say(self, text: str) -> None:
        """Print a line."""
        self.clear()
        _print(text)

    def progress(self, row: "LogRow", last: int) -> None:
        """Tell of an iteration."""
        self._first.cancel()
        iteration = int(row.iteration)
        note = (
            f"loss {row.loss:.4g} (box {row.box:.3g}, objectness {row.objectness:.3g}, classes "
            f"{row.classes:.3g})"
        )
        if self._bar is None:
            pictures = round(row.seen / row.iteration)
            self._bar = Progress(last, pictures=pictures)
        self._bar.show(iteration, note)
        if not self._bar.wanted and (iteration % LINE_EVERY == 0 or iteration == last):
            speed = f"{row.images_per_second:.1f} pictures/s"
            _print(f"iteration {iteration} of {last}: {note}, rate {row.rate:.4g}, {speed}")

    def _explain_wait(self) -> None:
        self.say("the first iteration takes a minute where nothing is compiled yet")


@contextmanager
def _keeping_what_is_done(checkpoint: Path, told: _Told) -> Iterator[None]:
    """Say, when a training is interrupted, that nothing is lost; and what needs less memory."""
    try:
        yield
    except MemoryError:
        raise TrainingError(
            "not enough memory; a larger subdivisions=, or smaller width= and height=, need less"
        ) from None
    except (KeyboardInterrupt, SystemExit):
        told.clear()
        if checkpoint.exists():
            report("warning", f"{checkpoint} keeps what is done; the same command goes on from it")
        raise


def _print(line: str) -> None:
    print(one_line(line), flush=True)
