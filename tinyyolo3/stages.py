"""The steps around the network, in the two forms that there are: compiled, and plain NumPy.

Both forms of a step give the same boxes. The compiled ones are ten to thirty times as quick; the
plain ones need no compiler, which on a fresh machine takes longer than the first picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import ByteArray, FloatArray, IntArray
from tinyyolo3.boxes.decode import Decoded, HeadGeometry, decode_reference
from tinyyolo3.boxes.decode_numba import decode_numba
from tinyyolo3.boxes.nms import NmsKind, nms_numba, nms_reference
from tinyyolo3.engine.cpu.readiness import ready
from tinyyolo3.image.geometry import ResizeMode
from tinyyolo3.image.resize import network_input_numba, network_input_reference


class NetworkInput(Protocol):
    """`tinyyolo3.image.resize.network_input_reference`, or what does the same."""

    def __call__(
        self,
        image: ByteArray,
        width: int,
        height: int,
        mode: ResizeMode,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Fit a picture to a network's input."""


class Decode(Protocol):
    """`tinyyolo3.boxes.decode.decode_reference`, or what does the same."""

    def __call__(
        self,
        heads: Sequence[FloatArray],
        geometries: Sequence[HeadGeometry],
        threshold: float,
        *,
        multi_label: bool = True,
    ) -> Decoded:
        """Return the boxes of one image above a threshold."""


class Nms(Protocol):
    """`tinyyolo3.boxes.nms.nms_reference`, or what does the same."""

    def __call__(
        self,
        boxes_cxcywh_unit: FloatArray,
        confidence: FloatArray,
        class_id: IntArray,
        *,
        iou_threshold: float,
        kind: NmsKind = "greedy",
        class_agnostic: bool = False,
        beta: float = 0.6,
    ) -> NDArray[np.intp]:
        """Return the rows that survive suppression."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What turns a picture into a network's input, and its heads into boxes worth reporting.

    Attributes:
        network_input: fits a picture to the network's input.
        decode: turns the heads of one image into the boxes above a threshold.
        nms: chooses the boxes that survive suppression.
    """

    network_input: NetworkInput
    decode: Decode
    nms: Nms


COMPILED = Stages(network_input_numba, decode_numba, nms_numba)
PLAIN = Stages(network_input_reference, decode_reference, nms_reference)


def stages() -> Stages:
    """Return the form to use now."""
    return COMPILED if ready() else PLAIN
