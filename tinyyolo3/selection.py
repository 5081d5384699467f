"""From a network's logits to the boxes worth reporting: decode, turn back, suppress."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import ByteArray, FloatArray
from tinyyolo3.boxes.decode import LARGEST_SIDE_UNIT, Decoded, HeadGeometry, check_threshold
from tinyyolo3.boxes.nms import NmsKind
from tinyyolo3.errors import InputError
from tinyyolo3.image.geometry import Geometry, boxes_image_from_network_unit
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.specs import Head, Region, Yolo
from tinyyolo3.stages import Stages


@dataclass(frozen=True)
class Selection:
    """Which of the decoded boxes to report; the fields are `Detector.detect`'s arguments.

    Raises:
        InputError: a threshold or `nms_kind` is none.
    """

    threshold: float
    nms: float | None
    nms_kind: NmsKind
    beta_nms: float
    multi_label: bool
    agnostic: bool
    class_ids: tuple[int, ...] | None
    clip: bool

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if self.nms is not None:
            check_threshold(self.nms, "nms")
        if self.nms_kind not in get_args(NmsKind):
            raise InputError(f"nms_kind must be 'greedy' or 'diou', not {self.nms_kind!r}")


class Selected(NamedTuple):
    """The boxes to report for one picture, the most confident first.

    Attributes:
        boxes_cxcywh_unit: (N, 4) centre and size in fractions of the picture.
        objectness: (N,).
        confidence: (N,).
        class_id: (N,).
    """

    boxes_cxcywh_unit: NDArray[np.float32]
    objectness: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]


def select_boxes(
    heads: Sequence[FloatArray],
    geometries: Sequence[HeadGeometry],
    frame: Geometry,
    selection: Selection,
    stages: Stages,
) -> Selected:
    """Return the boxes to report for one picture.

    Args:
        heads: the raw head tensors (anchors * (5 + classes), H, W).
        geometries: what each head predicts.
        frame: where the picture lies in the network's input.
        selection: which boxes to report.
        stages: what decodes and suppresses.
    """
    found = stages.decode(heads, geometries, selection.threshold, multi_label=selection.multi_label)
    if selection.class_ids is not None:
        found = found.rows(np.isin(found.class_id, selection.class_ids))
    bounded = np.minimum(found.boxes_cxcywh_unit, LARGEST_SIDE_UNIT)
    boxes_cxcywh_unit = boxes_image_from_network_unit(bounded, frame)
    return suppress_boxes(replace(found, boxes_cxcywh_unit=boxes_cxcywh_unit), selection, stages)


def suppress_boxes(found: Decoded, selection: Selection, stages: Stages) -> Selected:
    """Return the boxes to report of those decoded for one picture.

    Args:
        found: the wanted classes' rows, boxes in fractions of the picture.
        selection: which boxes to report.
        stages: what suppresses.
    """
    boxes_cxcywh_unit = found.boxes_cxcywh_unit
    confidence, class_id = found.confidence, found.class_id
    if selection.nms is None:
        kept = np.argsort(-confidence, kind="stable")
    else:
        # DARKNET: suppresses in fractions of the picture, which the IoU of a stretched picture
        # does not notice and the distance term of DIoU does.
        kept = stages.nms(
            boxes_cxcywh_unit,
            confidence,
            class_id,
            iou_threshold=selection.nms,
            kind=selection.nms_kind,
            class_agnostic=selection.agnostic,
            beta=selection.beta_nms,
        )
    ids = class_id[kept].astype(np.int64)
    return Selected(boxes_cxcywh_unit[kept], found.objectness[kept], confidence[kept], ids)


def require_heads(graph: Graph) -> tuple[Head, ...]:
    """Return the network's heads.

    Raises:
        InputError: it has none: it is a classifier.
    """
    if not graph.heads:
        raise InputError(
            f"{graph.config.source} has no [yolo] or [region] section, so it detects no boxes; "
            "forward() gives a classifier's output"
        )
    return graph.heads


def head_geometries(graph: Graph) -> tuple[HeadGeometry, ...]:
    """Return what decoding needs of each head, with anchors as fractions of the network input."""
    return tuple(_head_geometry(head, graph) for head in graph.heads)


def _head_geometry(head: Head, graph: Graph) -> HeadGeometry:
    # DARKNET: a [yolo] section's anchors are in pixels of the input, a [region] section's in cells.
    _, height, width = head.output_shape if isinstance(head, Region) else graph.input_shape
    anchors_unit = tuple((w / width, h / height) for w, h in head.anchors)
    if isinstance(head, Yolo):
        return HeadGeometry(
            kind="yolo",
            anchors_unit=anchors_unit,
            classes=head.classes,
            scale_x_y=head.scale_x_y,
            new_coords=head.new_coords,
        )
    softmax = isinstance(head, Region) and head.softmax
    return HeadGeometry("region", anchors_unit, head.classes, softmax=softmax)


def cfg_nms_kind(last: Head) -> NmsKind:
    """Return the suppression that the cfg asks for in its last head."""
    # DARKNET: the last head's nms_kind holds for the whole net; cornersnms differs from greedynms
    # only in probabilities it computes and drops (box.c diounms_sort).
    return "diou" if isinstance(last, Yolo) and last.nms_kind == "diounms" else "greedy"


def cfg_agnostic_nms(last: Head) -> bool:
    """Return whether the cfg asks, in its last head, that classes suppress each other."""
    return isinstance(last, Yolo) and last.agnostic_nms


def corners_px(
    boxes_cxcywh_unit: FloatArray, picture: ByteArray, clip: bool
) -> NDArray[np.float32]:
    """Turn fractions of the picture into its pixels: left, top, right, bottom."""
    sides = np.array([picture.shape[1], picture.shape[0]], np.float32)
    centre, size = boxes_cxcywh_unit[:, :2] * sides, boxes_cxcywh_unit[:, 2:] * sides
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    if clip:
        corners = np.clip(corners, 0, np.tile(sides, 2))
    return corners.astype(np.float32, copy=False)
