"""Where a picture lies in a network's input, and the way of boxes between the two.

There are two ways to fit. ``letterbox`` (image.c, ``letterbox_image``) keeps the aspect ratio
and leaves a border; ``stretch`` fills the whole input. Boxes come back through
``correct_yolo_boxes`` (yolo_layer.c).
"""

from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError

ResizeMode: TypeAlias = Literal["letterbox", "stretch"]


class Geometry(NamedTuple):
    """Where a picture lies inside a network's input; all in whole pixels."""

    image_width: int
    image_height: int
    network_width: int
    network_height: int
    #: Size of the picture once resized, and its upper left corner in the input.
    new_width: int
    new_height: int
    left: int
    top: int


def letterbox_geometry(
    image_width: int, image_height: int, network_width: int, network_height: int
) -> Geometry:
    """Place a picture in the middle of the input, as large as fits with its aspect ratio.

    Sizes are truncated to integers as in image.c, ``letterbox_image``, but are never less than
    one pixel, where Darknet would make an empty picture.

    Raises:
        InputError: a size is not a positive integer.
    """
    given = image_width, image_height, network_width, network_height
    _check_sizes(given)
    # Darknet compares in float32, so ratios that differ by less than its precision are a tie.
    horizontal = np.float32(network_width) / np.float32(image_width)
    if horizontal < np.float32(network_height) / np.float32(image_height):
        new_width = network_width
        new_height = max(1, image_height * network_width // image_width)
    else:
        new_height = network_height
        new_width = max(1, image_width * network_height // image_height)
    left, top = (network_width - new_width) // 2, (network_height - new_height) // 2
    return Geometry(*given, new_width, new_height, left, top)


def stretch_geometry(
    image_width: int, image_height: int, network_width: int, network_height: int
) -> Geometry:
    """Let a picture fill the whole input, whatever that does to its aspect ratio.

    Raises:
        InputError: a size is not a positive integer.
    """
    given = image_width, image_height, network_width, network_height
    _check_sizes(given)
    return Geometry(*given, new_width=network_width, new_height=network_height, left=0, top=0)


def resize_geometry(
    image_width: int, image_height: int, network_width: int, network_height: int, mode: ResizeMode
) -> Geometry:
    """Return the geometry of `mode`: `letterbox_geometry` or `stretch_geometry`.

    Raises:
        InputError: an unknown mode, or a size that is not a positive integer.
    """
    if mode not in get_args(ResizeMode):
        raise InputError(f"resize mode must be 'letterbox' or 'stretch', not {mode!r}")
    place = letterbox_geometry if mode == "letterbox" else stretch_geometry
    return place(image_width, image_height, network_width, network_height)


def boxes_image_from_network_unit(
    boxes_cxcywh_unit: FloatArray, geometry: Geometry
) -> NDArray[np.float32]:
    """Bring boxes from the network's input back to the picture (``correct_yolo_boxes``).

    Args:
        boxes_cxcywh_unit: (..., 4), centre and size in units of the network's input.
        geometry: where the picture lay in it.

    Returns:
        float32 (..., 4), centre and size in units of the picture, unclipped.

    The arithmetic is that of AlexeyAB's yolo_layer.c: centres in double, sizes in float.
    """
    ratio, offset = _ratio_and_offset(geometry)
    boxes = np.asarray(boxes_cxcywh_unit, np.float32)
    centres = (boxes[..., :2].astype(np.float64) - offset) / ratio.astype(np.float64)
    sizes = boxes[..., 2:] * (np.float32(1) / ratio)
    return np.concatenate([centres.astype(np.float32), sizes], axis=-1)


def boxes_network_from_image_unit(
    boxes_cxcywh_unit: FloatArray, geometry: Geometry
) -> NDArray[np.float32]:
    """Carry boxes from the picture into the network's input.

    The forward of `boxes_image_from_network_unit`, with the same arguments and result, the two
    frames exchanged.
    """
    ratio, offset = _ratio_and_offset(geometry)
    boxes = np.asarray(boxes_cxcywh_unit, np.float32)
    centres = boxes[..., :2].astype(np.float64) * ratio.astype(np.float64) + offset
    return np.concatenate([centres.astype(np.float32), boxes[..., 2:] * ratio], axis=-1)


def _ratio_and_offset(geometry: Geometry) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the picture's size and corner in the input, each (x, y), in units of the input."""
    network = np.array([geometry.network_width, geometry.network_height], np.float64)
    new = np.array([geometry.new_width, geometry.new_height], np.float64)
    ratio: NDArray[np.float32] = np.divide(new, network, dtype=np.float32, casting="same_kind")
    # DARKNET: the way back halves the border in floating point, although the picture was placed
    # at the integer half; an odd border moves boxes by half an input pixel.
    offset: NDArray[np.float64] = (network - new) / 2 / network
    return ratio, offset


def _check_sizes(sizes: tuple[int, ...]) -> None:
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"widths and heights must be positive integers, not {size!r}")
