"""The command itself: its verbs, and how every way of ending turns into one line and a status.

Exit status: 0 all is well; 1 something could not be read, run or written, or `info` found a
disagreement; 2 the command was not understood; 130 interrupted; 141 nobody reads the output any
more; 143 terminated. Errors and warnings go to standard error, one line each.
"""

import gc
import os
import signal
import sys
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, TextIO

import tinyyolo3
from tinyyolo3.cli import (
    adapt,
    anchors,
    data,
    detect,
    evaluate,
    info,
    profile,
    selftest,
    train,
    warmup,
)
from tinyyolo3.cli.messages import report, show_warning
from tinyyolo3.errors import DeviceWarning, InputError, TinyYoloError, WeightsWarning

#: Imports make half a million objects that stay. Python's own thresholds have the collector look
#: through them again and again for garbage: a tenth of the time to the first picture.
COLLECTOR_THRESHOLDS = (100_000, 50, 100)

FAILED, USAGE, INTERRUPTED, BROKEN_PIPE, TERMINATED = 1, 2, 130, 141, 143

EXAMPLES = """\
examples:
  tinyyolo3 detect page.png
  tinyyolo3 detect street.jpg --cfg yolov3.cfg --weights yolov3.weights --names coco.names
  tinyyolo3 info --cfg yolov3.cfg --weights yolov3.weights
"""


class Parser(ArgumentParser):
    """An argument parser whose complaint is one line, like every other error of the command."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint as an `InputError`."""
        raise InputError(f"{message} (see: {self.prog} --help)")


def make_parser() -> ArgumentParser:
    """Return the parser of the whole command line; each verb sets ``run`` to its function."""
    parser = Parser(
        prog="tinyyolo3",
        description="Detect objects with Darknet's YOLOv3 models.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = f"tinyyolo3 {tinyyolo3.__version__}"
    parser.add_argument("--version", action="version", version=version)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    for name, verb, purpose in (
        ("detect", detect, "find objects in pictures"),
        ("info", info, "print a network's layers, and whether its files agree"),
        ("data", data, "check labelled data, or change its form"),
        ("anchors", anchors, "find the anchors that fit a data set"),
        ("adapt", adapt, "make a model for other classes, to be trained"),
        ("train", train, "teach a network, or go on with it"),
        ("evaluate", evaluate, "measure how good a detector is, as COCO and Darknet do"),
        ("warmup", warmup, "compile beforehand what detecting needs"),
        ("profile", profile, "measure where the time of a picture goes"),
        ("selftest", selftest, "check the GPU's kernels on this machine"),
    ):
        own = verbs.add_parser(
            name,
            help=purpose,
            description=verb.DESCRIPTION,
            epilog=verb.EXAMPLES,
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.add_arguments(own)
        own.set_defaults(run=verb.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: the arguments after the program's name; None for this process's own.

    Raises:
        SystemExit: after ``--help`` and ``--version``, with status 0.
    """
    _allow_any_file_name(sys.stdout)
    if argv is None:  # the process is ours, and starts
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
    try:
        with _exit_when_terminated(), warnings.catch_warnings():
            for category in (DeviceWarning, WeightsWarning):
                warnings.simplefilter("always", category)
            warnings.showwarning = show_warning
            parser = make_parser()
            arguments = parser.parse_args(argv)
            status = 0
            if hasattr(arguments, "run"):
                status = arguments.run(arguments)
            else:
                parser.print_help()
            if sys.stdout is not None:
                sys.stdout.flush()
            return status
    except InputError as problem:
        report("error", str(problem))
        return USAGE
    except TinyYoloError as problem:
        report("error", str(problem))
        return FAILED
    except MemoryError:
        report("error", "not enough memory; a smaller --size, or a smaller --batch, needs less")
        return FAILED
    except KeyboardInterrupt:
        report("error", "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as problem:  # a full disk behind standard output, too many open files
        place = problem.filename or "standard output"
        report("error", f"{place}: {problem.strerror or problem}")
        return FAILED
    finally:
        _drop_what_stdout_refuses()


def _allow_any_file_name(stream: TextIO | None) -> None:
    """Let characters that the terminal's encoding lacks be printed as escapes."""
    if stream is not None and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


@contextmanager
def _exit_when_terminated() -> Iterator[None]:
    """Let SIGTERM end the program as an exception, so that unfinished files are removed."""

    def leave(*_: object) -> NoReturn:
        raise SystemExit(TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # only the main thread may ask for this
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _drop_what_stdout_refuses() -> None:
    """Empty standard output's buffer, or Python would try once more at exit, and complain."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
