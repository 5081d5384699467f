"""Stage 5: PyTorch and cuDNN on the same GPU with the same weights, in turns with ours.

Each of our precisions is compared with PyTorch's at the same one. What TorchInductor compiles is a
stage of its own, `gpu_compiled`, whose time is its own too.
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import read_folded, write_plain
from gpu_compile import compile_ahead, network_kernels
from gpu_context import Context, Record
from gpu_models import BATCHES, Forward, blobs, find_model, load_ours, prepare_forward
from gpu_timing import spans_ms
from measure import logit_error
from peers.base import Model
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import TinyYoloError
from tinyyolo3.testing.tolerances import PEER_FLOAT32, PEER_HALF

#: Rounds in which every engine has its turn, the most runs of a turn, and about how long it lasts.
ROUNDS, TURN, TURN_MS = 10, 20, 30.0
#: The largest difference of two engines' logits, relative to the largest logit.
TOLERANCES = {"fp32": PEER_FLOAT32, "fp16": PEER_HALF, "tf32": PEER_HALF}
#: What is compared first, should there be no time for all.
PRECISIONS = ("fp16", "fp32", "tf32")


def measure(context: Context, part: str, record: Record) -> None:
    """Compare one network with PyTorch, at each batch size and precision, in each setting."""
    compare_all(context, part, record, compiled=False)


def compare_all(context: Context, part: str, record: Record, *, compiled: bool) -> None:
    """Compare one network with what PyTorch compiles, or with what it does not."""
    try:
        import torch
    except ImportError:
        record("skipped", "PyTorch is not installed")
        return
    from peers.torch_gpu import settings

    record("torch", {"version": torch.__version__, "cudnn": torch.backends.cudnn.version()})
    model = find_model(context, part)
    if not model.layers.exists():
        folded = read_folded(model.cfg, model.weights, model.side)
        write_plain(folded.graph, folded.parameters, model)
    target = context.open_target()
    compile_ahead(target, network_kernels(target, model))
    detectors = {}
    for batch in BATCHES[:1] if context.tiny and compiled else BATCHES:
        for precision in PRECISIONS:
            try:
                if precision not in detectors:
                    detectors[precision] = load_ours(target, model, precision)
                ours = prepare_forward(target, detectors[precision], blobs(model, batch))
            except TinyYoloError as problem:
                record(f"{precision} batch {batch}", {"problem": str(problem)})
                continue
            chosen = settings(precision, compiled=compiled)[: 1 if context.tiny else None]
            compare(context, target, model, ours, batch, chosen, record)


def compare(
    context: Context,
    target: Target,
    model: Model,
    ours: Forward,
    batch: int,
    settings: Sequence[Any],
    record: Record,
) -> None:
    """Check and time every setting at one batch size and precision."""
    expected = ours.outputs()
    blob = blobs(model, batch)
    for setting in settings:
        name = f"{setting.precision} batch {batch}, {setting.label}"
        try:
            launch, error, time_peer = load_peer(context, model, setting, blob, expected)
        except Exception as problem:  # a library's own: out of memory, no compiler, …
            record(name, {"problem": f"{type(problem).__name__}: {problem}"[:300]})
            continue
        figures: dict[str, Any] = {"error": float(f"{error:.1e}")}
        if not error <= TOLERANCES[setting.precision]:
            record(name, {**figures, "problem": "its logits differ from ours"})
            continue
        mine, theirs = in_turns(
            partial(spans_ms, target, ours.launch, warm_up=2),
            partial(time_peer, launch),
            context.tiny,
        )
        figures["ratio"] = round(median(b / a for a, b in zip(mine, theirs, strict=True)), 3)
        record(name, {**figures, "ours_ms": round(median(mine), 4), "ms": round(median(theirs), 4)})


def load_peer(
    context: Context,
    model: Model,
    setting: Any,
    blob: NDArray[np.float32],
    expected: list[NDArray[np.float32]],
) -> tuple[Callable[[], object], float, Callable[..., list[float]]]:
    """Return what begins a pass of PyTorch's, its error against ours, and what times it."""
    from peers.torch_gpu import TorchNetwork, spans_ms

    device = "cuda" if context.target == "cuda" else "cpu"
    network = TorchNetwork(model, setting, blob, device)
    error = logit_error(network.outputs(), expected)
    launch = network.launcher()

    def time_peer(launch: Callable[[], object], runs: int) -> list[float]:
        launch()
        return spans_ms(launch, runs, device)

    return launch, error, time_peer


def in_turns(
    ours: Callable[..., list[float]], theirs: Callable[..., list[float]], tiny: bool
) -> tuple[list[float], list[float]]:
    """Return each round's median of either, so that a clock that drifts drifts for both.

    Both are called with ``runs``.
    """
    if tiny:
        return ours(runs=1), theirs(runs=1)
    # The first turns tell how many runs the others may have.
    runs = [min(TURN, max(3, round(TURN_MS / median(engine(runs=3))))) for engine in (ours, theirs)]
    pairs = [(median(ours(runs=runs[0])), median(theirs(runs=runs[1]))) for _ in range(ROUNDS)]
    return [a for a, _ in pairs], [b for _, b in pairs]
