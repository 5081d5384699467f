"""``tinyyolo3 data``: look through labelled data (``check``), or change its form (``convert``)."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from typing import TYPE_CHECKING

from tinyyolo3.cli.arguments import add_data_arguments, png_target, positive, size
from tinyyolo3.cli.data_summary import class_table, count_of, describe_summary, size_table
from tinyyolo3.cli.messages import one_line, report
from tinyyolo3.cli.outputs import check_chart
from tinyyolo3.cli.progress import Progress

if TYPE_CHECKING:
    from tinyyolo3.data.check import Finding, FindingKind, Summary
    from tinyyolo3.data.convert import Conversion
    from tinyyolo3.data.samples import Report

DESCRIPTION = """\
Look through labelled data, or change its form. DATA is a Darknet .data file, a list of pictures
(.txt, with --names), a COCO .json file, or a folder of Pascal VOC annotations.
"""
EXAMPLES = """\
examples:
  tinyyolo3 data check coco/annotations/instances_val2017.json --images coco/val2017
  tinyyolo3 data convert VOC2007/ --to coco voc2007.json
"""

_CHECK = """\
Find missing and unreadable pictures, and labels that cannot be right: beyond their picture, not a
number, of an unknown class, without area, twice. Prints each with its file and line or entry, then
boxes per class and their sizes. The exit status is 1 if there are problems.
"""
_CHECK_EXAMPLES = """\
examples:
  tinyyolo3 data check digits.data --split train --decode
  tinyyolo3 data check VOC2007/ --png sizes.png --size 608
"""
_CONVERT = """\
Write labelled data in another form. What that cannot hold (crowds, say, in YOLO's text) is named
in one line. OUT must not be there yet: a file .json for COCO, otherwise a folder.
"""
_CONVERT_EXAMPLES = """\
examples:
  tinyyolo3 data convert coco/annotations/instances_val2017.json --images coco/val2017 \\
      --to darknet val2017/
  tinyyolo3 data convert VOC2007/ --split train --to coco voc2007-train.json
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the two actions and their arguments."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, purpose, description, examples, add, action in (
        ("check", "find what is wrong with it", _CHECK, _CHECK_EXAMPLES, _add_check, _check),
        ("convert", "change its form", _CONVERT, _CONVERT_EXAMPLES, _add_convert, _convert),
    ):
        own = actions.add_parser(
            name,
            help=purpose,
            description=description,
            epilog=examples,
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add(own)
        own.set_defaults(action=action)


def run(arguments: Namespace) -> int:
    """Do what the arguments say and return the exit status.

    Raises:
        TinyYoloError: the data cannot be read at all, or something not be written.
    """
    status: int = arguments.action(arguments)
    return status


def _add_source(parser: ArgumentParser, name: str) -> None:
    parser.add_argument("data", metavar=name, help="what to read")
    add_data_arguments(parser.add_argument, split="valid")


def _add_check(parser: ArgumentParser) -> None:
    _add_source(parser, "DATA")
    add = parser.add_argument
    add("--decode", action="store_true", help="decode every picture, not its header alone")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--limit",
        type=positive,
        default=20,
        metavar="N",
        help="print so many problems of a kind, and count the rest (default: 20)",
    )
    shown.add_argument("--all", action="store_true", help="print all problems")
    add(
        "--size",
        type=size,
        default=(416, 416),
        metavar="WxH",
        help="the network's input, in whose pixels boxes are measured (default: 416)",
    )
    add("--png", type=png_target, metavar="FILE", help="draw the histogram of box sizes")


def _add_convert(parser: ArgumentParser) -> None:
    _add_source(parser, "FROM")
    add = parser.add_argument
    add("--to", required=True, choices=("darknet", "coco", "voc"), help="the new form")
    add("out", metavar="OUT", help="what to write")
    add("--copy", action="store_true", help="copy the pictures; otherwise they are linked")


class _Screen:
    """Prints findings as they come, so many of each kind, under a progress bar."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._found: Counter[FindingKind] = Counter()
        self._progress: Progress | None = None

    def show_finding(self, finding: "Finding") -> None:
        self._found[finding.kind] += 1
        if self._limit is None or self._found[finding.kind] <= self._limit:
            self.clear()
            print(one_line(f"{finding}{' (harmless)' if finding.harmless else ''}"), flush=True)

    def show_progress(self, done: int, total: int) -> None:
        if self._progress is None:
            self._progress = Progress(total)
        self._progress.show(done)

    def clear(self) -> None:
        if self._progress is not None:
            self._progress.clear()

    def show_rest(self) -> None:
        for kind, count in self._found.items():
            if self._limit is not None and count > self._limit:
                print(f"... and {count - self._limit:,} more: {kind}")


def _check(arguments: Namespace) -> int:
    from tinyyolo3.data.check import check_dataset
    from tinyyolo3.data.open import open_dataset
    from tinyyolo3.data.samples import DataSet

    if arguments.png:
        check_chart(arguments.png)

    def open_set(tell: "Report") -> DataSet:
        return open_dataset(
            arguments.data,
            images=arguments.images,
            split=arguments.split,
            names=arguments.names,
            report=tell,
        )

    screen = _Screen(None if arguments.all else arguments.limit)
    try:
        summary = check_dataset(
            open_set,
            screen.show_finding,
            input_px=arguments.size,
            decode=arguments.decode,
            progress=screen.show_progress,
        )
    finally:
        screen.clear()
    screen.show_rest()
    if summary.problems or summary.remarks:
        print()
    lines = [*class_table(summary), "", *size_table(summary), "", *describe_summary(summary)]
    print("\n".join(one_line(line) for line in lines), flush=True)
    if arguments.png:
        _draw_sizes(arguments.png, summary)
    return 1 if summary.problems else 0


def _draw_sizes(path: str, summary: "Summary") -> None:
    from tinyyolo3.charts import draw_box_sizes

    sizes = summary.sizes
    width, height = sizes.input_px
    counted = f"{count_of(sizes.total, 'box', 'boxes')} in {count_of(summary.pictures, 'picture')}"
    draw_box_sizes(
        path,
        sizes.edges_px,
        {"width": sizes.widths, "height": sizes.heights, "√(width × height)": sizes.sides},
        sizes.width_by_height,
        title=f"Box sizes of {summary.dataset.source.name}",
        subtitle=f"{counted}, as a network of {width} × {height} sees them",
    )


def _convert(arguments: Namespace) -> int:
    from tinyyolo3.data.convert import convert_dataset
    from tinyyolo3.data.open import open_dataset

    dataset = open_dataset(
        arguments.data, images=arguments.images, split=arguments.split, names=arguments.names
    )
    with Progress(dataset.count) as progress:
        done = convert_dataset(
            dataset,
            arguments.to,
            arguments.out,
            images=arguments.images,
            split=arguments.split,
            placing="copy" if arguments.copy else "link",
            progress=lambda number, _: progress.show(number),
        )
    _describe_conversion(done)
    return 0


def _describe_conversion(done: "Conversion") -> None:
    counts = f"{count_of(done.pictures, 'picture')}, {count_of(done.boxes, 'box', 'boxes')}"
    print(one_line(f"{done.place}: {counts}"), flush=True)
    if done.not_kept:
        report("warning", f"{done.place}: not kept: {', '.join(done.not_kept)}")
