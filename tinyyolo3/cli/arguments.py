"""Arguments that verbs share, the model that they name, and the types of their values.

A type turns an argument's text into a value, or says in one line what it expected.
"""

import math
import os
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import tinyyolo3
from tinyyolo3.cli.inputs import PICTURE_SUFFIXES
from tinyyolo3.cli.messages import report
from tinyyolo3.errors import InputError

if TYPE_CHECKING:
    from tinyyolo3.detector import Detector
    from tinyyolo3.models import ModelFiles

#: The precisions in which a network can be computed, and what help says of them.
CPU_PRECISIONS = {"fp32": "", "bf16": "bf16, on a CPU: quicker, confidences off by up to 0.02"}
GPU_PRECISIONS = {
    "fp16": "fp16, on a GPU: for speed, confidences off by up to 0.02",
    "tf32": "tf32, on a GPU: in between, for networks whose numbers are too large for fp16",
}

#: An argument by these names is a model or a picture that `--json` would overwrite.
_NEVER_JSON = frozenset({*PICTURE_SUFFIXES, ".cfg", ".weights", ".names"})


def add_model_arguments(parser: ArgumentParser, *, default: bool) -> None:
    """Add ``--cfg``, ``--weights``, ``--model``, ``--names`` and ``--size``.

    Args:
        parser: whose arguments they become.
        default: whether to say of ``--model`` what it is where no model is named.
    """
    group = parser.add_argument_group("model")
    group.add_argument("--cfg", metavar="FILE", help="Darknet's .cfg file")
    group.add_argument("--weights", metavar="FILE", help="Darknet's .weights file")
    group.add_argument(
        "--model",
        metavar="NAME",
        help="instead of both: digits, which comes with tinyyolo3; or a .cfg file with .weights "
        f"(and .names, if any) of its name beside it{' (default: digits)' if default else ''}",
    )
    group.add_argument("--names", metavar="FILE", help="the classes' names, one a line")
    group.add_argument(
        "--size",
        type=size,
        metavar="WxH",
        help="the network's input in pixels, as 416x320 or 416 (default: the cfg's)",
    )


def add_data_arguments(add: Callable[..., object], *, split: str, names: bool = True) -> None:
    """Add ``--images``, ``--split`` and ``--names``: what tells how labelled data is read.

    Args:
        add: the ``add_argument`` of a parser or of a group.
        split: the part that is read by default.
        names: whether to add ``--names``; a model has an argument of that name, too.
    """
    add("--images", metavar="DIR", help="the pictures' folder, for COCO and Pascal VOC")
    if names:
        add("--names", metavar="FILE", help="the classes' names, one a line; COCO has its own")
    add(
        "--split",
        choices=("train", "valid"),
        default=split,
        help=f"which part, of .data files and Pascal VOC (default: {split})",
    )


def add_running_arguments(add: Callable[..., object]) -> None:
    """Add what decides how a picture is fitted to the network, and how the network runs.

    Args:
        add: the ``add_argument`` of a parser or of a group.
    """
    add(
        "--resize",
        choices=("letterbox", "stretch"),
        default="letterbox",
        help="fit the picture into the network's input (default: letterbox)",
    )
    add("--no-exif", action="store_true", help="do not turn photographs upright")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    add("--backend", choices=("cpu", "reference"), help="reference: plain NumPy, for study")
    add("--threads", type=positive, metavar="N", help="CPU threads (default: all)")
    add_engine_arguments(add, CPU_PRECISIONS | GPU_PRECISIONS)
    add(
        "--parity",
        choices=("alexeyab", "pjreddie", "opencv"),
        default="alexeyab",
        help="whose numbers to follow where builds of Darknet differ (default: alexeyab)",
    )


def add_engine_arguments(
    add: Callable[..., object], precisions: Mapping[str, str] = CPU_PRECISIONS
) -> None:
    """Add what decides how the network is planned.

    Args:
        add: the ``add_argument`` of a parser or of a group.
        precisions: those to choose from, and what to say of each.
    """
    add(
        "--precision",
        choices=tuple(precisions),
        default="fp32",
        help=f"{'; '.join(filter(None, precisions.values()))} (default: fp32)",
    )
    add(
        "--memory",
        choices=("default", "low"),
        default="default",
        help="low: packed weights of less than half the size, slower (default: default)",
    )


def find_named_model(arguments: Namespace, *, weights_needed: bool = True) -> None:
    """Put the files of the model that the arguments name into --cfg, --weights and --names.

    Where they name none, it is the default model, and a line says so.

    Args:
        arguments: of a verb with `add_model_arguments`.
        weights_needed: whether a cfg must have weights.

    Raises:
        InputError: there is half a model, two, or one that nobody knows.
    """
    if arguments.cfg or arguments.weights:
        if arguments.model:
            raise InputError("expected --model, or --cfg with --weights, not both")
        if not arguments.cfg or (weights_needed and not arguments.weights):
            raise InputError("--cfg and --weights belong together")
        return
    from tinyyolo3.models import BUNDLED, DEFAULT, bundled_model

    if not arguments.model:
        report("note", f"no model is named, so {DEFAULT}; --cfg and --weights name another")
    name = arguments.model or DEFAULT
    files = bundled_model(name) if name in BUNDLED else _find_beside(name)
    arguments.cfg, arguments.weights = str(files.cfg), str(files.weights)
    if arguments.names is None and files.names is not None:
        arguments.names = str(files.names)


def _find_beside(name: str) -> "ModelFiles":
    """Take NAME, NAME.cfg or NAME.weights for a cfg and weights of that name, and names if any.

    Raises:
        InputError: nothing has such a name.
    """
    from tinyyolo3.models import ModelFiles, explain_unknown, is_plain_name

    stem = name
    for suffix in (".cfg", ".weights"):
        stem = stem.removesuffix(suffix)
    if is_plain_name(name) and not os.path.exists(f"{name}.cfg"):
        raise InputError(explain_unknown(name))
    names = f"{stem}.names"
    return ModelFiles(f"{stem}.cfg", f"{stem}.weights", names if os.path.isfile(names) else None)


def load_detector(arguments: Namespace) -> "Detector":
    """Load the model that the arguments name, to run as they say.

    Raises:
        TinyYoloError: it cannot be loaded.
    """
    return tinyyolo3.load(
        arguments.cfg,
        arguments.weights,
        names=arguments.names,
        device=arguments.device,
        backend=arguments.backend,
        size=arguments.size,
        threads=arguments.threads,
        parity=arguments.parity,
        memory=arguments.memory,
        precision=arguments.precision,
    )


def fraction(text: str) -> float:
    """Return a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:  # NaN is not
        raise ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value


def fraction_or_none(text: str) -> float | None:
    """Return a number from 0 to 1, or None for ``none``."""
    if text.lower() == "none":
        return None
    try:
        return fraction(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"expected a number from 0 to 1 or none, found {text!r}") from None


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """Return (width, height) from ``416x320``, or from ``416`` for a square."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})(?:[xX×]([1-9][0-9]{0,5}))?", text)
    if match is None:
        raise ArgumentTypeError(f"expected pixels as 416x320 or 416, found {text!r}")
    width, height = match[1], match[2] or match[1]
    return int(width), int(height)


def class_list(text: str) -> tuple[str, ...]:
    """Return the entries of a list with commas; names cannot be told from numbers yet."""
    entries = tuple(entry.strip() for entry in text.split(","))
    if not all(entries):
        raise ArgumentTypeError(f"expected names or numbers with commas between, found {text!r}")
    return entries


def png_target(text: str) -> str:
    """Return where a chart goes; refuse what is plainly something else named by mistake."""
    if Path(text).suffix.lower() != ".png":
        raise ArgumentTypeError(f"expected a file to write with the ending .png, found {text!r}")
    return text


def json_target(text: str) -> str:
    """Return where JSON goes; refuse what is plainly a picture or a model named by mistake."""
    if not text or Path(text).suffix.lower() in _NEVER_JSON:
        raise ArgumentTypeError(f"expected a file to write JSON to, or -, found {text!r}")
    return text
