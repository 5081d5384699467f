"""The sizes of a data set's boxes, as the network sees them."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinyyolo3.anchors.kmeans import DECIMALS
from tinyyolo3.arrays import FloatArray
from tinyyolo3.data.samples import DataSet
from tinyyolo3.errors import DataError
from tinyyolo3.image.geometry import ResizeMode, resize_geometry


@dataclass(frozen=True)
class LabelledSizes:
    """The boxes that anchors are for, and how many were left out.

    Attributes:
        sizes_px: (N, 2) float64, widths and heights in pixels of the network's input.
        pictures: how many were read.
        crowds: boxes around groups of objects; no single object has their size.
        difficults: boxes that Pascal VOC marks so, which Darknet's voc_label.py leaves out, too.
        flat: boxes without width or height inside their picture.
    """

    sizes_px: FloatArray
    pictures: int
    crowds: int
    difficults: int
    flat: int


def read_sizes(
    dataset: DataSet,
    input_px: tuple[int, int],
    resize: ResizeMode = "stretch",
    *,
    progress: Callable[[int], object] = lambda _: None,
) -> LabelledSizes:
    """Read the sizes of all boxes; those that leave their picture are cut off at its border.

    Args:
        dataset: the labelled pictures.
        input_px: width and height of the network's input.
        resize: how pictures get into it. With "stretch" sizes are shares of the picture times
            `input_px`, as in Darknet's calc_anchors.
        progress: called with how many pictures have been read.

    Raises:
        DataError: a label cannot be read, or there are no boxes.
        InputError: `input_px` is not positive, or an unknown `resize`.
    """
    values = array("d")
    pictures = crowds = difficults = flat = 0
    for pictures, sample in enumerate(dataset, 1):
        frame = resize_geometry(sample.width, sample.height, *input_px, resize)
        scale = frame.new_width / sample.width, frame.new_height / sample.height
        boxes = np.clip(sample.boxes_xyxy_px, 0, (sample.width, sample.height) * 2)
        sizes_px = (boxes[:, 2:] - boxes[:, :2]) * scale
        is_flat = (sizes_px < 10.0**-DECIMALS).any(axis=1)
        keep = ~(sample.crowds | sample.difficults | is_flat)
        values.frombytes(np.ascontiguousarray(sizes_px[keep]).tobytes())
        crowds += int(sample.crowds.sum())
        difficults += int((sample.difficults & ~sample.crowds).sum())
        flat += int((is_flat & ~sample.crowds & ~sample.difficults).sum())
        progress(pictures)
    if not values:
        raise DataError(
            f"{dataset.source}: no boxes to find anchors for in {pictures} pictures "
            f"({crowds} crowds, {difficults} difficult and {flat} without area do not count)"
        )
    return LabelledSizes(np.frombuffer(values).reshape(-1, 2), pictures, crowds, difficults, flat)
