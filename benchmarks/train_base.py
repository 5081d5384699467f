"""What every trainer that is timed is given and gives back.

Nothing here imports the project's package or a peer's: what this module costs, every trainer's
memory would carry.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peers.base import FloatArray

#: Of the update: w ← w + rate · v with v ← momentum · v + deltas − decay · w.
RATE, MOMENTUM, DECAY = 1e-7, 0.9, 5e-4


@dataclass(frozen=True)
class Trainer:
    """A network ready to be trained on one mini-batch.

    Attributes:
        version: of the library.
        step: forward and backward pass and update.
        results: does a forward and a backward pass, and returns by name the heads' logits and the
            gradients of all weights.
    """

    version: str
    step: Callable[[], object]
    results: Callable[[], dict[str, FloatArray]]


def read_pictures(folder: Path) -> FloatArray:
    """Return the mini-batch, (N, 3, side, side) float32 in [0, 1]."""
    pictures: FloatArray = np.load(folder / "pictures.npy")
    return pictures


def read_gradients(folder: Path) -> dict[int, FloatArray]:
    """Return the loss's gradient by each head's logits, by the layer that puts them out."""
    with np.load(folder / "gradients.npz") as arrays:
        return {int(name): array for name, array in arrays.items()}
