"""What one call of a detector asks for, as the kernels read it.

Launches are recorded once for an input's shape and run again for each batch. So whatever differs
from call to call (where the pictures lie, thresholds, wanted classes) is one small block of the
target's memory, filled from a block of the same layout on the host.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.boxes.decode import LARGEST_SIDE_UNIT
from tinyyolo3.boxes.decode_numba import logit_bound
from tinyyolo3.boxes.nms import NmsKind
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.image.geometry import Geometry
from tinyyolo3.image.resize_cuda import FRAME, fill_frames

#: `struct Selection` of ``kernels/boxes.cuh``.
SELECTION = np.dtype(
    [
        ("beta", np.float64),
        ("logit_bound", np.float64),
        ("threshold", np.float32),
        ("iou_threshold", np.float32),
        ("largest_side", np.float32),
        ("multi_label", np.int32),
        ("agnostic", np.int32),
        ("suppression", np.int32),
    ]
)

#: The numbers of `Selection::suppression`.
SUPPRESSIONS: dict[NmsKind | None, int] = {None: 0, "greedy": 1, "diou": 2}


@dataclass(frozen=True, eq=False)
class CallBuffers:
    """A call's block of memory on the host and on the target.

    Fill `record`, then copy: ``target.copy_in(call.device, call.pinned)``.

    Attributes:
        pinned: uint8, the host's block.
        device: uint8, the target's.
        record: a structured view of `pinned`, with the fields ``selection`` (`SELECTION`),
            ``frames`` (`FRAME`, one per image) and ``wanted`` (uint8, one per class).
    """

    pinned: NDArray[np.uint8]
    device: DeviceArray
    record: NDArray[np.void]

    @classmethod
    def allocate(cls, target: Target, images: int, classes: int) -> "CallBuffers":
        """Return the block for batches of so many pictures and networks of so many classes."""
        layout = np.dtype(
            [
                ("selection", SELECTION),
                ("frames", FRAME, (images,)),
                ("wanted", np.uint8, (classes,)),
            ]
        )
        pinned = target.pinned(layout.itemsize, np.uint8)
        pinned[...] = 0
        return cls(pinned, target.empty(layout.itemsize, np.uint8), pinned.view(layout))

    @property
    def selection(self) -> DeviceArray:
        """The target's ``Selection``, uint8."""
        return self._part("selection")

    @property
    def frames(self) -> DeviceArray:
        """The target's ``Frame`` of each image, uint8."""
        return self._part("frames")

    @property
    def wanted(self) -> DeviceArray:
        """Which classes to report, uint8 of 0 and 1 in the target's memory."""
        return self._part("wanted")

    def _part(self, name: str) -> DeviceArray:
        fields = self.record.dtype.fields
        assert fields is not None
        dtype, offset = fields[name][:2]
        return self.device[offset : offset + dtype.itemsize]

    def fill(
        self,
        geometries: Sequence[Geometry],
        *,
        threshold: float,
        nms: float | None,
        nms_kind: NmsKind = "greedy",
        beta_nms: float = 0.6,
        multi_label: bool = True,
        agnostic: bool = False,
        class_ids: Iterable[int] | None = None,
    ) -> int:
        """Write a call into the host's block.

        Args:
            geometries: where each picture goes in the network's input.
            threshold: scores above it are reported, in [0, 1].
            nms: overlaps above it suppress, in [0, 1]; None suppresses nothing.
            nms_kind: which overlap.
            beta_nms: exponent of "diou".
            multi_label: report every class of a box rather than its best.
            agnostic: compare boxes of different classes.
            class_ids: report only these; None reports all.

        Returns:
            How many bytes the pictures have, together.

        Raises:
            InputError: there are more pictures than the block has frames.
        """
        limit = np.float32(threshold)
        selection = self.record["selection"]
        selection["beta"] = beta_nms
        selection["logit_bound"] = logit_bound(float(limit))
        selection["threshold"] = limit
        selection["iou_threshold"] = 0 if nms is None else nms
        selection["largest_side"] = LARGEST_SIDE_UNIT
        selection["multi_label"] = multi_label
        selection["agnostic"] = agnostic
        selection["suppression"] = SUPPRESSIONS[None if nms is None else nms_kind]
        wanted = self.record["wanted"][0]
        wanted[...] = class_ids is None
        if class_ids is not None:
            wanted[list(class_ids)] = 1
        return fill_frames(self.record["frames"][0], geometries)
