"""One training picture: a crop of the file, resized to the network's input, flipped, recoloured.

The geometry is that of Darknet's two builds, the filter that of image.c (`tinyyolo3.image.resize`),
so that the network sees pixels as it does when it detects, and what lies beyond the picture has the
picture's mean colour, as in the build with OpenCV (the other one repeats the border).

Only a part of the input may be wanted, for a mosaic: an *extent* says which columns and rows of it,
and where they go.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import ByteArray, FloatArray
from tinyyolo3.image.resize import (
    UNIT_OF_BYTE_HIGH,
    UNIT_OF_BYTE_LOW,
    Taps,
    column_taps,
    row_taps,
)
from tinyyolo3.parallel import compiled, parallel_for
from tinyyolo3.train.colours import Colours, shift_colours_reference, shift_row
from tinyyolo3.train.crop import Crop

#: A row of pixels takes some microseconds; handing work over costs tens.
_GRAIN_ROWS = 64


class Extent(NamedTuple):
    """A part of the network's input, and where it goes; px.

    Attributes:
        left: its first column in the input that the whole crop would fill.
        top: its first row there.
        width: columns.
        height: rows.
        to_left: its first column in the result.
        to_top: its first row there.
    """

    left: int
    top: int
    width: int
    height: int
    to_left: int = 0
    to_top: int = 0


def place_picture_reference(
    image: ByteArray, crop: Crop, colours: Colours, out: FloatArray, extent: Extent | None = None
) -> None:
    """Fill planes with a crop of a picture, step by step.

    Args:
        image: uint8 RGB (H, W, 3).
        crop: of this picture.
        colours: how they are changed.
        out: float32 (3, height, width), the network's input, to write to.
        extent: which part of the input, and where it goes; None is all of it.
    """
    whole = extent or Extent(0, 0, out.shape[2], out.shape[1])
    columns, rows = _crop_taps(crop, (out.shape[2], out.shape[1]), whole)
    height, width = image.shape[:2]
    framed = np.empty((3, height + 2, width + 2), np.float32)
    framed[...] = _mean_colour(image)[:, None, None] if not crop.is_within else 0
    framed[:, 1:-1, 1:-1] = (image / 255).astype(np.float32).transpose(2, 0, 1)
    wide = (
        columns.lower_weight * framed[:, :, columns.lower + 1]
        + columns.upper_weight * framed[:, :, columns.upper + 1]
    )
    planes = (
        rows.lower_weight[:, None] * wide[:, rows.lower + 1]
        + rows.upper_weight[:, None] * wide[:, rows.upper + 1]
    )
    bottom, right = whole.to_top + whole.height, whole.to_left + whole.width
    out[:, whole.to_top : bottom, whole.to_left : right] = shift_colours_reference(planes, colours)


def place_picture_numba(
    image: ByteArray,
    crop: Crop,
    colours: Colours,
    out: NDArray[np.float32],
    extent: Extent | None = None,
) -> None:
    """Fill planes with a crop of a picture in one compiled pass over the output's rows.

    The bits are those of `place_picture_reference`, for any number of threads. Arguments are as
    there; `out` must be C-contiguous.
    """
    whole = extent or Extent(0, 0, out.shape[2], out.shape[1])
    if not whole.width or not whole.height:
        return
    columns, rows = _crop_taps(crop, (out.shape[2], out.shape[1]), whole)
    pixels = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    pixels.flags.writeable = False
    fill = np.zeros(3, np.float32) if crop.is_within else _mean_colour(image)
    parallel_for(
        _place_rows,
        whole.height,
        pixels,
        fill,
        *columns,
        *rows,
        whole.to_top,
        whole.to_left,
        np.array([6 * colours.hue, colours.saturation, colours.exposure], np.float32),
        colours != Colours(),
        out,
        grain=_GRAIN_ROWS,
    )


def _crop_taps(crop: Crop, size_px: tuple[int, int], extent: Extent) -> tuple[Taps, Taps]:
    """Return the taps of an extent's columns and rows in the picture."""
    width, height = crop.picture_size_px
    wanted = np.arange(extent.left, extent.left + extent.width)
    if crop.flipped:
        wanted = size_px[0] - 1 - wanted
    columns = _choose(column_taps(crop.width, size_px[0]), wanted, crop.left, width)
    wanted = np.arange(extent.top, extent.top + extent.height)
    return columns, _choose(row_taps(crop.height, size_px[1]), wanted, crop.top, height)


def _choose(taps: Taps, wanted: NDArray[np.int64], start: int, side: int) -> Taps:
    """Return some of a crop's taps, in the frame of the picture; -1 and `side` are beyond it."""
    return Taps(
        (taps.lower[wanted] + start).clip(-1, side),
        (taps.upper[wanted] + start).clip(-1, side),
        taps.lower_weight[wanted],
        taps.upper_weight[wanted],
    )


def _mean_colour(image: ByteArray) -> NDArray[np.float32]:
    """Return the mean of each channel, rounded to a byte, as a fraction of white."""
    pixels = np.ascontiguousarray(image).reshape(-1)
    pixels.flags.writeable = False
    sums = np.zeros(3, np.int64)
    _add_channels(pixels, sums)
    return np.asarray(np.rint(sums / (image.shape[0] * image.shape[1])) / 255, np.float32)


@compiled
def _add_channels(pixels: ByteArray, sums: NDArray[np.int64]) -> None:
    for pixel in range(pixels.size // 3):
        for channel in range(3):
            sums[channel] += pixels[3 * pixel + channel]


@compiled
def _place_rows(
    start: int,
    stop: int,
    pixels: ByteArray,
    fill: NDArray[np.float32],
    column_lower: NDArray[np.int64],
    column_upper: NDArray[np.int64],
    column_lower_weight: NDArray[np.float32],
    column_upper_weight: NDArray[np.float32],
    row_lower: NDArray[np.int64],
    row_upper: NDArray[np.int64],
    row_lower_weight: NDArray[np.float32],
    row_upper_weight: NDArray[np.float32],
    top: int,
    left: int,
    colours: NDArray[np.float32],
    recoloured: bool,
    out: NDArray[np.float32],
) -> None:
    """Fill rows [start, stop) of an extent, whose upper left corner is (top, left) of `out`."""
    bytes_per_row = pixels.shape[1]
    # The last even and the last odd row, each with a pixel of the fill before and behind it: a
    # row's two taps are neighbours, or one and the same, so they never want the same place.
    lines = np.empty((2, bytes_per_row + 6), np.float32)
    lines[:, :3] = fill
    lines[:, bytes_per_row + 3 :] = fill
    held = np.full(2, -2)
    for row in range(start, stop):
        for source in (row_lower[row], row_upper[row]):
            if held[source & 1] != source:
                held[source & 1] = source
                line = lines[source & 1]
                if 0 <= source < pixels.shape[0]:
                    for k in range(bytes_per_row):
                        value = np.float32(pixels[source, k])
                        line[k + 3] = value * UNIT_OF_BYTE_HIGH + value * UNIT_OF_BYTE_LOW
                else:
                    for k in range(3, bytes_per_row + 3):
                        line[k] = line[k - 3]
        lower, upper = lines[row_lower[row] & 1], lines[row_upper[row] & 1]
        above, below = row_lower_weight[row], row_upper_weight[row]
        for column in range(column_lower.size):
            before, after = column_lower_weight[column], column_upper_weight[column]
            first, second = 3 * column_lower[column] + 3, 3 * column_upper[column] + 3
            for channel in range(3):
                near, far = np.uint64(first + channel), np.uint64(second + channel)
                out[channel, top + row, left + column] = above * (
                    before * lower[near] + after * lower[far]
                ) + below * (before * upper[near] + after * upper[far])
        if recoloured:
            right = left + column_lower.size
            shift_row(out, top + row, left, right, colours[0], colours[1], colours[2])
