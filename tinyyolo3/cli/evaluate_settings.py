"""The settings of ``tinyyolo3 evaluate``: as arguments, and as printed above its tables."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tinyyolo3.cli.arguments import find_named_model, fraction, fraction_or_none
from tinyyolo3.errors import InputError

if TYPE_CHECKING:
    from tinyyolo3.detector import Detector
    from tinyyolo3.evaluate.columns import GroundTruth
    from tinyyolo3.evaluate.darknet import DarknetSettings
    from tinyyolo3.evaluate.run import RunSettings


#: What of an evaluation is a model's matter, and its value where it is not asked for: stored
#: results are taken as they are.
THRESHOLD, NMS = 0.001, 0.45
_OF_MODELS = {
    "threshold": THRESHOLD,
    "nms": NMS,
    "no_clip": False,
    "no_exif": False,
    "resize": "letterbox",
    "size": None,
}


def add_selection_arguments(add: Callable[..., object]) -> None:
    """Add what decides which boxes are found.

    Args:
        add: the ``add_argument`` of a parser or of a group.
    """
    add(
        "--threshold",
        type=fraction,
        default=THRESHOLD,
        metavar="T",
        help=f"least confidence (default: {THRESHOLD})",
    )
    add(
        "--nms",
        type=fraction_or_none,
        default=NMS,
        metavar="IOU",
        help=f"suppress boxes that overlap a better one by more; none: keep all (default: {NMS})",
    )
    add(
        "--no-clip",
        action="store_true",
        help="do not cut boxes at the pictures' borders for COCO; for Darknet they never are",
    )


def add_protocol_arguments(add: Callable[..., object]) -> None:
    """Add what decides how they are measured.

    Args:
        add: the ``add_argument`` of a parser or of a group.
    """
    add("--protocol", choices=("coco", "darknet", "both"), default="both", help="(default: both)")
    add(
        "--points",
        type=int,
        choices=(0, 11, 101),
        default=0,
        help="Darknet's -points: recalls at which precision is read; 0: all (default: 0)",
    )
    add(
        "--iou",
        type=fraction,
        default=0.5,
        metavar="IOU",
        help="Darknet's -iou_thresh: overlap of what is found (default: 0.5)",
    )
    add(
        "--confidence",
        type=fraction,
        default=0.25,
        metavar="T",
        help="Darknet's -thresh: of counts, and of the confusion matrix (default: 0.25)",
    )


def check_source(arguments: Namespace) -> None:
    """See that there is one model, or results; resolve ``--model``.

    Raises:
        InputError: there is none, or more than one; or results are to be what only detections can.
    """
    named = arguments.cfg or arguments.weights
    if sum(map(bool, (named, arguments.model, arguments.results))) != 1:
        raise InputError("expected one of --cfg with --weights, --model, --results")
    if arguments.model or named:
        find_named_model(arguments)
    else:
        for name, usual in _OF_MODELS.items():
            if getattr(arguments, name) != usual:
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{option} is for running a model; --results are as they are")


def describe_settings(
    arguments: Namespace,
    truth: "GroundTruth",
    darknet: "DarknetSettings",
    settings: "RunSettings | None" = None,
    detector: "Detector | None" = None,
) -> dict[str, str]:
    """Return the settings by name, in the order in which they are printed.

    Args:
        arguments: of the command.
        truth: the set.
        darknet: the settings of Darknet's protocol.
        settings: how is detected; None where stored results are taken.
        detector: what detects; likewise.
    """
    about = {
        "data": f"{arguments.data}: {len(truth.image_ids)} pictures, {len(truth.category)} "
        f"objects, {len(truth.names)} classes"
    }
    if arguments.only:
        about["only"] = f"the pictures in {arguments.only}"
    if settings is None or detector is None:
        about["results"] = f"{arguments.results}, as they are stored"
    else:
        about |= _describe_run(arguments, settings, detector)
    if arguments.protocol != "darknet":
        about["coco"] = (
            "IoU 0.50:0.95, precision at 101 recalls, the 100 best of a picture and class, "
            f"boxes {_describe_boxes(arguments, arguments.no_clip)}"
        )
    if arguments.protocol != "coco":
        about["darknet"] = _describe_darknet(arguments, darknet)
    return about


def settings_lines(about: Mapping[str, str]) -> list[str]:
    """Return the settings as lines of text."""
    width = max(map(len, about))
    return [f"{name:<{width}}  {value}" for name, value in about.items()]


def _describe_run(
    arguments: Namespace, settings: "RunSettings", detector: "Detector"
) -> dict[str, str]:
    from tinyyolo3.selection import cfg_agnostic_nms

    graph = detector.network.graph
    _, height, width = graph.input_shape
    names = arguments.names or "no names: classes by position"
    exif = "" if settings.exif_orientation else ", EXIF ignored"
    nms = "no suppression" if settings.nms is None else f"suppression at IoU > {settings.nms:g}"
    if settings.nms is not None and cfg_agnostic_nms(graph.heads[-1]):
        nms += " across classes"
    return {
        "model": f"{arguments.cfg}, {arguments.weights}, {names}",
        "network": f"{width} x {height}, {settings.precision}, {graph.parity.name}",
        "pictures": f"{settings.resize}{exif}",
        "detections": f"confidence > {settings.threshold:g}, {nms}",
    }


def _describe_darknet(arguments: Namespace, darknet: "DarknetSettings") -> str:
    curve = f"{darknet.points} recalls" if darknet.points else "all recalls"
    return (
        f"confidence > {darknet.threshold:g}, IoU > {darknet.iou_threshold:g}, precision at "
        f"{curve}, counts at confidence > {darknet.confidence:g}, "
        f"boxes {_describe_boxes(arguments, True)}"
    )


def _describe_boxes(arguments: Namespace, uncut: bool) -> str:
    if arguments.results:
        return "as stored"
    return "as found" if uncut else "cut at the pictures' borders"
