"""Time COCO's protocol against pycocotools, on a made set of val2017's size.

    python benchmarks/evaluate.py [--images 5000] [--runs 5] [--threads 1 2] [--out FILE]

Both read the same two files and must arrive at the same twelve measures. They take turns, so that a
machine whose speed drifts drifts for both. Objects are as frequent and as unequally spread over 80
classes as COCO's; of a hundred detections an image some are near an object and the others
anywhere, as a detector with a low threshold has them. The figures are stored in
``benchmarks/results/evaluate.json`` with the date, the processor, the versions and the commit.
"""

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cpu import describe_machine
from tinyyolo3.evaluate import evaluate_columns
from tinyyolo3.evaluate.annotations import read_ground_truth
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth
from tinyyolo3.evaluate.results import read_results, write_results
from tinyyolo3.parallel import available_cores

RESULTS = Path(__file__).parent / "results" / "evaluate.json"
CLASSES = 80
OBJECTS_PER_IMAGE = 7.3
DETECTIONS_PER_IMAGE = 100
PICTURE_PX = (640, 480)
#: What is promised of the measures.
LARGEST_DIFFERENCE = 1e-6

Times = dict[str, float]
Evaluate = Callable[[Path, Path], tuple[list[float], Times]]


def make_set(images: int, seed: int = 0) -> tuple[GroundTruth, FoundBoxes]:
    """Make objects and detections."""
    rng = np.random.default_rng(seed)
    objects, detections = int(images * OBJECTS_PER_IMAGE), images * DETECTIONS_PER_IMAGE
    share = 1 / np.arange(1, CLASSES + 1)

    def boxes(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        sides = np.minimum(rng.lognormal(4, 1, (count, 2)), PICTURE_PX)
        return np.concatenate([rng.random((count, 2)) * (PICTURE_PX - sides), sides], axis=1)

    def classes(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return rng.choice(CLASSES, count, p=share / share.sum())

    truth = GroundTruth(
        source="made up",
        image_ids=tuple(range(1, images + 1)),
        names=tuple(f"class {k}" for k in range(CLASSES)),
        category_ids=tuple(range(1, CLASSES + 1)),
        image=rng.integers(0, images, objects),
        category=classes(objects),
        boxes_xywh_px=boxes(objects).round(2),
        areas_px2=np.empty(objects),
        crowds=rng.random(objects) < 0.01,
        difficults=np.zeros(objects, np.bool_),
    )
    truth.areas_px2[:] = truth.boxes_xywh_px[:, 2:].prod(axis=1) * rng.uniform(0.4, 1, objects)
    near = rng.integers(0, objects, detections)
    is_near = rng.random(detections) < 0.2
    image = np.where(is_near, truth.image[near], rng.integers(0, images, detections))
    category = np.where(is_near, truth.category[near], classes(detections))
    moved = truth.boxes_xywh_px[near]
    moved = moved + np.tile(moved[:, 2:], 2) * rng.normal(0, 0.1, (detections, 4))
    box = np.where(is_near[:, None], np.maximum(moved, 0), boxes(detections))
    scores = np.where(is_near, rng.beta(2, 2, detections), rng.beta(1, 8, detections))
    return truth, FoundBoxes(image, category, box.round(3), scores.round(6))


def write_annotations(path: Path, truth: GroundTruth) -> None:
    """Write the objects as a COCO file."""
    rows = zip(
        truth.image.tolist(),
        truth.category.tolist(),
        truth.boxes_xywh_px.tolist(),
        truth.areas_px2.tolist(),
        truth.crowds.tolist(),
        strict=True,
    )
    data = {
        "images": [{"id": image_id} for image_id in truth.image_ids],
        "categories": [{"id": number} for number in truth.category_ids],
        "annotations": [
            {
                "id": number,
                "image_id": truth.image_ids[image],
                "category_id": truth.category_ids[category],
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
            }
            for number, (image, category, box, area, crowd) in enumerate(rows, 1)
        ],
    }
    path.write_text(json.dumps(data))


def evaluate_here(annotations: Path, results: Path, threads: int) -> tuple[list[float], Times]:
    """Return this project's measures, and how long reading and evaluating took."""
    start = time.perf_counter()
    truth = read_ground_truth(annotations)
    found = read_results(results, truth)
    read = time.perf_counter()
    evaluation = evaluate_columns(truth, found, threads=threads)
    end = time.perf_counter()
    return list(evaluation.values()), {"read_s": read - start, "evaluate_s": end - read}


def evaluate_pycocotools(annotations: Path, results: Path) -> tuple[list[float], Times]:
    """Return pycocotools' measures, and how long reading and evaluating took."""
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        truth = COCO(str(annotations))
        found = truth.loadRes(str(results))
        read = time.perf_counter()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        end = time.perf_counter()
    return list(evaluation.stats), {"read_s": read - start, "evaluate_s": end - read}


def time_in_turns(
    entries: Mapping[str, Evaluate], annotations: Path, results: Path, runs: int
) -> dict[str, Any]:
    """Return each entry's median times, and the largest difference of a measure.

    Raises:
        SystemExit: they do not agree.
    """
    times: dict[str, list[Times]] = {name: [] for name in entries}
    measures = {}
    for run in range(runs):
        for name, evaluate in entries.items():
            measures[name], taken = evaluate(annotations, results)
            times[name].append({**taken, "total_s": sum(taken.values())})
            print(f"run {run + 1}, {name}: {times[name][-1]}", flush=True)
    expected = np.array(measures["pycocotools"])
    difference = max(float(np.abs(np.array(own) - expected).max()) for own in measures.values())
    if not difference <= LARGEST_DIFFERENCE:
        raise SystemExit(f"the measures differ by {difference:.1e}: {measures}")
    rows = {
        name: {step: round(median(taken[step] for taken in each), 3) for step in each[0]}
        for name, each in times.items()
    }
    return {"largest_difference": difference, "engines": rows}


def main() -> None:
    """Make the set, measure, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000, help="default 5000")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=sorted({1, available_cores()}),
        help="counts of threads (default: one, and all cores)",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"default {RESULTS.name}")
    options = parser.parse_args()

    def with_threads(count: int) -> Evaluate:
        return lambda annotations, results: evaluate_here(annotations, results, count)

    entries: dict[str, Evaluate] = {
        f"tinyyolo3, {count} threads": with_threads(count) for count in options.threads
    }
    truth, found = make_set(options.images)
    evaluate_columns(*make_set(10))  # compiles
    with TemporaryDirectory() as folder:
        annotations, results = Path(folder, "annotations.json"), Path(folder, "results.json")
        write_annotations(annotations, truth)
        write_results(results, truth, found)
        entries["pycocotools"] = evaluate_pycocotools
        figures = time_in_turns(entries, annotations, results, options.runs)
    result = {
        **describe_machine(),
        "pycocotools": version("pycocotools"),
        "runs": options.runs,
        "images": options.images,
        "classes": CLASSES,
        "objects": len(truth.image),
        "detections": len(found),
        **figures,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
