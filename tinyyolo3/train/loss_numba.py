"""A head's deltas in compiled float32 loops; `tinyyolo3.train.loss` has the definitions.

Nearly all the work is to find the predictions that lie on a truth. Each box is decoded once, and
most pairs of a box and a truth are told apart by one comparison along x. Which anchors a truth
makes responsible depends on no prediction and is worked out beforehand for all of a batch.

Pictures share nothing, so they go to several threads.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.boxes.iou import sides_of_boxes
from tinyyolo3.errors import InputError
from tinyyolo3.layers.yolo import split_anchors
from tinyyolo3.parallel import parallel_for
from tinyyolo3.train.head_arrays import HeadArrays, numbers_of
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.loss import check_truths
from tinyyolo3.train.loss_parts import LossParts, make_parts
from tinyyolo3.train.options import HeadRules
from tinyyolo3.train.targets import responsible_anchors
from tinyyolo3.train.teach_numba import teach_pictures


def head_deltas_numba(
    activated: NDArray[np.float32],
    truths: Sequence[Truths],
    rules: HeadRules,
    out: FloatArray | None = None,
) -> tuple[FloatArray, LossParts]:
    """Do what `head_deltas_reference` does, threads sharing the pictures, and tell of it.

    Args:
        activated, truths, rules: as there; float32.
        out: a contiguous array for the deltas; a new one if None.

    Returns:
        The deltas, and what `loss_parts_reference` returns of them.

    Raises:
        InputError: as there; or a map or `out` is not float32, or `out` does not fit.
    """
    if activated.dtype != np.float32:
        raise InputError(f"compiled deltas take float32 maps, not {activated.dtype}")
    check_truths(activated, truths, rules)
    # Contiguous and not writeable: one form for all calls, or each would be compiled anew.
    entries = split_anchors("yolo", np.ascontiguousarray(activated), len(rules.mask), rules.classes)
    if out is None:
        out = np.empty(activated.shape, np.float32)
    elif out.shape != activated.shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise InputError(
            f"out must be a contiguous float32 array of shape {activated.shape}, "
            f"not {out.dtype} {out.shape}"
        )
    boxes = np.concatenate([truth.boxes_cxcywh_unit for truth in truths]).astype(np.float32)
    n, anchors, _, height, width = entries.shape
    anchors_px = np.array([rules.anchors_px[k] for k in rules.mask])
    head = HeadArrays(
        entries,
        out.reshape(entries.shape),
        anchors_px.astype(np.float32),
        anchors_px / rules.network_size_px,
        np.array(rules.class_multipliers or [1.0] * rules.classes, np.float32),
        boxes,
        sides_of_boxes(boxes),
        np.concatenate([truth.classes for truth in truths]),
        np.ascontiguousarray(responsible_anchors(boxes[:, 2:], rules)),
        np.cumsum([0, *(len(truth.classes) for truth in truths)]),
        np.zeros((n, anchors, height, width), np.bool_),
        np.zeros((n, 6)),
    )
    head.activated.flags.writeable = False
    parallel_for(teach_pictures, n, head, numbers_of(rules))
    box, objectness, classes, responsible, iou, giou = head.sums.sum(axis=0).tolist()
    return out, make_parts(box, objectness, classes, int(responsible), iou, giou, rules)
