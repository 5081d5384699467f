"""``tinyyolo3 detect``: find objects in pictures, print them, write JSON, draw them.

Pictures go through in chunks of ``--batch``, of which two are in memory at a time: one at work, the
next being read. So a million of them take no more memory than two. Each is read on its own: one
that cannot be read is reported, the rest are done, and the exit status is 1.
"""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyyolo3.cli.arguments import (
    add_model_arguments,
    add_running_arguments,
    class_list,
    find_named_model,
    fraction,
    fraction_or_none,
    json_target,
    load_detector,
    positive,
)
from tinyyolo3.cli.inputs import list_pictures
from tinyyolo3.cli.messages import one_line, report
from tinyyolo3.cli.outputs import json_array, plan_drawings, save_drawing
from tinyyolo3.cli.progress import Progress
from tinyyolo3.errors import ImageError

if TYPE_CHECKING:
    from tinyyolo3.arrays import ByteArray
    from tinyyolo3.detections import Detections
    from tinyyolo3.detector import Detector

DESCRIPTION = """\
Find objects in pictures. Prints a line for each, as Darknet does; with --json - prints JSON
alone. A picture that cannot be read is reported and left out, and the exit status is 1. Without a
model, handwritten digits are looked for.
"""
EXAMPLES = """\
examples:
  tinyyolo3 detect page.png
  tinyyolo3 detect street.jpg --cfg yolov3.cfg --weights yolov3.weights --names coco.names
  tinyyolo3 detect photos/ --cfg yolov3.cfg --weights yolov3.weights --names coco.names \\
      --classes person,dog --json found.json --out drawn/
  find . -name '*.jpg' | tinyyolo3 detect - --cfg yolov3.cfg --weights yolov3.weights
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments; those that have a namesake in the Python API mean the same."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="a picture, a folder (with its sub-folders), a pattern, or - for a list on stdin",
    )
    add_model_arguments(parser, default=True)
    _add_selection_arguments(parser.add_argument_group("what to report").add_argument)
    add = parser.add_argument_group("how to run").add_argument
    add_running_arguments(add)
    add(
        "--batch",
        type=positive,
        default=1,
        metavar="N",
        help="pictures at once (default: 1, which is quickest on most CPUs)",
    )
    add = parser.add_argument_group("output").add_argument
    add("--json", type=json_target, metavar="FILE", help="write JSON; - for standard output")
    add("--out", metavar="DIR", help="write pictures with the boxes drawn into this folder")


def _add_selection_arguments(add: Callable[..., object]) -> None:
    add(
        "--threshold",
        type=fraction,
        default=0.25,
        metavar="T",
        help="least confidence (default: 0.25)",
    )
    add(
        "--nms",
        type=fraction_or_none,
        default=0.45,
        metavar="IOU",
        help="suppress boxes that overlap a better one by more; none: report all (default: 0.45)",
    )
    add("--nms-kind", choices=("greedy", "diou"), help="how to suppress (default: as the cfg says)")
    add(
        "--agnostic",
        action=BooleanOptionalAction,
        help="boxes of different classes suppress each other (default: as the cfg says)",
    )
    add("--classes", type=class_list, metavar="A,B", help="report only these names or numbers")
    add("--single-label", action="store_true", help="report each box's best class alone")
    add("--clip", action="store_true", help="cut boxes at the picture's borders")


def run(arguments: Namespace) -> int:
    """Detect as the arguments say, and return the exit status.

    Raises:
        TinyYoloError: the model cannot be loaded, an argument does not suit it, or an output
            cannot be written.
    """
    find_named_model(arguments)
    sources, problems = list_pictures(arguments.images)
    for problem in problems:
        report("error", problem)
    failed = len(problems)
    with ExitStack() as stack:
        drawings = plan_drawings(arguments.out, sources) if arguments.out else None
        append = stack.enter_context(json_array(arguments.json)) if arguments.json else None
        detector = load_detector(arguments)
        options = _detect_options(arguments, detector)
        progress = stack.enter_context(Progress(len(sources)))
        for first, read in _read_ahead(stack, sources, arguments):
            progress.show(first)
            pictures = {i: p for i, p in enumerate(read, first) if not isinstance(p, ImageError)}
            results = detector.detect(list(pictures.values()), **options)
            progress.clear()
            for unread in (p for p in read if isinstance(p, ImageError)):
                report("error", str(unread))
                failed += 1
            for index, result in zip(pictures, results, strict=True):
                found = replace(result, source=sources[index])
                drawing = drawings[index] if drawings else None
                if drawing:
                    save_drawing(found.draw(), drawing)
                if append:
                    append(found.to_dict())
                if arguments.json != "-":
                    print(describe(found, drawing), flush=True)
    return 1 if failed else 0


def _detect_options(arguments: Namespace, detector: "Detector") -> dict[str, Any]:
    return {
        "threshold": arguments.threshold,
        "nms": arguments.nms,
        "resize": arguments.resize,
        "classes": _classes(arguments.classes, detector.names or ()),
        "multi_label": not arguments.single_label,
        "agnostic": arguments.agnostic,
        "nms_kind": arguments.nms_kind,
        "clip": arguments.clip,
        "batch": arguments.batch,
    }


def _classes(entries: Sequence[str] | None, names: Sequence[str]) -> list[int | str] | None:
    """Tell numbers from names: digits are a number, unless a class is called so."""
    if entries is None:
        return None
    return [int(e) if e.isascii() and e.isdigit() and e not in names else e for e in entries]


def _read_ahead(
    stack: ExitStack, sources: Sequence[str], arguments: Namespace
) -> "Iterator[tuple[int, list[ByteArray | ImageError]]]":
    """Yield each chunk's first index and pictures, the next chunk being read meanwhile."""
    from tinyyolo3.image.ahead import read_batches
    from tinyyolo3.image.files import read_image
    from tinyyolo3.parallel import thread_limit

    def read(source: Any) -> "ByteArray | ImageError":
        try:
            return read_image(source, exif_orientation=not arguments.no_exif)
        except ImageError as problem:
            return problem

    stack.enter_context(thread_limit(arguments.threads))
    batches = stack.enter_context(closing(read_batches(sources, read, arguments.batch)))
    return zip(range(0, len(sources), arguments.batch), batches, strict=True)


def describe(found: "Detections", drawing: Path | None = None) -> str:
    """Return a picture's detections as lines of text: ``dog: 94%  box left top right bottom``."""
    count = "1 object" if len(found) == 1 else f"{len(found) or 'no'} objects"
    head = f"{found.source}: {found.width} x {found.height}, {count}"
    lines = [head + (f", drawn in {drawing}" if drawing else "")]
    width = max((len(detection.name) for detection in found), default=0) + 1
    for detection in found:
        corners = "".join(f"{value:9.1f}" for value in detection.xyxy)
        lines.append(f"  {detection.name + ':':<{width}} {detection.confidence:4.0%}  box{corners}")
    return "\n".join(one_line(line) for line in lines)
