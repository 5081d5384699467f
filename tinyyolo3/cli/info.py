"""``tinyyolo3 info``: a network's layers, its totals, and whether its files agree.

The table is Darknet's own at start-up (a line per layer, shapes as width x height x channels),
with parameters and operations counted: 2 FLOP per multiply-add, as in Darknet's BFLOPs.
"""

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from tinyyolo3.cli.arguments import add_model_arguments
from tinyyolo3.cli.messages import one_line, report
from tinyyolo3.errors import TinyYoloError

if TYPE_CHECKING:
    from tinyyolo3.layers.shapes import Shape
    from tinyyolo3.network.graph import Graph
    from tinyyolo3.network.summary import LayerSummary, Summary

DESCRIPTION = """\
Print a network's layers and totals, and whether weights and names belong to it. Where one does
not, everything else is printed still, and the exit status is 1.
"""
EXAMPLES = """\
examples:
  tinyyolo3 info --cfg yolov3.cfg
  tinyyolo3 info --cfg yolov3.cfg --weights yolov3.weights --names coco.names --size 608
"""

#: Column heads; those of numbers stand at the right.
HEADS = ("layer", "type", "filters", "size/stride", "input", "output", "parameters", "GFLOP")
RIGHT = frozenset({"layer", "filters", "parameters", "GFLOP"})


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_model_arguments(parser, weights_required=False)


def run(arguments: Namespace) -> int:
    """Print what the arguments ask for, and return the exit status.

    Raises:
        TinyYoloError: the cfg itself cannot be used.
    """
    from tinyyolo3.darknet.config import read_config
    from tinyyolo3.network.build import build_graph
    from tinyyolo3.network.summary import summarize

    width, height = arguments.size or (None, None)
    graph = build_graph(read_config(arguments.cfg), width=width, height=height)
    summary = summarize(graph)
    lines = [*layer_table(summary, _arrow()), "", *describe_totals(graph, summary), ""]
    _print_lines([*lines, f"cfg      ok     {arguments.cfg}"])
    status = 0
    for what, path, check in (
        ("weights", arguments.weights, check_weights),
        ("names", arguments.names, check_class_names),
    ):
        if path is None:
            continue
        try:
            _print_lines([f"{what:<8} ok     {path}: {check(graph, path)}"])
        except TinyYoloError as problem:
            _print_lines([f"{what:<8} WRONG  {path}"])
            report("error", str(problem))
            status = 1
    return status


def layer_table(summary: "Summary", arrow: str = "→") -> list[str]:
    """Return the table's lines: the heads, then a row per layer, in aligned columns."""
    inputs = _shape_column([row.input_shape for row in summary.rows])
    outputs = _shape_column([row.output_shape for row in summary.rows])
    cells = [
        _cells(row, input_text, output_text)
        for row, input_text, output_text in zip(summary.rows, inputs, outputs, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(HEADS, *cells, strict=True)]
    return [_align(HEADS, widths, " " * len(arrow))] + [_align(row, widths, arrow) for row in cells]


def _cells(row: "LayerSummary", input_text: str, output_text: str) -> tuple[str, ...]:
    return (
        str(row.index),
        row.kind,
        "" if row.filters is None else f"{row.filters:,}",
        row.size_stride,
        input_text,
        output_text,
        f"{row.parameters:,}" if row.parameters else "",
        f"{row.flop / 1e9:.3f}" if row.flop else "",
    )


def _shape_column(shapes: "list[Shape]") -> list[str]:
    """Return shapes as Darknet prints them, ``416 x 416 x   3``, their numbers aligned."""
    whc = [(width, height, channels) for channels, height, width in shapes]
    widths = [max(len(str(side)) for side in sides) for sides in zip(*whc, strict=True)]
    return [
        " x ".join(f"{side:{width}}" for side, width in zip(sides, widths, strict=True))
        for sides in whc
    ]


def _align(cells: tuple[str, ...], widths: list[int], arrow: str) -> str:
    aligned = [
        f"{cell:>{width}}" if head in RIGHT else f"{cell:<{width}}"
        for head, cell, width in zip(HEADS, cells, widths, strict=True)
    ]
    shapes = f"{aligned[4]} {arrow} {aligned[5]}"
    return "  ".join([*aligned[:4], shapes, *aligned[6:]]).rstrip()


def describe_totals(graph: "Graph", summary: "Summary") -> list[str]:
    """Return the lines under the table."""
    channels, height, width = graph.input_shape
    lines = [
        f"{len(summary.rows)} layers, input {width} x {height} x {channels}",
        f"{summary.parameters:,} parameters: {summary.trainable:,} trainable, "
        f"{summary.statistics:,} running statistics",
        f"{summary.flop / 1e9:,.2f} GFLOP for one picture",
    ]
    if graph.heads:
        heads = "1 head" if len(graph.heads) == 1 else f"{len(graph.heads)} heads"
        classes = graph.heads[0].classes
        lines.append(
            f"{summary.boxes:,} boxes from {heads}, {classes:,} "
            f"{'class' if classes == 1 else 'classes'}"
        )
    else:
        lines.append("no boxes: it is a classifier")
    return lines


def check_weights(graph: "Graph", path: str) -> str:
    """Read the weights against the network and return what their header says.

    Numbers that cannot be right (NaN, infinity) are reported as warnings.

    Raises:
        WeightsError: the file does not fit the network.
    """
    from tinyyolo3.darknet.weights import read_weights
    from tinyyolo3.network.parameters import find_bad_values, network_slots

    slots = network_slots(graph)
    header, parameters = read_weights(path, slots)
    for index, name, problem in find_bad_values(parameters):
        report("warning", f"{path}: layer {index} [{graph.layers[index].kind}] {name}: {problem}")
    version = f"{header.major}.{header.minor}.{header.revision}"
    floats = sum(slot.count for slot in slots)
    return f"{floats:,} floats, version {version}, {header.seen:,} pictures seen"


def check_class_names(graph: "Graph", path: str) -> str:
    """Count the names and return what was found.

    Raises:
        ConfigError: the file cannot be read, or has not one name for each class.
    """
    from tinyyolo3.loading import check_names

    return f"{len(check_names(graph, path)):,} names"


def _arrow() -> str:
    """Return an arrow that standard output's encoding has."""
    try:
        "→".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return "->"
    return "→"


def _print_lines(lines: list[str]) -> None:
    print("\n".join(one_line(line) for line in lines), flush=True)
