"""The networks that the GPU run measures, and our engine with one of them loaded."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_context import Context
from networks import CLASSIC, Source, classic, trained
from peers.base import Model
from tinyyolo3.cuda.maps import download_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.detector import Detector
from tinyyolo3.layers.layout import nchw_to_map_cuda
from tinyyolo3.loading import load_on
from tinyyolo3.testing.architectures import yolov3_tiny_config

#: The trained network, of the folder that TINYYOLO3_REFERENCE names.
TRAINED = "yolo-fastest-1.1-xl"
BATCHES = (1, 8)
#: What networks are computed in, in the order in which they are measured.
PRECISIONS = ("fp32", "fp16", "tf32")


def find_model(context: Context, name: str) -> Model:
    """Return a network's files, written when they are first asked for.

    Raises:
        FileNotFoundError: it is a trained one, and not here.
    """
    source = find_source(context, name)
    model = context.model(name, source.side)
    if not model.weights.exists():
        source.write(model)
    return model


def find_source(context: Context, name: str) -> Source:
    """Return where a network comes from; without a GPU, a tiny one stands for each.

    Raises:
        FileNotFoundError: it is a trained one, and not here.
    """
    if context.tiny:
        return classic(name, small_config, 32)
    for source in CLASSIC:
        if source.name == name:
            return source
    folder = Path(os.environ.get("TINYYOLO3_REFERENCE", "")) / "models" / TRAINED
    if name != f"{TRAINED}-320" or not (folder / "model.weights").exists():
        raise FileNotFoundError(f"{name}: TINYYOLO3_REFERENCE has no {folder.name}")
    files = (str(folder / "model.cfg"), str(folder / "model.weights"))
    return trained(name, *files, side="320")


def small_config(width: int, height: int) -> str:
    """Return YOLOv3-tiny for one class, with a sixteenth of the filters."""
    text = yolov3_tiny_config(width, height, classes=1)
    heads = f"{3 * (5 + 1)}"

    def fewer(match: re.Match[str]) -> str:
        return match[0] if match[1] == heads else f"filters={int(match[1]) // 16}"

    return re.sub(r"filters=(\d+)", fewer, text)


def blobs(model: Model, batch: int) -> NDArray[np.float32]:
    """Return a batch whose first and last pictures are `Model.blob`, and others between them."""
    first = model.blob()
    others = np.random.default_rng(1).random((max(batch - 2, 0), *first.shape[1:]), np.float32)
    return np.concatenate([first, others, first][: min(batch, 3)]).astype(np.float32)


@dataclass(frozen=True)
class Forward:
    """Our network at one batch size.

    Attributes:
        launch: begins a forward pass: one CUDA graph, from the input as NumPy has it.
        outputs: runs one and returns the heads' logits (N, C, H, W).
        arena_bytes: the memory that its maps take.
    """

    launch: Callable[[], None]
    outputs: Callable[[], list[NDArray[np.float32]]]
    arena_bytes: int


def load_ours(
    target: Target, model: Model, precision: str = "fp32", *, persistent: bool = False
) -> Detector:
    """Load a network onto a target."""
    sizes = (model.side, model.side)
    options: dict[str, Any] = {"precision": precision, "persistent": persistent}
    return load_on(target, model.cfg, model.weights, size=sizes, **options)


@contextmanager
def one_by_one(target: Target) -> Iterator[None]:
    """Let no launches on a GPU overlap in here."""
    target.overlap = False  # type: ignore[attr-defined]  # only the GPU's target has it
    try:
        yield
    finally:
        target.overlap = True  # type: ignore[attr-defined]


def prepare_forward(target: Target, detector: Detector, blob: NDArray[np.float32]) -> Forward:
    """Return the network's forward pass of a batch that lies in the target's memory."""
    engine: Any = detector.network.engine
    program = engine.program(target, detector.network.graph, len(blob))
    x = target.upload(blob.reshape(-1))

    def record() -> None:
        # The input's place may serve other maps later in the pass, so every pass writes it.
        nchw_to_map_cuda(target, x, program.input)
        program.launch()

    launch = target.capture(record)

    def outputs() -> list[NDArray[np.float32]]:
        launch()
        target.synchronize()
        return [download_map(target, y) for y in program.outputs]

    return Forward(launch, outputs, int(program.plan.arena_bytes))
