"""One picture's labels as training sees them (AlexeyAB's data.c, fill_truth_detection)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.data.samples import Sample
from tinyyolo3.train.crop import Crop

#: Labels of a picture that are looked at, if a head's ``max=`` does not say another number
#: (parser.c parse_yolo).
MOST_LABELS = 200


@dataclass(frozen=True, eq=False)
class Truths:
    """The objects of one picture.

    Attributes:
        boxes_cxcywh_unit: (T, 4) float64: centres and sizes, fractions of the network's input.
        classes: (T,) int64.
    """

    boxes_cxcywh_unit: NDArray[np.float64]
    classes: NDArray[np.int64]


def darknet_truths(
    sample: Sample,
    network_size_px: tuple[int, int],
    classes: int,
    *,
    order: np.random.Generator | None = None,
    limit: int = MOST_LABELS,
    crop: Crop | None = None,
) -> Truths:
    """Return the labels of a picture that is stretched to the network's input, whole or cropped.

    Boxes are cut at the input's borders. Dropped are classes that the network does not have, and
    boxes narrower or lower than a pixel of the network's input after that, so that nothing remains
    of those that lie outside.

    Args:
        sample: the picture; its crowds and difficult objects are objects like any.
        network_size_px: width and height of the network's input.
        classes: how many the network has.
        order: what shuffles the labels, as Darknet does; None leaves them in their order. It
            decides which come under the limit, and which is first where two share a prediction.
        limit: how many are looked at.
        crop: what is stretched of the picture, and whether it is flipped; None for all of it.
    """
    size_px = (sample.width, sample.height)
    corners_unit = sample.boxes_xyxy_px.reshape(-1, 2, 2) / size_px
    class_ids = sample.classes
    if order is not None:
        shuffled = order.permutation(len(class_ids))
        corners_unit, class_ids = corners_unit[shuffled], class_ids[shuffled]
    # DARKNET: the limit counts labels that are dropped afterwards.
    corners_unit, class_ids = corners_unit[:limit], class_ids[:limit]
    # DARKNET: a centre at 0, 0 marks a label that was never drawn (correct_boxes).
    marked = (corners_unit.sum(axis=1) == 0).all(axis=1)
    if crop is not None:
        corners_unit = crop.corners_of(corners_unit)
    corners_unit = corners_unit.clip(0, 1)
    centres, sizes = corners_unit.mean(axis=1), corners_unit[:, 1] - corners_unit[:, 0]
    large = (sizes >= 1 / np.array(network_size_px)).all(axis=1)
    kept = large & ~marked & (class_ids >= 0) & (class_ids < classes)
    return Truths(np.hstack([centres, sizes])[kept], class_ids[kept])
