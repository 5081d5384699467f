"""``tinyyolo3 evaluate``: how good a detector is on labelled pictures, as COCO and Darknet measure.

What is found goes picture by picture into a log in the output folder, so that a run that was
interrupted goes on where it stopped. From the log come the results, the tables and the charts.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyyolo3.cli.arguments import (
    add_data_arguments,
    add_model_arguments,
    add_running_arguments,
    load_detector,
    positive,
)
from tinyyolo3.cli.evaluate_settings import (
    add_protocol_arguments,
    add_selection_arguments,
    check_source,
    describe_settings,
    settings_lines,
)
from tinyyolo3.cli.messages import one_line, report
from tinyyolo3.cli.progress import Progress
from tinyyolo3.errors import OutputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinyyolo3.data.samples import DataSet
    from tinyyolo3.detector import Detector
    from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth
    from tinyyolo3.evaluate.evaluation import Evaluation
    from tinyyolo3.evaluate.run import RunSettings

DESCRIPTION = """\
Measure how good a detector is: run it over labelled pictures, or take stored results, and print
what pycocotools and darknet detector map would. DATA is a COCO .json file, a Darknet .data file, a
list of pictures (.txt, with --names), or a folder of Pascal VOC annotations. The same command goes
on with a run that was interrupted.
"""
EXAMPLES = """\
examples:
  tinyyolo3 evaluate --data coco/annotations/instances_val2017.json --images coco/val2017 \\
      --model yolov3.cfg --names coco.names --size 608 --threshold .005
  tinyyolo3 evaluate --data obj.data --cfg obj.cfg --weights obj.weights \\
      --protocol darknet --resize stretch
  tinyyolo3 evaluate --data instances_val2017.json --results results.json
"""

#: The files of the output folder.
LOG, RESULTS, CLASSES, SUMMARY = "unfinished.jsonl", "results.json", "classes.csv", "summary.json"
CURVES, CONFUSION = "precision-recall.png", "confusion.png"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument_group("data").add_argument
    add("--data", required=True, metavar="DATA", help="the labelled pictures")
    add_data_arguments(add, split="valid", names=False)
    add("--only", metavar="FILE", help="only the pictures in this list, such as Darknet's 5k.txt")
    add("--results", metavar="FILE", help="take COCO results from here instead of running a model")
    add_model_arguments(parser, default=False)
    add_selection_arguments(parser.add_argument_group("what to detect").add_argument)
    add = parser.add_argument_group("how to run").add_argument
    add_running_arguments(add)
    add("--batch", type=positive, default=1, metavar="N", help="pictures at once (default: 1)")
    add_protocol_arguments(parser.add_argument_group("how to measure").add_argument)
    add = parser.add_argument_group("output").add_argument
    add("--out", default="evaluation", metavar="DIR", help="folder to write (default: evaluation)")


def run(arguments: Namespace) -> int:
    """Evaluate as the arguments say, and return the exit status.

    Raises:
        TinyYoloError: the data, the model or the results cannot be used, or an output not written.
    """
    from tinyyolo3.evaluate.darknet import DarknetSettings
    from tinyyolo3.evaluate.evaluation import PROTOCOLS, evaluate_found
    from tinyyolo3.evaluate.results import write_results

    check_source(arguments)
    out = Path(arguments.out)
    charts = _can_draw(out)
    darknet = DarknetSettings(
        iou_threshold=arguments.iou, confidence=arguments.confidence, points=arguments.points
    )
    if arguments.results:
        truth, found = _read_stored(arguments)
        _print(settings_lines(describe_settings(arguments, truth, darknet)))
        _make_folder(out)
        as_found = found
        used: dict[str, Any] = {"data": arguments.data, "results": arguments.results}
    else:
        planned = _plan(arguments)
        truth = planned.truth
        about = describe_settings(arguments, truth, darknet, planned.settings, planned.detector)
        _print(settings_lines(about))
        _make_folder(out)
        found, as_found, used = _detect(planned, arguments, out)
        write_results(out / RESULTS, truth, found)
        used["cut_boxes"] = not arguments.no_clip
    protocols = PROTOCOLS if arguments.protocol == "both" else (arguments.protocol,)
    evaluation = evaluate_found(truth, found, as_found, protocols=protocols, darknet=darknet)
    used["darknet"] = asdict(darknet)
    _report(evaluation, used, arguments, out, charts)
    if not arguments.results:
        (out / LOG).unlink()
    return 0


def _make_folder(out: Path) -> None:
    from tinyyolo3.atomic import output_errors

    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)


def _can_draw(out: Path) -> bool:
    """Return whether there will be charts; if not, say why."""
    from tinyyolo3.charts import require_matplotlib

    try:
        require_matplotlib(out / CURVES)
    except OutputError as problem:
        report("warning", f"{problem}; going on without charts")
        return False
    return True


def _open_data(arguments: Namespace) -> "tuple[DataSet, set[str]]":
    """Return the set, and where it has pictures without a label file: known once it is read."""
    from tinyyolo3.data.open import open_dataset
    from tinyyolo3.data.samples import Problem, raise_problem

    unlabelled: set[str] = set()

    def note(problem: Problem) -> None:
        raise_problem(problem)
        unlabelled.add(problem.place)

    is_list = arguments.data.lower().endswith(".txt")
    data = open_dataset(
        arguments.data,
        images=arguments.images,
        split=arguments.split,
        names=arguments.names if is_list else None,
        report=note,
    )
    return data, unlabelled


def _read_stored(arguments: Namespace) -> "tuple[GroundTruth, FoundBoxes]":
    from tinyyolo3.evaluate.annotations import read_ground_truth
    from tinyyolo3.evaluate.columns import select_images
    from tinyyolo3.evaluate.evaluation import only_listed, read_truth
    from tinyyolo3.evaluate.results import read_results

    if arguments.data.lower().endswith(".json") and not arguments.only:
        truth = read_ground_truth(arguments.data)  # no need of the pictures
        _warn_of_labels(arguments.data, truth)
        return truth, read_results(arguments.results, truth)
    data, unlabelled = _open_data(arguments)
    truth = read_truth(data)
    found = read_results(arguments.results, truth)
    if arguments.only:
        chosen = only_listed(data, arguments.only)
        truth, found = select_images(truth, found, [sample.image_id for sample in chosen])
    _warn_of_labels(arguments.data, truth, unlabelled)
    return truth, found


def _warn_of_labels(data: str, truth: "GroundTruth", unlabelled: Collection[str] = ()) -> None:
    """Say what makes numbers worthless: Darknet takes pictures without labels for empty ones."""
    if unlabelled:
        first = min(unlabelled)
        report("warning", f"{data}: {len(unlabelled)} without a label file, the first: {first}")
    if not len(truth.category):
        report("warning", f"{data}: no object is labelled, so there is nothing to find")


@dataclass(frozen=True, eq=False)
class _Planned:
    """A run that may begin: all that is needed is there, and fits."""

    data: "DataSet"
    detector: "Detector"
    data_classes: "NDArray[np.int64]"
    truth: "GroundTruth"
    settings: "RunSettings"


def _plan(arguments: Namespace) -> _Planned:
    """Find out what is wrong with data and model before an hour of detection."""
    from tinyyolo3.evaluate.classes import match_classes
    from tinyyolo3.evaluate.evaluation import only_listed, read_truth
    from tinyyolo3.evaluate.run import RunSettings, count_classes

    data, unlabelled = _open_data(arguments)
    if arguments.only:
        data = only_listed(data, arguments.only)
    detector = load_detector(arguments)
    settings = RunSettings(
        threshold=arguments.threshold,
        nms=arguments.nms,
        resize=arguments.resize,
        exif_orientation=not arguments.no_exif,
        precision=arguments.precision,
    )
    data_classes = match_classes(detector.names, count_classes(detector), data)
    truth = read_truth(data)
    _warn_of_labels(arguments.data, truth, unlabelled)
    return _Planned(data, detector, data_classes, truth, settings)


def _detect(
    planned: _Planned, arguments: Namespace, out: Path
) -> "tuple[FoundBoxes, FoundBoxes, dict[str, Any]]":
    """Return what is found, for COCO's protocol and for Darknet's, and what was run."""
    from tinyyolo3.evaluate.log import read_log
    from tinyyolo3.evaluate.run import detect_set, found_from_log

    log = out / LOG
    with Progress(planned.data.count) as progress, _keeping_what_is_done(log):
        about = detect_set(
            planned.detector,
            planned.data,
            log,
            planned.settings,
            batch=arguments.batch,
            progress=progress.show,
        )
    found, as_found = (
        found_from_log(read_log(log), planned.truth, planned.data_classes, clip=clip)
        for clip in (not arguments.no_clip, False)
    )
    return found, as_found, about


@contextmanager
def _keeping_what_is_done(log: Path) -> Iterator[None]:
    """Say, when a run is interrupted, that nothing is lost."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        report("warning", f"{log} keeps what is done; the same command goes on from there")
        raise


def _report(
    evaluation: "Evaluation", used: dict[str, Any], arguments: Namespace, out: Path, charts: bool
) -> None:
    from tinyyolo3.charts.confusion import MOST_CLASSES
    from tinyyolo3.evaluate.report import (
        coco_lines,
        darknet_lines,
        draw_confusion,
        draw_curves,
        write_class_csv,
        write_summary,
    )

    if evaluation.coco is not None:
        _print(["", *coco_lines(evaluation.coco)])
    if evaluation.darknet is not None:
        _print(["", *darknet_lines(evaluation.darknet)])
    write_class_csv(out / CLASSES, evaluation)
    write_summary(out / SUMMARY, evaluation, used)
    written = [CLASSES, SUMMARY]
    if charts:
        title = f"{Path(arguments.results or arguments.cfg).name}, {Path(arguments.data).name}"
        draw_curves(out / CURVES, evaluation, title)
        written.append(CURVES)
        if len(evaluation.confusion.seen().names) > MOST_CLASSES:
            many = f"of more than {MOST_CLASSES:,} classes"
            report("warning", f"{out / CONFUSION}: too large to draw, {many}")
        else:
            draw_confusion(out / CONFUSION, evaluation, title)
            written.append(CONFUSION)
    if not arguments.results:
        written.insert(0, RESULTS)
    _print(["", f"written: {', '.join(str(out / name) for name in written)}"])


def _print(lines: list[str]) -> None:
    print("\n".join(one_line(line) for line in lines), flush=True)
