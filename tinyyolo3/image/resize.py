"""Fit a picture to a network's input as Darknet does.

Darknet resizes with its own bilinear filter (image.c, ``resize_image``): the corners of both
pictures are aligned, so output column c looks at source column

    x = c · (W − 1) / (W' − 1),    value = (1 − frac x) · p[⌊x⌋] + frac x · p[⌊x⌋ + 1],

first along every row, then along the columns, all in float32 on v / 255. One dimension's
resize is thus two *taps* per output position, an index and a weight each, and both versions
here apply the same taps in the same order, so that they agree bit for bit.

`tinyyolo3.image.geometry` says where in the input the picture goes; the rest is 0.5.
"""

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
#: An output row takes some microseconds; fewer than this are not worth another thread.
_GRAIN_ROWS = 32


class _Taps(NamedTuple):
    """Two source positions and weights for each output position along one axis."""

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
    columns = _column_taps(planes.shape[2], width)
    rows = _row_taps(planes.shape[1], height)
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
    """Turn a picture into a network's input in one pass over the output's rows.

    The bits are those of `network_input_reference`, for any number of threads. Bytes are looked
    up as they are needed, so no float copy of the picture is made, and a source row that two
    neighbouring output rows share is interpolated once. Arguments, result and errors are those
    of `network_input_reference`.
    """
    geometry, out = _prepare(image, width, height, mode, out)
    columns = _column_taps(geometry.image_width, geometry.new_width)
    rows = _row_taps(geometry.image_height, geometry.new_height)
    parallel_for(
        _network_input_rows,
        height,
        image,
        _UNIT_OF_BYTE,
        *columns,
        *rows,
        geometry.left,
        geometry.top,
        out,
        grain=_GRAIN_ROWS,
    )
    return out


def _taps(source: int, target: int) -> _Taps:
    """Return the taps of `target` positions on an axis of `source` samples, corners aligned.

    For a target of one sample Darknet divides by zero; here it lies on the first.
    """
    scale = np.float32(source - 1) / np.float32(max(target - 1, 1))
    position = np.arange(target, dtype=np.float32) * scale
    lower = position.astype(np.int64)
    fraction = position - lower.astype(np.float32)
    last = source - 1
    # float32 positions pass the last sample on axes of more than 2^23, where Darknet reads on.
    return _Taps(
        np.minimum(lower, last), np.minimum(lower + 1, last), np.float32(1) - fraction, fraction
    )


def _column_taps(source: int, target: int) -> _Taps:
    """Return the taps along a row, where Darknet copies the last column exactly."""
    taps = _taps(source, target)
    taps.lower[-1] = source - 1
    taps.lower_weight[-1], taps.upper_weight[-1] = 1, 0
    return taps


def _row_taps(source: int, target: int) -> _Taps:
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
def _network_input_rows(
    start: int,
    stop: int,
    image: ByteArray,
    unit_of_byte: NDArray[np.float32],
    column_lower: NDArray[np.int64],
    column_upper: NDArray[np.int64],
    column_lower_weight: NDArray[np.float32],
    column_upper_weight: NDArray[np.float32],
    row_lower: NDArray[np.int64],
    row_upper: NDArray[np.int64],
    row_lower_weight: NDArray[np.float32],
    row_upper_weight: NDArray[np.float32],
    left: int,
    top: int,
    out: NDArray[np.float32],
) -> None:
    """Fill rows [start, stop) of a network's input, border and all."""
    new_width, new_height = column_lower.size, row_lower.size
    # The last even and the last odd source row, resized horizontally: a row's two taps are
    # neighbours, so they never want the same place.
    parts = np.empty((2, 3, new_width), np.float32)
    held = np.full(2, -1)
    for row in range(start, stop):
        target = row - top
        if target < 0 or target >= new_height:
            out[:, row] = BORDER
            continue
        out[:, row, :left] = BORDER
        out[:, row, left + new_width :] = BORDER
        for source in (row_lower[target], row_upper[target]):
            if held[source & 1] == source:
                continue
            held[source & 1] = source
            part = parts[source & 1]
            for column in range(new_width):
                lower, upper = column_lower[column], column_upper[column]
                lower_weight = column_lower_weight[column]
                upper_weight = column_upper_weight[column]
                for channel in range(3):
                    part[channel, column] = (
                        lower_weight * unit_of_byte[image[source, lower, channel]]
                        + upper_weight * unit_of_byte[image[source, upper, channel]]
                    )
        lower_part, upper_part = parts[row_lower[target] & 1], parts[row_upper[target] & 1]
        lower_weight, upper_weight = row_lower_weight[target], row_upper_weight[target]
        for channel in range(3):
            for column in range(new_width):
                out[channel, row, left + column] = (
                    lower_weight * lower_part[channel, column]
                    + upper_weight * upper_part[channel, column]
                )
