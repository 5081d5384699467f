"""Heads to rows (box, class) on a GPU: ``kernels/decode.cu``.

The rows of an image are those of `tinyyolo3.boxes.decode.decode_reference`, of the wanted classes,
with boxes already turned back to fractions of the picture. Threads append them in whatever order
they come; sorting restores one that depends on the numbers alone (`tinyyolo3.boxes.nms_cuda`,
`decoded_rows`).
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.boxes.call_cuda import CallBuffers
from tinyyolo3.boxes.decode import Decoded, HeadGeometry
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.yolo import centre_shift

#: `struct Row` of ``kernels/boxes.cuh``.
ROW = np.dtype(
    [
        ("box_cxcywh_unit", np.float32, (4,)),
        ("objectness", np.float32),
        ("confidence", np.float32),
        ("class_id", np.int32),
        ("candidate", np.int32),
    ]
)

#: Threads of a block; each looks at one candidate's objectness.
_BLOCK = 256


class HeadStruct(ctypes.Structure):
    """`struct Head` of ``kernels/boxes.cuh``."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("anchors", "classes", "first_candidate")),
        *((name, ctypes.c_int) for name in ("network_width", "network_height")),
        *((name, ctypes.c_int) for name in ("activated", "region", "softmax")),
        *((name, ctypes.c_float) for name in ("scale", "shift")),
        ("watched", ctypes.c_int),
    )


@dataclass(frozen=True, eq=False)
class DeviceHead:
    """A head whose maps are to be decoded.

    Attributes:
        logits: its raw maps, anchors*(5+classes) channels.
        struct: what the kernel needs to know besides.
        anchors_unit: float64, width and height of each anchor, in the target's memory.
    """

    logits: DeviceMap
    struct: HeadStruct
    anchors_unit: DeviceArray


@dataclass(frozen=True, eq=False)
class RowBuffers:
    """Room for the decoded rows of a batch, in the target's memory.

    Attributes:
        rows: uint8, `ROW` (images, capacity).
        counts: int32 (images,), rows that passed, whether there was room for them or not.
        overflows: int32 (images,), more than 0 where logits were not finite that are watched.
        images: pictures in a batch.
        capacity: rows of a picture.
    """

    rows: DeviceArray
    counts: DeviceArray
    overflows: DeviceArray
    images: int
    capacity: int

    @classmethod
    def allocate(cls, target: Target, images: int, capacity: int) -> "RowBuffers":
        """Return new buffers; the counts are undefined."""
        rows = target.empty(images * capacity * ROW.itemsize, np.uint8)
        counts, overflows = (target.empty(images, np.int32) for _ in range(2))
        return cls(rows, counts, overflows, images, capacity)


def device_heads(
    target: Target,
    logits: Sequence[DeviceMap],
    geometries: Sequence[HeadGeometry],
    network_size: tuple[int, int],
    watched: Sequence[int] | None = None,
) -> tuple[DeviceHead, ...]:
    """Put what decoding needs to know of a network's heads into the target's memory.

    Args:
        target: where to decode.
        logits: the heads' raw maps, in the order of the network.
        geometries: what each head is.
        network_size: width and height of the network's input.
        watched: of each head, how many logits of a candidate are looked at for overflows, the
            objectness first; none when None.

    Raises:
        InputError: heads and geometries do not belong together, or there are more than 2^31
            candidates.
    """
    if not logits or len(logits) != len(geometries):
        raise InputError(
            f"expected as many heads as geometries and at least one, "
            f"found {len(logits)} and {len(geometries)}"
        )
    heads = []
    candidate = 0
    for k, (x, geometry) in enumerate(zip(logits, geometries, strict=True)):
        anchors, classes = len(geometry.anchors_unit), geometry.classes
        if x.channels != anchors * (5 + classes):
            raise InputError(
                f"head {k} must have {anchors * (5 + classes)} channels, not {x.channels}"
            )
        scale = np.float32(geometry.scale_x_y)
        region = geometry.kind == "region"
        struct = HeadStruct(
            *(anchors, classes, candidate, *network_size),
            *(geometry.new_coords, region, region and geometry.softmax),
            *(float(scale), float(centre_shift(scale))),
            0 if watched is None else watched[k],
        )
        table = target.upload(np.array(geometry.anchors_unit, np.float64).reshape(-1))
        heads.append(DeviceHead(x, struct, table))
        candidate += anchors * x.height * x.width
    if candidate > np.iinfo(np.int32).max:
        raise InputError(f"the heads have {candidate} candidates, more than a GPU's 32 bits count")
    return tuple(heads)


def decode_cuda(
    target: Target, heads: Sequence[DeviceHead], call: CallBuffers, found: RowBuffers
) -> None:
    """Launch the decoding of a batch: one kernel to begin with, and one for each head.

    Args:
        target: where to run.
        heads: the heads, with maps of as many images as `found`.
        call: thresholds, wanted classes and the frames of the pictures.
        found: where to write.
    """
    target.kernel("decode.cu", "clear_counts")(
        (-(-found.images // _BLOCK),),
        (_BLOCK,),
        (found.counts, found.overflows, found.images),
        outputs=(found.counts, found.overflows),
    )
    kernel = target.kernel("decode.cu", "decode_head")
    for head in heads:
        x = head.logits
        candidates = head.struct.anchors * x.height * x.width
        kernel(
            (-(-candidates // _BLOCK), found.images),
            (_BLOCK,),
            (
                *(x.data, x.struct, head.struct, head.anchors_unit),
                *(call.selection, call.wanted, call.frames),
                *(found.rows, found.counts, found.overflows, found.capacity),
            ),
        )


def decoded_rows(target: Target, found: RowBuffers) -> list[Decoded]:
    """Fetch the rows of each image, by candidate, then by class; boxes are those of the picture.

    Where an image has more rows than there is room for, an arbitrary part of them is missing.
    """
    counts = target.download(found.counts)
    rows = target.download(found.rows).view(ROW).reshape(found.images, found.capacity)
    return [_ordered(image[:count]) for image, count in zip(rows, counts, strict=True)]


def _ordered(rows: NDArray[np.void]) -> Decoded:
    rows = rows[np.lexsort((rows["class_id"], rows["candidate"]))]
    return Decoded(
        np.ascontiguousarray(rows["box_cxcywh_unit"]),
        np.ascontiguousarray(rows["objectness"]),
        np.ascontiguousarray(rows["confidence"]),
        rows["class_id"].astype(np.intp),
        rows["candidate"].astype(np.intp),
    )
