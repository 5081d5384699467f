"""Stage 7: PyTorch and cuDNN on the same GPU with the same weights, in turns with ours."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import read_folded, write_plain
from gpu_context import Context, Record
from gpu_models import BATCHES, Forward, blobs, find_model, load_ours, prepare_forward
from gpu_timing import spans_ms
from measure import logit_error
from peers.base import Model
from tinyyolo3.cuda.target import Target
from tinyyolo3.testing.tolerances import PEER_BFLOAT16, PEER_FLOAT32

#: Rounds in which every engine has its turn, and runs of a turn.
ROUNDS, TURN = 10, 20


def measure(context: Context, part: str, record: Record) -> None:
    """Compare one network with PyTorch, at each batch size and in each setting.

    What has to be compiled comes last: it takes longest, and may be stopped.
    """
    try:
        import torch
    except ImportError:
        record("skipped", "PyTorch is not installed")
        return
    from peers.torch_gpu import SETTINGS

    record("torch", {"version": torch.__version__, "cudnn": torch.backends.cudnn.version()})
    model = find_model(context, part)
    if not model.layers.exists():
        write_plain(read_folded(model.cfg, model.weights, model.side), model)
    target = context.open_target()
    detector = load_ours(target, model)
    ours = {b: prepare_forward(target, detector, blobs(model, b)) for b in BATCHES}
    for compiled in (False, True):
        settings = [setting for setting in SETTINGS if setting.compiled == compiled]
        if context.tiny:
            settings = [setting for setting in settings if setting.exact and not compiled][:2]
        for batch in BATCHES:
            compare(context, target, model, ours[batch], batch, settings, record)


def compare(
    context: Context,
    target: Target,
    model: Model,
    ours: Forward,
    batch: int,
    settings: Sequence[Any],
    record: Record,
) -> None:
    """Check and time every setting at one batch size."""
    expected = ours.outputs()
    blob = blobs(model, batch)
    rounds, turn = (1, 1) if context.tiny else (ROUNDS, TURN)
    for setting in settings:
        name = f"batch {batch}, {setting.label}"
        try:
            launch, error, time_peer = load_peer(context, model, setting, blob, expected)
        except Exception as problem:  # a library's own: out of memory, no compiler, …
            record(name, {"problem": f"{type(problem).__name__}: {problem}"[:300]})
            continue
        figures: dict[str, Any] = {"exact": setting.exact, "error": float(f"{error:.1e}")}
        if not error <= (PEER_FLOAT32 if setting.exact else PEER_BFLOAT16):
            record(name, {**figures, "problem": "its logits differ from ours"})
            continue
        mine, theirs = in_turns(
            partial(spans_ms, target, ours.launch, turn, 2),
            partial(time_peer, launch, turn),
            rounds,
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
    ours: Callable[[], list[float]], theirs: Callable[[], list[float]], rounds: int
) -> tuple[list[float], list[float]]:
    """Return each round's median of either, so that a clock that drifts drifts for both."""
    pairs = [(median(ours()), median(theirs())) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]
