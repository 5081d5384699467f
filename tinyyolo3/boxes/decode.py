"""From a network's heads to boxes: every candidate, or those whose score passes a threshold.

A head lays a grid over the image. For a cell (col, row) and an anchor of size (a_w, a_h) it gives
t_x, t_y, t_w, t_h, an objectness and one score per class, which stand for the box

    b_x = (col + s·σ(t_x) - (s - 1)/2) / grid_w          b_w = a_w · exp(t_w)
    b_y = (row + s·σ(t_y) - (s - 1)/2) / grid_h          b_h = a_h · exp(t_h)

in fractions of the network's input (Redmon and Farhadi, YOLO9000, 2017, section 2, and YOLOv3,
2018, section 2.1; yolo_layer.c, get_yolo_box; region_layer.c, get_region_box), with
``b_w = a_w · (2 t_w)²`` under new_coords. A class's probability is objectness × class score.

Sizes are taken in float64 and rounded once; everything else is arithmetic in the heads' dtype, in
Darknet's order of operations, so that float32 heads meet a threshold with Darknet's numbers. This
file holds the definitions; `tinyyolo3.boxes.decode_numba` holds the compiled version.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.region import region_forward_reference
from tinyyolo3.layers.yolo import split_anchors, yolo_forward_reference

#: A larger side stands for this one: what broken weights give would overflow in pixels.
LARGEST_SIDE_UNIT = np.float32(1e9)


@dataclass(frozen=True, slots=True)
class HeadGeometry:
    """What decoding one head needs to know besides its maps.

    Attributes:
        kind: "yolo" (v3 and later) or "region" (v2).
        anchors_unit: width and height of each anchor as fractions of the network's input: pixels
            over the input's size for yolo, cells over the grid's size for region.
        classes: how many classes the head scores.
        scale_x_y: how far a centre may reach, in cells (yolo).
        new_coords: the maps are activated already and sizes are squares (yolo).
        softmax: the classes share a softmax (region).

    Raises:
        InputError: a value is out of its range, or belongs to the other kind.
    """

    kind: Literal["yolo", "region"]
    anchors_unit: tuple[tuple[float, float], ...]
    classes: int
    scale_x_y: float = 1.0
    new_coords: bool = False
    softmax: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("yolo", "region"):
            raise InputError(f"a head's kind must be 'yolo' or 'region', not {self.kind!r}")
        pairs = self.anchors_unit and all(len(anchor) == 2 for anchor in self.anchors_unit)
        sizes = [size for anchor in self.anchors_unit for size in anchor]
        if not pairs or not all(0 < size < math.inf for size in sizes):
            raise InputError(f"anchors_unit must be pairs of sizes, not {self.anchors_unit!r}")
        if self.classes < 1:
            raise InputError(f"a head must score at least one class, not {self.classes}")
        if not 0 < self.scale_x_y < math.inf:
            raise InputError(f"scale_x_y must be a positive number, not {self.scale_x_y!r}")
        if self.kind == "region" and (self.new_coords or self.scale_x_y != 1):
            raise InputError("a region head knows neither new_coords nor scale_x_y")


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Every box of one image's heads, in Darknet's order: head, cell row by row, anchor.

    Attributes:
        boxes_cxcywh_unit: (M, 4), in fractions of the network's input.
        objectness: (M,).
        probability: (M, classes), objectness × class score.
    """

    boxes_cxcywh_unit: FloatArray
    objectness: FloatArray
    probability: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The rows (box, class) of one image above a threshold, by candidate, then by class.

    Attributes:
        boxes_cxcywh_unit: (K, 4), in fractions of the network's input.
        objectness: (K,).
        confidence: (K,), the probability of the row's class.
        class_id: (K,) intp.
        candidate: (K,) intp, the box's index among all `Candidates`.
    """

    boxes_cxcywh_unit: FloatArray
    objectness: FloatArray
    confidence: FloatArray
    class_id: NDArray[np.intp]
    candidate: NDArray[np.intp]

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Decoded":
        """Return the chosen rows: a mask, their numbers in the order wanted, or a slice."""
        return Decoded(
            self.boxes_cxcywh_unit[chosen],
            self.objectness[chosen],
            self.confidence[chosen],
            self.class_id[chosen],
            self.candidate[chosen],
        )


def check_heads(heads: Sequence[FloatArray], geometries: Sequence[HeadGeometry]) -> None:
    """Check that heads and geometries belong together.

    Raises:
        InputError: there is none, their counts differ, classes differ between heads, or a head
            is not a float array of ``(anchors*(5+classes), H, W)``.
    """
    if not heads or len(heads) != len(geometries):
        raise InputError(
            f"expected as many heads as geometries and at least one, "
            f"found {len(heads)} and {len(geometries)}"
        )
    for k, (head, geometry) in enumerate(zip(heads, geometries, strict=True)):
        if geometry.classes != geometries[0].classes:
            raise InputError(
                f"head {k} scores {geometry.classes} classes, head 0 {geometries[0].classes}: "
                f"they must be the same"
            )
        channels = len(geometry.anchors_unit) * (5 + geometry.classes)
        fits = head.ndim == 3 and head.shape[0] == channels and head.size > 0
        if not fits or not np.issubdtype(head.dtype, np.floating):
            raise InputError(
                f"head {k} must be floats of shape ({channels}, H, W), "
                f"not {head.dtype} of shape {head.shape}"
            )


def check_threshold(threshold: float, name: str = "threshold") -> None:
    """Check a threshold of scores or overlaps, which messages call `name`.

    Raises:
        InputError: it is not a number in [0, 1].
    """
    number = isinstance(threshold, Real) and not isinstance(threshold, bool)
    if not number or not 0 <= threshold <= 1:  # NaN is not
        raise InputError(f"{name} must be a number in [0, 1], not {threshold!r}")


def candidates_reference(
    heads: Sequence[FloatArray], geometries: Sequence[HeadGeometry]
) -> Candidates:
    """Decode every box of one image, whatever its score and however odd its numbers.

    Args:
        heads: raw maps (logits) of one image, each (anchors*(5+classes), H, W), in the order of
            the network; float64 stays float64, anything less is decoded in float32.
        geometries: what each head is.

    Returns:
        The candidates, in the heads' dtype.

    Raises:
        InputError: heads and geometries do not belong together.
    """
    check_heads(heads, geometries)
    dtype = np.result_type(np.float32, *heads)
    parts = [
        _head_candidates(np.asarray(head, dtype), geometry)
        for head, geometry in zip(heads, geometries, strict=True)
    ]
    return Candidates(
        np.concatenate([part.boxes_cxcywh_unit for part in parts]),
        np.concatenate([part.objectness for part in parts]),
        np.concatenate([part.probability for part in parts]),
    )


def _head_candidates(head: FloatArray, geometry: HeadGeometry) -> Candidates:
    anchors, classes = len(geometry.anchors_unit), geometry.classes
    if geometry.kind == "yolo":
        maps = yolo_forward_reference(
            head[None],
            anchors=anchors,
            classes=classes,
            scale_x_y=geometry.scale_x_y,
            new_coords=geometry.new_coords,
        )
    else:
        maps = region_forward_reference(
            head[None], anchors=anchors, classes=classes, softmax=geometry.softmax
        )
    # (entry, row, col, anchor): the last three, flattened, are Darknet's order of boxes.
    entries = split_anchors(geometry.kind, maps, anchors, classes)[0].transpose(1, 2, 3, 0)
    grid_h, grid_w = head.shape[1:]
    rows = np.arange(grid_h, dtype=head.dtype)[:, None, None]
    cols = np.arange(grid_w, dtype=head.dtype)[:, None]
    sizes = entries[2:4].astype(np.float64)
    anchor_sizes = np.array(geometry.anchors_unit).T[:, None, None, :]
    with np.errstate(over="ignore", invalid="ignore"):  # kept as inf and NaN; decode drops them
        boxes = np.empty((4, grid_h, grid_w, anchors), head.dtype)
        boxes[0] = (cols + entries[0]) / head.dtype.type(grid_w)
        boxes[1] = (rows + entries[1]) / head.dtype.type(grid_h)
        boxes[2:] = (sizes * sizes * 4 if geometry.new_coords else np.exp(sizes)) * anchor_sizes
        objectness = entries[4].reshape(-1)
        probability = np.moveaxis(entries[4] * entries[5:], 0, -1).reshape(-1, classes)
    if geometry.kind == "region":
        # DARKNET: AlexeyAB's custom_get_region_detections calls every box's objectness 1; the
        # predicted one lives on in the probabilities alone.
        objectness = np.ones_like(objectness)
    return Candidates(np.moveaxis(boxes, 0, -1).reshape(-1, 4), objectness, probability)


def decode_reference(
    heads: Sequence[FloatArray],
    geometries: Sequence[HeadGeometry],
    threshold: float,
    *,
    multi_label: bool = True,
) -> Decoded:
    """Decode the boxes of one image that score above a threshold (get_yolo_detections).

    A row needs ``objectness > threshold`` and ``probability > threshold``, both strictly, the
    threshold rounded to the heads' dtype. A row with a number that is not finite is dropped: it
    could be neither drawn nor written down.

    Args:
        heads: as for `candidates_reference`.
        geometries: what each head is.
        threshold: in [0, 1].
        multi_label: False keeps only a box's most probable class, the first of equals.

    Returns:
        The rows, in the heads' dtype, by candidate, then by class.

    Raises:
        InputError: heads and geometries do not belong together, or the threshold is no number
            in [0, 1].
    """
    check_threshold(threshold)
    every = candidates_reference(heads, geometries)
    boxes, objectness, probability = every.boxes_cxcywh_unit, every.objectness, every.probability
    limit = probability.dtype.type(threshold)
    usable = np.isfinite(boxes).all(axis=1) & np.isfinite(objectness) & (objectness > limit)
    passes = usable[:, None] & np.isfinite(probability) & (probability > limit)
    if not multi_label:
        best = np.where(passes, probability, 0).argmax(axis=1)
        passes &= best[:, None] == np.arange(probability.shape[1])
    candidate, class_id = np.nonzero(passes)
    return Decoded(
        boxes[candidate],
        objectness[candidate],
        probability[candidate, class_id],
        class_id,
        candidate,
    )
