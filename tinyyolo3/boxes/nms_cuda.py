"""Rows to the boxes worth reporting, on a GPU: ``kernels/nms.cu``.

Rows are sorted by falling confidence, equals by candidate and class; every pair of them is compared
at once, a bit for each (`nms_mask`); one block walks down the rows and keeps those that no kept one
suppresses. Survivors and their order are those of `tinyyolo3.boxes.nms.nms_reference`.

The whole way from logits to boxes is `detect_boxes_cuda`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.boxes.call_cuda import CallBuffers
from tinyyolo3.boxes.decode_cuda import ROW, DeviceHead, RowBuffers, decode_cuda
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError

#: Rows of a picture that there is room for at first; a photograph has some dozens.
FIRST_CAPACITY = 1024
#: The most that are suppressed on a GPU: the mask takes capacity²/8 bytes, 32 MiB a picture.
LARGEST_CAPACITY = 16384

#: Rows of a tile: a bit of a 64-bit word for each.
_TILE = 64
_BLOCK = 256
#: Bytes of shared memory: 256 keys; 64 boxes as sides; words for all tiles, one tile and one more.
_SORT_SHARED = _BLOCK * 12
_MASK_SHARED = _TILE * 32
_SCAN_SHARED = (LARGEST_CAPACITY // _TILE + _TILE + 1) * 8


@dataclass(frozen=True)
class FoundBoxes:
    """The boxes of one picture, the most confident first.

    Attributes:
        boxes_cxcywh_unit: (K, 4) float32, in fractions of the picture.
        objectness: (K,) float32.
        confidence: (K,) float32.
        class_id: (K,) int64.
        decoded: how many rows there were before suppression. If more than there was room for, the
            boxes are worth nothing: run again with a `larger_capacity`.
        overflowed: whether logits that are watched were not finite.
    """

    boxes_cxcywh_unit: NDArray[np.float32]
    objectness: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]
    decoded: int
    overflowed: bool


@dataclass(frozen=True, eq=False)
class BoxBuffers:
    """What finding the boxes of a batch needs of the target's memory.

    Attributes:
        decoded: the rows as they are decoded.
        sorted: uint8, `ROW` (images, capacity), by rank.
        mask: uint64 (images, capacity, capacity / 64): bit k of word w of row i says that i
            suppresses row 64·w + k.
        results: uint8, what to fetch; `read_results` has the layout.
    """

    decoded: RowBuffers
    sorted: DeviceArray
    mask: DeviceArray
    results: DeviceArray

    @classmethod
    def allocate(cls, target: Target, images: int, capacity: int = FIRST_CAPACITY) -> "BoxBuffers":
        """Return new buffers.

        Args:
            target: where they are.
            images: pictures in a batch.
            capacity: rows of a picture, rounded up to a multiple of 256.

        Raises:
            InputError: the capacity exceeds `LARGEST_CAPACITY`.
        """
        if capacity > LARGEST_CAPACITY:
            raise InputError(
                f"a GPU suppresses {LARGEST_CAPACITY} rows of a picture at most, not {capacity}"
            )
        capacity = -(-capacity // _BLOCK) * _BLOCK
        return cls(
            RowBuffers.allocate(target, images, capacity),
            target.empty(images * capacity * ROW.itemsize, np.uint8),
            target.empty(images * capacity * (capacity // _TILE), np.uint64),
            target.empty(_results_layout(images, capacity).itemsize, np.uint8),
        )

    @property
    def images(self) -> int:
        """Pictures in a batch."""
        return self.decoded.images

    @property
    def capacity(self) -> int:
        """Rows of a picture that there is room for."""
        return self.decoded.capacity


def larger_capacity(decoded: int, capacity: int) -> int | None:
    """Return the capacity to try next for so many rows, or None: let the CPU suppress them."""
    while capacity < decoded:
        capacity *= 4
    return capacity if capacity <= LARGEST_CAPACITY else None


def _results_layout(images: int, capacity: int) -> np.dtype[np.void]:
    """Return the layout of `BoxBuffers.results`; a row's address is a multiple of 16."""
    names = ("decoded", "kept", "overflows", "unused")
    counts = np.dtype([(name, np.int32) for name in names])
    return np.dtype([("counts", counts, (images,)), ("rows", ROW, (images, capacity))])


def read_results(results: NDArray[np.uint8], images: int, capacity: int) -> list[FoundBoxes]:
    """Return the boxes of each picture from what was fetched of `BoxBuffers.results`.

    Args:
        results: a copy on the host; the boxes do not refer to it.
        images: pictures in the batch.
        capacity: `BoxBuffers.capacity`.
    """
    record = results.view(_results_layout(images, capacity))[0]
    boxes = []
    for counts, every in zip(record["counts"], record["rows"], strict=True):
        rows = every[: counts["kept"]]
        boxes.append(
            FoundBoxes(
                rows["box_cxcywh_unit"].copy(),
                rows["objectness"].copy(),
                rows["confidence"].copy(),
                rows["class_id"].astype(np.int64),
                int(counts["decoded"]),
                bool(counts["overflows"]),
            )
        )
    return boxes


def detect_boxes_cuda(
    target: Target, heads: Sequence[DeviceHead], call: CallBuffers, buffers: BoxBuffers
) -> None:
    """Launch everything from logits to boxes, for a whole batch.

    The launches are the same for every call; what is found lies in ``buffers.results`` after them.

    Args:
        target: where to run.
        heads: the network's heads (`tinyyolo3.boxes.decode_cuda.device_heads`).
        call: thresholds, wanted classes and frames.
        buffers: for as many images as the heads' maps have.
    """
    decode_cuda(target, heads, call, buffers.decoded)
    sort_rows_cuda(target, buffers)
    nms_cuda(target, call, buffers)


def sort_rows_cuda(target: Target, buffers: BoxBuffers) -> None:
    """Launch the sort of each image's decoded rows: most confident first, equals as decoded."""
    decoded = buffers.decoded
    target.kernel("nms.cu", "sort_rows")(
        (buffers.capacity // _BLOCK, buffers.images),
        (_BLOCK,),
        (decoded.rows, decoded.counts, buffers.sorted, buffers.capacity),
        shared_mem=_SORT_SHARED,
    )


def nms_cuda(target: Target, call: CallBuffers, buffers: BoxBuffers) -> None:
    """Launch the suppression of sorted rows, and write down what survives."""
    counts, capacity, images = buffers.decoded.counts, buffers.capacity, buffers.images
    tiles = capacity // _TILE
    target.kernel("nms.cu", "nms_mask")(
        (tiles, tiles, images),
        (_TILE,),
        (buffers.sorted, counts, call.selection, buffers.mask, capacity),
        shared_mem=_MASK_SHARED,
    )
    layout = _results_layout(images, capacity)
    fields = layout.fields
    assert fields is not None
    first_row = fields["rows"][1]
    target.kernel("nms.cu", "nms_scan")(
        (images,),
        (_BLOCK,),
        (
            *(buffers.sorted, counts, call.selection, buffers.mask, buffers.decoded.overflows),
            *(buffers.results[:first_row], buffers.results[first_row:], capacity),
        ),
        shared_mem=_SCAN_SHARED,
    )
