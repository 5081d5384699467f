"""``tinyyolo3 info``: a network's layers, its totals, and whether its files agree.

The table is Darknet's own at start-up (a line per layer, shapes as width x height x channels),
with parameters and operations counted: 2 FLOP per multiply-add, as in Darknet's BFLOPs. With
``--plan`` it is that of the steps by which the network runs on this machine's processor.
"""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from tinyyolo3.cli.arguments import add_engine_arguments, add_model_arguments, find_named_model
from tinyyolo3.cli.messages import one_line, report
from tinyyolo3.cli.tables import find_arrow, format_table, layers_text, shapes_column
from tinyyolo3.errors import TinyYoloError

if TYPE_CHECKING:
    from tinyyolo3.engine.cpu.report import PlanReport
    from tinyyolo3.network.graph import Graph
    from tinyyolo3.network.summary import Summary

DESCRIPTION = """\
Print a network's layers and totals, and whether weights and names belong to it. Where one does
not, everything else is printed still, and the exit status is 1.
"""
EXAMPLES = """\
examples:
  tinyyolo3 info
  tinyyolo3 info --cfg yolov3.cfg
  tinyyolo3 info --cfg yolov3.cfg --weights yolov3.weights --names coco.names --size 608
  tinyyolo3 info --cfg yolov3.cfg --plan
"""

#: Columns of numbers, which stand at the right.
RIGHT = frozenset(
    {"layer", "filters", "parameters", "GFLOP"}
    | {"step", "jobs", "output KiB", "weights KiB", "workspace KiB"}
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_model_arguments(parser, default=True)
    parser.add_argument(
        "--plan",
        action="store_true",
        help="print the steps by which the CPU engine runs the network, in place of its layers",
    )
    add_engine_arguments(parser.add_argument)


def run(arguments: Namespace) -> int:
    """Print what the arguments ask for, and return the exit status.

    Raises:
        TinyYoloError: the cfg itself cannot be used.
    """
    from tinyyolo3.darknet.config import read_config
    from tinyyolo3.network.build import build_graph
    from tinyyolo3.network.summary import summarize

    find_named_model(arguments, weights_needed=False)
    width, height = arguments.size or (None, None)
    graph = build_graph(read_config(arguments.cfg), width=width, height=height)
    summary = summarize(graph)
    if arguments.plan:
        plan = _plan(graph, arguments)
        lines = [*plan_table(plan, find_arrow()), "", *describe_plan(plan)]
    else:
        lines = layer_table(summary, find_arrow())
    _print_lines([*lines, "", *describe_totals(graph, summary), ""])
    _print_lines([f"cfg      ok     {arguments.cfg}"])
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
    rows = summary.rows
    head, shapes = shapes_column(
        [row.input_shape for row in rows], [row.output_shape for row in rows], arrow
    )
    cells = [
        (
            str(row.index),
            row.kind,
            "" if row.filters is None else f"{row.filters:,}",
            row.size_stride,
            shape,
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.flop / 1e9:.3f}" if row.flop else "",
        )
        for row, shape in zip(rows, shapes, strict=True)
    ]
    heads = ("layer", "type", "filters", "size/stride", head, "parameters", "GFLOP")
    return format_table(heads, cells, right=RIGHT)


def _plan(graph: "Graph", arguments: Namespace) -> "PlanReport":
    from tinyyolo3.engine.cpu.algorithms import plan_network
    from tinyyolo3.engine.cpu.report import report_plan
    from tinyyolo3.network.fold import fold_graph

    folded = fold_graph(graph)
    return report_plan(folded, plan_network(folded, arguments.memory, arguments.precision))


def plan_table(plan: "PlanReport", arrow: str = "→") -> list[str]:
    """Return the table's lines: the heads, then a row per step, in aligned columns."""
    head, shapes = shapes_column(
        [step.input_shape for step in plan.steps], [step.output_shape for step in plan.steps], arrow
    )
    cells = [
        (
            str(step.number),
            layers_text(step),
            step.algorithm,
            shape,
            str(step.jobs) if step.jobs else "",
            _kib(step.output_bytes),
            _kib(step.weight_bytes),
            _kib(step.workspace_bytes),
            f"{step.flop / 1e9:.3f}" if step.flop else "",
        )
        for step, shape in zip(plan.steps, shapes, strict=True)
    ]
    sizes = ("output KiB", "weights KiB", "workspace KiB")
    heads = ("step", "layer", "algorithm", head, "jobs", *sizes, "GFLOP")
    return format_table(heads, cells, right=RIGHT)


def _kib(size: int) -> str:
    return f"{size / 1024:,.1f}" if size else ""


def describe_plan(plan: "PlanReport") -> list[str]:
    """Return the lines under the plan's table."""
    from tinyyolo3.engine.cpu.vectors import LANES

    return [
        f"{len(plan.steps)} steps, for vectors of {LANES} floats",
        f"{_mib(plan.arena_bytes)} arena for all maps; apart they would take "
        f"{_mib(plan.separate_bytes)}",
        f"{_mib(plan.weight_bytes)} packed weights",
        f"{_mib(plan.scratch_bytes)} scratch for each thread",
    ]


def _mib(size: int) -> str:
    return f"{size / 2**20:,.2f} MiB"


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
    """Read the weights against the network, a layer at a time, and return what their header says.

    Numbers that cannot be right (NaN, infinity) are reported as warnings.

    Raises:
        WeightsError: the file does not fit the network.
    """
    from tinyyolo3.darknet.weights import open_weights
    from tinyyolo3.models import published_name
    from tinyyolo3.network.parameters import StoredParameters, find_bad_values, network_slots

    slots = network_slots(graph)
    file = open_weights(path, slots)
    for index, name, problem in find_bad_values(StoredParameters(graph, file)):
        report("warning", f"{path}: layer {index} [{graph.layers[index].kind}] {name}: {problem}")
    header = file.header
    version = f"{header.major}.{header.minor}.{header.revision}"
    floats = sum(slot.count for slot in slots)
    known = published_name(path)
    published = "" if known is None else f", the {known}.weights that is published"
    return f"{floats:,} floats, version {version}, {header.seen:,} pictures seen{published}"


def check_class_names(graph: "Graph", path: str) -> str:
    """Count the names and return what was found.

    Raises:
        ConfigError: the file cannot be read, or has not one name for each class.
    """
    from tinyyolo3.loading import check_names

    return f"{len(check_names(graph, path)):,} names"


def _print_lines(lines: list[str]) -> None:
    print("\n".join(one_line(line) for line in lines), flush=True)
