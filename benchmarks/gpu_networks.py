"""Stage 4: whole networks at every precision: their time, from pixels to boxes too, and error."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_compile import compile_ahead, network_kernels
from gpu_context import Context, Record
from gpu_first import pictures_ms
from gpu_models import (
    BATCHES,
    PRECISIONS,
    blobs,
    find_model,
    load_ours,
    one_by_one,
    prepare_forward,
)
from gpu_timing import WARM_UP, call_ms, spans_ms, spread
from networks import gflop, reference_logits
from peers.base import NMS, THRESHOLD, Model, sample_picture
from tinyyolo3.cuda.target import Target
from tinyyolo3.detector import Detector
from tinyyolo3.errors import TinyYoloError
from tinyyolo3.testing.tolerances import PEER_HALF

#: Counted forward passes, and pictures.
RUNS, PICTURES = 200, 50
Logits = list[NDArray[np.float32]]


def measure(context: Context, part: str, record: Record) -> None:
    """Measure one network at each precision and batch size, then its errors.

    What goes wrong at one precision is recorded, and the next one measured all the same.
    """
    model = find_model(context, part)
    record("gflop", round(gflop(model), 3))
    target = context.open_target()
    record("compile", compile_ahead(target, network_kernels(target, model)))
    found: dict[str, Logits] = {}
    for precision in PRECISIONS:
        try:
            detector = load_ours(target, model, precision)
            first = {
                batch: measure_batch(context, target, detector, model, batch, record, precision)
                for batch in BATCHES
            }
        except TinyYoloError as problem:
            record(f"{precision} problem", str(problem))
            continue
        record(f"{precision} same_at_any_batch", equal(first[BATCHES[0]], first[BATCHES[-1]]))
        found[precision] = first[BATCHES[0]]
        if precision == "fp16":
            for batch in BATCHES:
                figures = measure_persistent(context, target, model, batch, first[batch])
                record(f"{precision} persistent batch {batch}", figures)
    right: Logits = reference_logits(model, ["alexeyab"])["alexeyab"]
    for precision, logits in found.items():
        record(f"{precision} errors", relative_errors(logits, right))


def measure_batch(
    context: Context,
    target: Target,
    detector: Detector,
    model: Model,
    batch: int,
    record: Record,
    precision: str,
) -> Logits:
    """Measure a network at one batch size; return its logits of the first picture."""
    runs, pictures, warm_up = (2, 2, 1) if context.tiny else (RUNS, PICTURES, WARM_UP)
    forward = prepare_forward(target, detector, blobs(model, batch))
    found = forward.outputs()
    spans = spans_ms(target, forward.launch, runs, warm_up)
    figures: dict[str, Any] = {"forward": spread(spans), "arena_bytes": forward.arena_bytes}
    figures["repeats"] = equal(found, forward.outputs())
    # The first and the last picture of the batch are the same, and those of other batches.
    figures["same_in_batch"] = equal([y[:1] for y in found], [y[-1:] for y in found])
    figures["detect_ms"] = round(detect_ms(detector, batch, pictures), 4)
    name = f"{precision} batch {batch}"
    if precision != "fp32":
        figures["from_pictures"] = pictures_ms(target, detector, batch, runs, warm_up)
    record(name, figures)
    if precision != "fp32" and not context.tiny:
        with one_by_one(target):
            other = prepare_forward(target, detector, blobs(model, batch))
            spans = spans_ms(target, other.launch, runs, warm_up)
            same = equal(found, other.outputs())
        record(name, {**figures, "one by one": {**spread(spans), "same": same}})
    return [y[:1] for y in found]


def measure_persistent(
    context: Context, target: Target, model: Model, batch: int, apart: Logits
) -> dict[str, Any]:
    """Measure a network as one launch, if it is right: against the logits of a launch each."""
    runs, pictures, warm_up = (2, 2, 1) if context.tiny else (RUNS, PICTURES, WARM_UP)
    try:
        detector = load_ours(target, model, "fp16", persistent=True)
        forward = prepare_forward(target, detector, blobs(model, batch))
        found = forward.outputs()
    except TinyYoloError as problem:
        return {"problem": str(problem)}
    errors = relative_errors([y[:1] for y in found], apart)["relative"]
    figures: dict[str, Any] = {
        "apart": max(errors),  # sums are cut otherwise: not the same bits
        "repeats": equal(found, forward.outputs()),
        "arena_bytes": forward.arena_bytes,
    }
    if not (figures["repeats"] and figures["apart"] < PEER_HALF):
        return {"problem": "other logits than by a launch each", **figures}
    figures["forward"] = spread(spans_ms(target, forward.launch, runs, warm_up))
    return {**figures, "detect_ms": round(detect_ms(detector, batch, pictures), 4)}


def equal(a: Logits, b: Logits) -> bool:
    """Whether two results are the same to the last bit."""
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def detect_ms(detector: Detector, batch: int, runs: int) -> float:
    """Return the time of one picture, from pixels in the host's memory to boxes there."""
    pictures = [sample_picture() for _ in range(batch)]

    def detect() -> object:
        return detector.detect(
            list(pictures), threshold=THRESHOLD, nms=NMS, resize="stretch", batch=batch
        )

    return call_ms(detect, runs) / batch


def relative_errors(found: Logits, right: Logits) -> dict[str, list[float]]:
    """Return each head's ‖found − right‖ / ‖right‖, and its largest error over its largest logit.

    The right logits are the plain NumPy reference's, unfolded and in float64.
    """
    pairs = list(zip(found, right, strict=True))
    norms = [np.linalg.norm(x - y) / np.linalg.norm(y) for x, y in pairs]
    largest = [np.abs(x - y).max() / np.abs(y).max() for x, y in pairs]
    rounded = {"relative": norms, "largest": largest}
    return {name: [float(f"{e:.2e}") for e in errors] for name, errors in rounded.items()}
