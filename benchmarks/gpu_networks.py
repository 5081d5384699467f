"""Stage 6: whole networks: their time, from pixels to boxes too, and their error."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_context import Context, Record
from gpu_models import BATCHES, blobs, find_model, load_ours, prepare_forward
from gpu_timing import WARM_UP, call_ms, spans_ms, spread
from networks import gflop, reference_logits
from peers.base import NMS, THRESHOLD, Model, sample_picture
from tinyyolo3.detector import Detector

#: Counted forward passes, and pictures.
RUNS, PICTURES = 200, 50


def measure(context: Context, part: str, record: Record) -> None:
    """Measure one network at each batch size, then its error."""
    model = find_model(context, part)
    record("gflop", round(gflop(model), 3))
    target = context.open_target()
    detector = load_ours(target, model)
    runs, pictures = (2, 2) if context.tiny else (RUNS, PICTURES)
    first: dict[int, list[NDArray[np.float32]]] = {}
    for batch in BATCHES:
        forward = prepare_forward(target, detector, blobs(model, batch))
        found = forward.outputs()
        spans = spans_ms(target, forward.launch, runs, 1 if context.tiny else WARM_UP)
        figures: dict[str, Any] = {"forward": spread(spans), "arena_bytes": forward.arena_bytes}
        figures["repeats"] = equal(found, forward.outputs())
        # The first and the last picture of the batch are the same, and those of other batches.
        figures["same_in_batch"] = equal([y[:1] for y in found], [y[-1:] for y in found])
        first[batch] = [y[:1] for y in found]
        figures["detect_ms"] = round(detect_ms(detector, batch, pictures), 4)
        record(f"batch {batch}", figures)
    record("same_at_any_batch", equal(first[BATCHES[0]], first[BATCHES[-1]]))
    record("errors", relative_errors(model, first[BATCHES[0]]))


def equal(a: list[NDArray[np.float32]], b: list[NDArray[np.float32]]) -> bool:
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


def relative_errors(model: Model, found: list[NDArray[np.float32]]) -> dict[str, list[float]]:
    """Return each head's ‖found − right‖ / ‖right‖, and its largest error over its largest logit.

    The right logits are the plain NumPy reference's, unfolded and in float64.
    """
    pairs = list(zip(found, reference_logits(model, ["alexeyab"])["alexeyab"], strict=True))
    norms = [np.linalg.norm(x - y) / np.linalg.norm(y) for x, y in pairs]
    largest = [np.abs(x - y).max() / np.abs(y).max() for x, y in pairs]
    rounded = {"relative": norms, "largest": largest}
    return {name: [float(f"{e:.2e}") for e in errors] for name, errors in rounded.items()}
