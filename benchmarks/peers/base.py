"""What every engine is given and gives back.

Nothing here imports the project's package or a peer's: what this module costs, every engine's
start-up time and memory would carry.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
ByteArray = NDArray[np.uint8]

#: What `detect` of every engine uses; `quiet_weights` in networks.py lets no box pass.
THRESHOLD, NMS = 0.25, 0.45
#: Width and height of the picture that is detected in.
PICTURE_SIZE = (768, 576)


class UnavailableError(Exception):
    """An engine cannot run here; the message says why in one line."""


@dataclass(frozen=True)
class Model:
    """One network in every form that an engine reads, in one folder.

    Attributes:
        folder: where the files are.
        side: width and height of the network's input in pixels.
    """

    folder: Path
    side: int

    @property
    def cfg(self) -> Path:
        """Darknet's description."""
        return self.folder / "network.cfg"

    @property
    def weights(self) -> Path:
        """Darknet's weights, batch norm apart."""
        return self.folder / "network.weights"

    @property
    def onnx(self) -> Path:
        """The folded network as ONNX."""
        return self.folder / "network.onnx"

    @property
    def ncnn_param(self) -> Path:
        """The folded network's layers as ncnn reads them."""
        return self.folder / "network.param"

    @property
    def ncnn_bin(self) -> Path:
        """The folded network's weights as ncnn reads them."""
        return self.folder / "network.bin"

    @property
    def layers(self) -> Path:
        """The layers as a JSON list of their specifications, and the outputs' indices."""
        return self.folder / "network.json"

    @property
    def parameters(self) -> Path:
        """The folded ``weights.INDEX`` and ``biases.INDEX`` of the convolutions, as .npz."""
        return self.folder / "network.npz"

    def blob(self) -> FloatArray:
        """Return the network's input that is timed: (1, 3, side, side) float32 in [0, 1]."""
        return np.random.default_rng(0).random((1, 3, self.side, self.side), np.float32)


def sample_picture() -> ByteArray:
    """Return the picture that is detected in: (H, W, 3) uint8."""
    width, height = PICTURE_SIZE
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def existing_onnx(model: Model) -> Path:
    """Return the ONNX file.

    Raises:
        UnavailableError: there is none.
    """
    if not model.onnx.exists():
        raise UnavailableError("there is no ONNX file, which only the package onnx can write")
    return model.onnx


@dataclass(frozen=True)
class Engine:
    """A loaded network.

    Attributes:
        version: of the library.
        precision: of weights and activations, "float32" or "bfloat16".
        forward: from a blob to the heads' logits, (1, C, H, W) each, in the order of
            `tinyyolo3.engine.network.Network.forward`.
        detect: from a picture's pixels to boxes; None where the library leaves that to its users.
    """

    version: str
    precision: str
    forward: Callable[[FloatArray], list[FloatArray]]
    detect: Callable[[ByteArray], object] | None = None
