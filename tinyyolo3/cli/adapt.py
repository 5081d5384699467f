"""``tinyyolo3 adapt``: a model for other classes, ready to be trained."""

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from tinyyolo3.cli.arguments import add_model_arguments, find_named_model
from tinyyolo3.cli.data_summary import count_of
from tinyyolo3.cli.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinyyolo3.train.adapt import AdaptedModel

DESCRIPTION = """\
Write a model for other classes, ready to be trained: the cfg with other classes, filters and, if
given, anchors; the weights with all that a trained model knows but its classes. NAMES has the new
classes, one a line; those that the model has under the same name it goes on knowing. Without
weights only the cfg is written, to train it from random numbers.
"""
EXAMPLES = """\
examples:
  tinyyolo3 adapt shapes.names --out shapes
  tinyyolo3 adapt obj.names --model yolov3.cfg --out obj --net batch=16 --net subdivisions=4
  tinyyolo3 adapt obj.names --cfg yolov3-tiny.cfg --anchors "10,14, 23,27, 37,58, 81,82, \\
      135,169, 344,319" --out obj
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("classes", metavar="NAMES", help="the new classes' names, one a line")
    add_model_arguments(parser, default=True)
    add = parser.add_argument_group("changes").add_argument
    add(
        "--anchors",
        type=anchors,
        metavar="W,H,...",
        help="other anchors, as tinyyolo3 anchors prints them (default: the cfg's)",
    )
    add(
        "--net",
        action="append",
        default=[],
        type=option,
        metavar="NAME=VALUE",
        help="set an option of [net], such as batch=16; again for more of them",
    )
    add = parser.add_argument_group("output").add_argument
    add("--out", required=True, metavar="STEM", help="write STEM.cfg, STEM.weights, STEM.names")


def anchors(text: str) -> list[tuple[float, float]]:
    """Return the pairs of ``10,13,  16,30``, with or without ``anchors =`` before them."""
    words = text.rpartition("=")[2].split(",")
    try:
        sides = [float(word) for word in words]
    except ValueError:
        sides = []
    if not sides or len(sides) % 2 or not all(0 < side < math.inf for side in sides):
        raise ArgumentTypeError(f"expected widths and heights with commas between, found {text!r}")
    return list(zip(sides[::2], sides[1::2], strict=True))


def option(text: str) -> tuple[str, str]:
    """Return name and value of ``batch=16``."""
    name, _, value = text.partition("=")
    if not name.strip() or not value.strip() or len(text.splitlines()) > 1 or text[0] in "[#;":
        raise ArgumentTypeError(f"expected an option as batch=16, found {text!r}")
    return name.strip(), value.strip()


def run(arguments: Namespace) -> int:
    """Write the adapted model, say what became of its layers, and return the exit status.

    Raises:
        TinyYoloError: the model or the names cannot be used, or an output not written.
    """
    import numpy as np

    from tinyyolo3.darknet.names import read_names
    from tinyyolo3.train.adapt import adapt_model

    find_named_model(arguments, weights_needed=False)
    net = dict(arguments.net)
    if arguments.size:
        net |= {"width": str(arguments.size[0]), "height": str(arguments.size[1])}
    classes = read_names(arguments.classes)
    adapted = adapt_model(
        arguments.out,
        classes,
        arguments.cfg,
        arguments.weights,
        known=arguments.names and read_names(arguments.names),
        anchors_px=None if arguments.anchors is None else np.array(arguments.anchors),
        net=net,
    )
    print("\n".join(one_line(line) for line in describe(adapted, classes)), flush=True)
    return 0


def describe(adapted: "AdaptedModel", classes: "Sequence[str]") -> list[str]:
    """Return what was written, and what became of the layers, as lines of text."""
    _, height, width = adapted.graph.input_shape
    number = count_of(len(classes), "class", "classes")
    lines = [f"{adapted.cfg}: {number}, input {width} x {height}"]
    if adapted.parameters is not None:
        kept = count_of(len(adapted.parameters.kept), "layer")
        heads = count_of(len(adapted.parameters.heads), "head")
        stay = [classes[index] for index in adapted.same_classes]
        lines.append(
            f"{adapted.weights}: {kept} as trained; of {heads} the boxes, the objectness and "
            f"{', '.join(stay) or 'no class'}"
        )
    return [*lines, f"{adapted.names}: {', '.join(classes)}"]
