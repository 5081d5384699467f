"""``tinyyolo3 profile``: where the time of one picture goes, part by part and step by step."""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING, Any

from tinyyolo3.cli.arguments import (
    add_model_arguments,
    add_running_arguments,
    find_named_model,
    json_target,
    load_detector,
    positive,
)
from tinyyolo3.cli.messages import one_line
from tinyyolo3.cli.outputs import json_value
from tinyyolo3.cli.tables import find_arrow, format_table, layers_text, shapes_column

if TYPE_CHECKING:
    from tinyyolo3.arrays import ByteArray, FloatArray
    from tinyyolo3.detector import Detector
    from tinyyolo3.engine.cpu.profile import NetworkProfile

DESCRIPTION = """\
Measure where the time of one picture goes: in reading it, fitting it to the network, each step of
the network, and finding the boxes. Medians of several runs; what is not compiled yet is, first.
GFLOP are those of a layer's definition, so a step that needs fewer may pass the machine's peak.
"""
EXAMPLES = """\
examples:
  tinyyolo3 profile page.png
  tinyyolo3 profile street.jpg --cfg yolov3.cfg --weights yolov3.weights
  tinyyolo3 profile street.jpg --cfg yolov3.cfg --weights yolov3.weights --sort time --threads 1
  tinyyolo3 profile street.jpg --cfg yolov3.cfg --weights yolov3.weights --json profile.json
"""

#: Columns of numbers, which stand at the right.
RIGHT = frozenset({"step", "layer", "GFLOP", "ms", "GFLOP/s", "share", "so far"})
#: Characters of the bar of the step that takes longest.
BAR = 24


@dataclass(frozen=True)
class Profile:
    """What was measured.

    Attributes:
        size: the picture's width and height in pixels.
        network: the time of each step and of the whole network.
        parts_s: median seconds of each part of the way from a picture to its boxes, in order; a
            classifier's ends with the network.
    """

    size: tuple[int, int]
    network: "NetworkProfile"
    parts_s: dict[str, float]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("image", metavar="IMAGE", help="a picture")
    add_model_arguments(parser, default=True)
    add = parser.add_argument_group("how to run").add_argument
    add_running_arguments(add)
    add(
        "--runs",
        type=positive,
        default=10,
        metavar="N",
        help="runs to take the median of (default: 10)",
    )
    add = parser.add_argument_group("output").add_argument
    add(
        "--sort",
        choices=("step", "time"),
        default="step",
        help="steps as they run, or the longest first (default: step)",
    )
    add("--json", type=json_target, metavar="FILE", help="write JSON; - for standard output")


def run(arguments: Namespace) -> int:
    """Measure as the arguments say, print it, and return the exit status.

    Raises:
        TinyYoloError: the model cannot be loaded, runs without a plan, or the picture cannot be
            read or the JSON written.
    """
    find_named_model(arguments)
    with ExitStack() as stack:
        write = stack.enter_context(json_value(arguments.json)) if arguments.json else None
        if arguments.device == "auto":  # whose steps can be measured
            arguments.device = "cpu"
        detector = load_detector(arguments)
        profile = measure(
            detector,
            arguments.image,
            resize=arguments.resize,
            upright=not arguments.no_exif,
            runs=arguments.runs,
        )
        if write:
            write(to_dict(profile, arguments.image, detector, arguments.runs))
        if arguments.json != "-":
            lines = describe(profile, arguments.image, detector, arguments)
            print("\n".join(one_line(line) for line in lines), flush=True)
    return 0


def measure(detector: "Detector", image: str, *, resize: Any, upright: bool, runs: int) -> Profile:
    """Measure one picture's way through a detector or classifier.

    Args:
        detector: the network, and how many threads it may use.
        image: the picture's path.
        resize: "letterbox" or "stretch".
        upright: turn a photograph as its EXIF tag says.
        runs: how often to measure.

    Raises:
        ImageError: the picture cannot be read.
        InputError: the network runs without a plan, or takes no pictures.
    """
    import numpy as np

    from tinyyolo3.engine.cpu.profile import profile_network
    from tinyyolo3.image.files import read_image
    from tinyyolo3.parallel import thread_limit
    from tinyyolo3.pipeline.cpu import fill_input
    from tinyyolo3.stages import COMPILED

    picture = read_image(image, exif_orientation=upright)
    x = np.empty((1, *detector.network.graph.input_shape), np.float32)
    with thread_limit(detector.network.threads):
        # The compiled forms throughout: what runs while they are being compiled is of no interest.
        fill_input(picture, x[0], resize, COMPILED.network_input)
        network = profile_network(detector.network, x, runs)
        parts = {
            "read": median_seconds(lambda: read_image(image, exif_orientation=upright), runs),
            "resize": median_seconds(
                lambda: fill_input(picture, x[0], resize, COMPILED.network_input), runs
            ),
            "network": network.seconds,
        }
        if detector.network.graph.heads:
            parts["boxes"] = median_seconds(_box_finder(detector, picture, x, resize), runs)
    return Profile((picture.shape[1], picture.shape[0]), network, parts)


def _box_finder(
    detector: "Detector", picture: "ByteArray", x: "FloatArray", resize: Any
) -> Callable[[], object]:
    """Return what finds the boxes, with `detect`'s defaults, in what the network puts out."""
    from tinyyolo3.image.geometry import resize_geometry
    from tinyyolo3.network.specs import Yolo
    from tinyyolo3.selection import (
        Selection,
        cfg_agnostic_nms,
        cfg_nms_kind,
        corners_px,
        head_geometries,
        select_boxes,
    )
    from tinyyolo3.stages import COMPILED

    graph, engine = detector.network.graph, detector.network.engine
    assert engine is not None  # the network has been profiled
    last = graph.heads[-1]
    selection = Selection(
        threshold=0.25,
        nms=0.45,
        nms_kind=cfg_nms_kind(last),
        beta_nms=last.beta_nms if isinstance(last, Yolo) else 0.6,
        multi_label=True,
        agnostic=cfg_agnostic_nms(last),
        class_ids=None,
        clip=False,
    )
    heads = [head[0] for head in engine.forward(graph, x)]
    _, height, width = graph.input_shape
    frame = resize_geometry(picture.shape[1], picture.shape[0], width, height, resize)

    def find_boxes() -> object:
        boxes, *_ = select_boxes(heads, head_geometries(graph), frame, selection, COMPILED)
        return corners_px(boxes, picture, selection.clip)

    return find_boxes


def median_seconds(function: Callable[[], object], runs: int) -> float:
    """Return the median time of `runs` calls, after one that is not counted."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def describe(profile: Profile, image: str, detector: "Detector", arguments: Namespace) -> list[str]:
    """Return the profile as lines of text."""
    network = profile.network
    _, height, width = detector.network.graph.input_shape
    threads = f"{network.threads} thread{'' if network.threads == 1 else 's'}"
    runs = "1 run" if arguments.runs == 1 else f"medians of {arguments.runs} runs"
    flop, steps_ms = network.plan.flop, 1e3 * network.steps_seconds
    parts_ms = {name: 1e3 * seconds for name, seconds in profile.parts_s.items()}
    return [
        f"{image}: {profile.size[0]} x {profile.size[1]}, input {width} x {height}, "
        f"{threads}, {runs}",
        "",
        *step_table(network, by_time=arguments.sort == "time", arrow=find_arrow()),
        "",
        f"{flop / 1e9:.3f} GFLOP, {flop / 1e9 / network.seconds:,.1f} GFLOP/s",
        f"{len(network.steps)} steps take {steps_ms:.3f} ms; network is a whole run, "
        "with its threads' start",
        "",
        *(f"{name:<8} {ms:10.3f} ms" for name, ms in parts_ms.items()),
        f"{'in all':<8} {sum(parts_ms.values()):10.3f} ms",
    ]


def step_table(network: "NetworkProfile", *, by_time: bool = False, arrow: str = "→") -> list[str]:
    """Return the table's lines: the heads, then a row per step, in aligned columns.

    Args:
        network: what was measured.
        by_time: the longest first, rather than in the order in which they run.
        arrow: what stands between input and output.
    """
    steps = list(network.steps)
    if by_time:
        steps.sort(key=lambda step: -step.seconds)
    total = network.steps_seconds or 1.0
    longest = max(step.seconds for step in steps) or 1.0
    head, shapes = shapes_column(
        [timed.step.input_shape for timed in steps],
        [timed.step.output_shape for timed in steps],
        arrow,
    )
    so_far = accumulate(timed.seconds for timed in steps)
    cells = [
        (
            str(timed.step.number),
            layers_text(timed.step),
            timed.step.algorithm,
            shape,
            f"{timed.step.flop / 1e9:.3f}" if timed.step.flop else "",
            f"{1e3 * timed.seconds:.3f}",
            f"{timed.flop_per_s / 1e9:,.1f}" if timed.step.flop else "",
            f"{timed.seconds / total:.1%}",
            f"{passed / total:.1%}",
            "#" * round(BAR * timed.seconds / longest),
        )
        for timed, shape, passed in zip(steps, shapes, so_far, strict=True)
    ]
    numbers = ("GFLOP", "ms", "GFLOP/s", "share", "so far")
    return format_table(("step", "layer", "algorithm", head, *numbers, ""), cells, right=RIGHT)


def to_dict(profile: Profile, image: str, detector: "Detector", runs: int) -> dict[str, Any]:
    """Return the profile as JSON has it: times in milliseconds, shapes as (C, H, W)."""
    network = profile.network
    return {
        "image": image,
        "width": profile.size[0],
        "height": profile.size[1],
        "input_shape": detector.network.graph.input_shape,
        "threads": network.threads,
        "runs": runs,
        "ms": {name: 1e3 * seconds for name, seconds in profile.parts_s.items()},
        "steps_ms": 1e3 * network.steps_seconds,
        "flop": network.plan.flop,
        "arena_bytes": network.plan.arena_bytes,
        "weight_bytes": network.plan.weight_bytes,
        "scratch_bytes": network.plan.scratch_bytes,
        "steps": [asdict(timed.step) | {"ms": 1e3 * timed.seconds} for timed in network.steps],
    }
