"""``tinyyolo3 anchors``: the anchors that fit a data set's boxes, ready for a cfg."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from tinyyolo3.cli.arguments import add_data_arguments, png_target, positive, size
from tinyyolo3.cli.messages import one_line
from tinyyolo3.cli.outputs import check_chart
from tinyyolo3.cli.progress import Progress
from tinyyolo3.cli.tables import format_table

if TYPE_CHECKING:
    from tinyyolo3.anchors import Clusters, LabelledSizes
    from tinyyolo3.data.samples import DataSet

DESCRIPTION = """\
Find the anchors that fit the boxes of a data set best: k-means with the distance 1 - IoU, as
Darknet's calc_anchors, from several starts. Prints them as a cfg has them, with masks for its
[yolo] sections. The same seed gives the same anchors.
"""
EXAMPLES = """\
examples:
  tinyyolo3 anchors data/obj.data --clusters 9 --size 416
  tinyyolo3 anchors instances_train2017.json --clusters 6 --size 608x352 --png anchors.png
"""

#: Columns of numbers, which stand at the right.
RIGHT = frozenset({"anchor", "width", "height", "boxes", "share", "mean IoU"})


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a Darknet .data file, a list of pictures (.txt), a COCO .json file, or a folder of "
        "Pascal VOC annotations",
    )
    add_data_arguments(parser.add_argument_group("data").add_argument, split="train")
    add = parser.add_argument_group("anchors").add_argument
    add("--clusters", type=positive, default=9, metavar="N", help="how many (default: 9)")
    add(
        "--size",
        type=size,
        default=(416, 416),
        metavar="WxH",
        help="the network's input in pixels, as 608x352 or 416 (default: 416)",
    )
    add(
        "--resize",
        choices=("letterbox", "stretch"),
        default="stretch",
        help="how pictures are fitted into it (default: stretch, as Darknet's calc_anchors)",
    )
    add("--seed", type=whole, default=0, metavar="N", help="of all random choices (default: 0)")
    add("--restarts", type=positive, default=10, metavar="N", help="starts (default: 10)")
    add("--threads", type=positive, metavar="N", help="CPU threads (default: all)")
    add = parser.add_argument_group("output").add_argument
    add("--png", type=png_target, metavar="FILE", help="draw the boxes and their anchors")


def whole(text: str) -> int:
    """Return a whole number of at least 0."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ArgumentTypeError(f"expected a whole number from 0, found {text!r}")
    return int(text)


def run(arguments: Namespace) -> int:
    """Find anchors as the arguments say, print and draw them, and return the exit status.

    Raises:
        TinyYoloError: the data cannot be read, has too few boxes, or the chart cannot be written.
    """
    from tinyyolo3.anchors import find_anchors, read_sizes, round_anchors
    from tinyyolo3.data.open import open_dataset
    from tinyyolo3.parallel import thread_limit

    if arguments.png:
        check_chart(arguments.png)
    dataset = open_dataset(
        arguments.data, images=arguments.images, split=arguments.split, names=arguments.names
    )
    with Progress(len(dataset)) as progress:
        boxes = read_sizes(dataset, arguments.size, arguments.resize, progress=progress.show)
    with thread_limit(arguments.threads):
        exact = find_anchors(
            boxes.sizes_px,
            arguments.clusters,
            seed=arguments.seed,
            restarts=arguments.restarts,
            source=str(dataset.source),
        )
        rounded = round_anchors(boxes.sizes_px, exact)
    lines = [
        *describe_boxes(dataset, boxes, arguments),
        describe_quality(exact, rounded),
        "",
        *anchor_table(rounded),
        "",
        *cfg_lines(rounded, len(dataset.names)),
    ]
    print("\n".join(one_line(line) for line in lines), flush=True)
    if arguments.png:
        draw(arguments.png, dataset, boxes, rounded, arguments)
    return 0


def describe_boxes(dataset: "DataSet", boxes: "LabelledSizes", arguments: Namespace) -> list[str]:
    """Return what was read, what was left out of it, and the input that sizes are for."""
    width, height = arguments.size
    left_out = [
        f"{count:,} {kind}"
        for count, kind in (
            (boxes.crowds, "crowds"),
            (boxes.difficults, "difficult"),
            (boxes.flat, "without area"),
        )
        if count
    ]
    return [
        f"{dataset.source}: {len(boxes.sizes_px):,} boxes in {boxes.pictures:,} pictures, "
        f"input {width} x {height}, {arguments.resize}",
        *([f"left out: {', '.join(left_out)}"] if left_out else []),
    ]


def describe_quality(exact: "Clusters", rounded: "Clusters") -> str:
    """Return how well the anchors fit, what rounding cost, and how much starts differ."""
    low, high = 100 * min(exact.start_ious), 100 * max(exact.start_ious)
    starts = len(exact.start_ious)
    return (
        f"mean IoU {100 * rounded.mean_iou:.2f} %, before rounding {100 * exact.mean_iou:.2f} %"
        + (f"; {starts} starts led to {low:.2f} to {high:.2f} %" if starts > 1 else "")
    )


def anchor_table(clusters: "Clusters") -> list[str]:
    """Return a line for each anchor: its sides in pixels, and its boxes."""
    import numpy as np

    counts = np.bincount(clusters.nearest, minlength=len(clusters.anchors_px))
    sums = np.bincount(clusters.nearest, clusters.iou, minlength=len(counts))
    rows = [
        (
            str(number),
            f"{width:.6g}",
            f"{height:.6g}",
            f"{count:,}",
            f"{count / len(clusters.nearest):.1%}",
            f"{total / count:.1%}" if count else "",
        )
        for number, ((width, height), count, total) in enumerate(
            zip(clusters.anchors_px, counts, sums, strict=True)
        )
    ]
    heads = ("anchor", "width", "height", "boxes", "share", "mean IoU")
    return format_table(heads, rows, right=RIGHT)


def cfg_lines(clusters: "Clusters", classes: int) -> list[str]:
    """Return the options for all [yolo] sections, then each section's mask; comments have a ``#``.

    Args:
        clusters: the anchors.
        classes: how many there are, for ``filters=`` of the [convolutional] before each [yolo].
    """
    from tinyyolo3.anchors import anchors_option, masks

    count = len(clusters.anchors_px)
    lines = ["# in every [yolo]", anchors_option(clusters.anchors_px), f"num = {count}"]
    for heads, like in ((3, "yolov3.cfg"), (2, "yolov3-tiny.cfg")):
        if heads > count:
            continue
        lines += ["", f"# {heads} heads, in the order of {like}"]
        for position, head in enumerate(masks(count, heads), 1):
            lines += [
                f"# [yolo] {position}, stride {head.stride}; "
                f"filters={(classes + 5) * len(head.mask)} in the [convolutional] before it",
                f"mask = {','.join(map(str, head.mask))}",
            ]
    return lines


def draw(
    png: str, dataset: "DataSet", boxes: "LabelledSizes", clusters: "Clusters", arguments: Namespace
) -> None:
    """Draw the boxes and their anchors.

    Raises:
        OutputError: the chart cannot be written.
    """
    from tinyyolo3.charts import draw_anchors

    draw_anchors(
        png,
        boxes.sizes_px,
        clusters.nearest,
        clusters.anchors_px,
        input_px=arguments.size,
        title=f"{len(clusters.anchors_px)} anchors for {dataset.source.name}",
        subtitle=f"{len(boxes.sizes_px):,} boxes, mean IoU {100 * clusters.mean_iou:.2f} %",
    )
