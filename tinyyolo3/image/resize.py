"""Fit a picture to a network's input as Darknet does.

Darknet resizes with its own bilinear filter (image.c, ``resize_image``): the corners of both
pictures are aligned, so output column c looks at source column

    x = c · (W − 1) / (W' − 1),    value = (1 − frac x) · p[⌊x⌋] + frac x · p[⌊x⌋ + 1],

first along every row, then along the columns, all in float32 on v / 255. One dimension's
resize is thus two *taps* per output position, an index and a weight each, and both versions
here apply the same taps in the same order, so that they agree bit for bit.

The compiled version interpolates each pixel of the output from its four neighbours. Two rows of
the picture at a time are made floats, whole, for that is vector code; the table of 256 floats
that the reference looks bytes up in is not.

`tinyyolo3.image.geometry` says where in the input the picture goes; the rest is 0.5.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import ByteArray, FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.image.geometry import Geometry, ResizeMode, resize_geometry
from tinyyolo3.parallel import compiled, parallel_for

#: What a letterbox shows beside the picture.
BORDER = np.float32(0.5)
#: A byte as Darknet stores it: ``(float)v / 255.`` is a double division, rounded to float.
_UNIT_OF_BYTE = (np.arange(256) / 255.0).astype(np.float32)
#: The float nearest v / 255 is ``v * high + v * low`` in float32: `high` has one bit, so the
#: first product is exact and the sum is rounded once, and no byte is near enough to a tie for
#: the rounding of the second to matter (a test compares all 256). Unlike a division it is cheap,
#: and unlike a look-up it is vector code.
UNIT_OF_BYTE_HIGH = np.float32(1 / 256)
UNIT_OF_BYTE_LOW = np.float32(1 / 255 - 1 / 256)
#: 40,000 output pixels take 0.25 ms after a network has emptied the caches; handing over costs 0.1.
_GRAIN_PIXELS = 40_000


class Taps(NamedTuple):
    """Two source positions and weights for each output position along one axis.

    Attributes:
        lower: (outputs,) int64.
        upper: (outputs,) int64: the next one, or on the last position the same.
        lower_weight: (outputs,) float32.
        upper_weight: (outputs,) float32.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    lower_weight: NDArray[np.float32]
    upper_weight: NDArray[np.float32]


def resize_reference(planes: FloatArray, width: int, height: int) -> FloatArray:
    """Resize planes as Darknet does (image.c, ``resize_image``).

    Args:
        planes: floating (C, H, W).
        width: columns of the result.
        height: rows of the result.

    Returns:
        (C, height, width) in the dtype of `planes`. The positions are Darknet's float32 whatever
        that dtype is; float64 planes are interpolated in float64. The same size comes back
        unchanged, bit for bit, so Darknet's shortcut for it needs no case of its own.
    """
    columns = column_taps(planes.shape[2], width)
    rows = row_taps(planes.shape[1], height)
    part = (
        columns.lower_weight.astype(planes.dtype) * planes[:, :, columns.lower]
        + columns.upper_weight.astype(planes.dtype) * planes[:, :, columns.upper]
    )
    lower_weight = rows.lower_weight.astype(planes.dtype)[:, None]
    upper_weight = rows.upper_weight.astype(planes.dtype)[:, None]
    resized: FloatArray = lower_weight * part[:, rows.lower] + upper_weight * part[:, rows.upper]
    return resized


def network_input_reference(
    image: ByteArray,
    width: int,
    height: int,
    mode: ResizeMode,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Turn a picture into a network's input, step by step as Darknet does.

    Args:
        image: uint8 RGB (H, W, 3), any strides.
        width: columns of the input.
        height: rows of the input.
        mode: "letterbox" or "stretch".
        out: float32 (3, height, width) to write to, such as one entry of a batch.

    Returns:
        `out`, or a new array of its kind: planes R, G, B with values in [0, 1].

    Raises:
        InputError: an argument of the wrong type, shape, dtype or range.
    """
    geometry, out = _prepare(image, width, height, mode, out)
    planes = _UNIT_OF_BYTE[image].transpose(2, 0, 1)
    bottom, right = geometry.top + geometry.new_height, geometry.left + geometry.new_width
    out[...] = BORDER
    out[:, geometry.top : bottom, geometry.left : right] = resize_reference(
        planes, geometry.new_width, geometry.new_height
    )
    return out


def network_input_numba(
    image: ByteArray,
    width: int,
    height: int,
    mode: ResizeMode,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Turn a picture into a network's input in one compiled pass over the output's rows.

    The bits are those of `network_input_reference`, for any number of threads. Arguments, result
    and errors are as there.
    """
    geometry, out = _prepare(image, width, height, mode, out)
    offset, fraction = _column_offsets(geometry.image_width, geometry.new_width)
    rows = row_taps(geometry.image_height, geometry.new_height)
    # One form of picture and output for all calls, or each of them would be compiled anew.
    pixels = np.ascontiguousarray(image).reshape(geometry.image_height, -1)
    pixels.flags.writeable = False
    target = out if out.flags.c_contiguous else np.empty_like(out, order="C")
    _fill_border(target, geometry)
    parallel_for(
        _interpolate_rows,
        geometry.new_height,
        pixels,
        offset,
        fraction,
        *rows,
        geometry.top,
        geometry.left,
        target,
        grain=-(-_GRAIN_PIXELS // geometry.new_width),
    )
    if target is not out:
        out[...] = target
    return out


def _fill_border(out: NDArray[np.float32], geometry: Geometry) -> None:
    """Fill what lies beside the picture."""
    bottom, right = geometry.top + geometry.new_height, geometry.left + geometry.new_width
    out[:, : geometry.top] = BORDER
    out[:, bottom:] = BORDER
    out[:, geometry.top : bottom, : geometry.left] = BORDER
    out[:, geometry.top : bottom, right:] = BORDER


def _taps(source: int, target: int) -> Taps:
    """Return the taps of `target` positions on an axis of `source` samples, corners aligned.

    For a target of one sample Darknet divides by zero; here it lies on the first.
    """
    scale = np.float32(source - 1) / np.float32(max(target - 1, 1))
    position = np.arange(target, dtype=np.float32) * scale
    lower = position.astype(np.int64)
    fraction = position - lower.astype(np.float32)
    last = source - 1
    # float32 positions pass the last sample on axes of more than 2^23, where Darknet reads on.
    return Taps(
        np.minimum(lower, last), np.minimum(lower + 1, last), np.float32(1) - fraction, fraction
    )


@lru_cache(maxsize=16)
def column_taps(source: int, target: int) -> Taps:
    """Return the taps along a row, where Darknet copies the last column exactly."""
    taps = _taps(source, target)
    taps.lower[-1] = source - 1
    taps.lower_weight[-1], taps.upper_weight[-1] = 1, 0
    return taps


@lru_cache(maxsize=16)
def _column_offsets(source: int, target: int) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return `column_taps` for a row of RGB, R G B R G B: the lower taps' R, the upper weights.

    The upper tap is the next pixel, of a row that repeats its last pixel behind the end, and the
    weights add up to one. Unsigned: compiled code need not ask whether an index is negative.
    """
    taps = column_taps(source, target)
    return (3 * taps.lower).astype(np.uint64), taps.upper_weight


@lru_cache(maxsize=16)
def row_taps(source: int, target: int) -> Taps:
    """Return the taps down a column, where Darknet leaves out the last row's second one."""
    taps = _taps(source, target)
    # DARKNET: where rounding puts the last position just short of the last sample, the weight of
    # the sample before it is nearly zero and the term that should carry the picture is missing:
    # the last row is nearly black (240 rows resized to 416, for one).
    taps.upper_weight[-1] = 0
    return taps


def _prepare(
    image: ByteArray, width: int, height: int, mode: ResizeMode, out: NDArray[np.float32] | None
) -> tuple[Geometry, NDArray[np.float32]]:
    """Check the arguments of `network_input_*`, and make `out` where there is none."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        found = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"image must be a uint8 array, not {found}")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"image must be RGB, (H, W, 3), and not empty; found {image.shape}")
    geometry = resize_geometry(image.shape[1], image.shape[0], width, height, mode)
    if out is None:
        out = np.empty((3, height, width), np.float32)
    elif out.shape != (3, height, width) or out.dtype != np.float32 or not out.flags.writeable:
        raise InputError(
            f"out must be writeable float32 (3, {height}, {width}); found "
            f"{'' if out.flags.writeable else 'read-only '}{out.dtype} {out.shape}"
        )
    return geometry, out


@compiled
def _interpolate_rows(
    start: int,
    stop: int,
    pixels: ByteArray,
    offset: NDArray[np.uint64],
    fraction: NDArray[np.float32],
    row_lower: NDArray[np.int64],
    row_upper: NDArray[np.int64],
    row_lower_weight: NDArray[np.float32],
    row_upper_weight: NDArray[np.float32],
    top: int,
    left: int,
    out: NDArray[np.float32],
) -> None:
    """Fill rows [start, stop) of the resized picture, which lies at (top, left) of `out`."""
    bytes_per_row = pixels.shape[1]
    # The last even and the last odd row of the picture, and a pixel behind the end: a row's two
    # taps are neighbours, so they never want the same place.
    lines = np.empty((2, bytes_per_row + 3), np.float32)
    held = np.full(2, -1)
    for row in range(start, stop):
        for source in (row_lower[row], row_upper[row]):
            if held[source & 1] != source:
                held[source & 1] = source
                line = lines[source & 1]
                for k in range(bytes_per_row):
                    value = np.float32(pixels[source, k])
                    line[k] = value * UNIT_OF_BYTE_HIGH + value * UNIT_OF_BYTE_LOW
                for k in range(bytes_per_row, bytes_per_row + 3):
                    line[k] = line[k - 3]
        lower, upper = lines[row_lower[row] & 1], lines[row_upper[row] & 1]
        above, below = row_lower_weight[row], row_upper_weight[row]
        for column in range(offset.size):
            after = fraction[column]
            before = np.float32(1) - after
            for channel in range(3):
                near = offset[column] + np.uint64(channel)
                far = near + np.uint64(3)
                out[channel, top + row, left + column] = above * (
                    before * lower[near] + after * lower[far]
                ) + below * (before * upper[near] + after * upper[far])
