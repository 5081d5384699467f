"""Boxes: how much they overlap, how heads become boxes, and which of them stay."""

from tinyyolo3.boxes.decode import (
    Candidates,
    Decoded,
    HeadGeometry,
    candidates_reference,
    decode_reference,
)
from tinyyolo3.boxes.decode_numba import decode_numba
from tinyyolo3.boxes.iou import diou_matrix_cxcywh, iou_matrix_cxcywh
from tinyyolo3.boxes.nms import nms_numba, nms_reference

__all__ = [
    "Candidates",
    "Decoded",
    "HeadGeometry",
    "candidates_reference",
    "decode_numba",
    "decode_reference",
    "diou_matrix_cxcywh",
    "iou_matrix_cxcywh",
    "nms_numba",
    "nms_reference",
]
