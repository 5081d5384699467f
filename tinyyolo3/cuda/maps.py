"""Maps of activations in a target's memory: channels last, possibly inside a wider map."""

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.cuda.target import DeviceArray, Target


class MapStruct(ctypes.Structure):
    """`struct Map` of ``kernels/device.cuh``."""

    _fields_ = tuple(
        (name, ctypes.c_int) for name in ("images", "height", "width", "channels", "pitch")
    )


#: What kernels copy at once: so many bytes, from a multiple of as many.
CHUNK_BYTES = 16

#: What kernels call the types of maps.
ELEMENTS = {"float32": "float", "float16": "half"}


@dataclass(frozen=True)
class DeviceMap:
    """A map (images, height, width, channels) of float32 or float16, pixel after pixel.

    Attributes:
        data: one-dimensional, from the map's first number to its last, as `map_size` counts them.
        images: pictures in the batch.
        height: rows.
        width: columns.
        channels: numbers of a pixel.
        pitch: numbers from one pixel to the next; more than `channels` for a part of a wider map.
    """

    data: DeviceArray
    images: int
    height: int
    width: int
    channels: int
    pitch: int

    @property
    def pixels(self) -> int:
        """How many pixels there are in all pictures."""
        return self.images * self.height * self.width

    @property
    def struct(self) -> MapStruct:
        """The shape as kernels take it."""
        return MapStruct(self.images, self.height, self.width, self.channels, self.pitch)

    @property
    def whole(self) -> tuple[DeviceArray, ...]:
        """The array, if nothing else lies in it: what a kernel must write all of."""
        return (self.data,) if self.pitch == self.channels else ()

    @property
    def element(self) -> str:
        """The type of the map's numbers in kernels: "float" or "half"."""
        return ELEMENTS[self.data.dtype.name]

    @property
    def kernel_suffix(self) -> str:
        """What the name of a kernel that is no template ends in: nothing for floats, or "_half"."""
        return "_half" if self.element == "half" else ""

    @property
    def in_fours(self) -> bool:
        """Whether kernels may read and write four channels at once, as aligned bytes."""
        return self.in_lanes(4)

    def in_lanes(self, lanes: int) -> bool:
        """Return whether kernels may read and write so many channels at once, as aligned bytes."""
        return self.channels % lanes == self.pitch % lanes == 0 and self.lanes_begin(lanes)

    def lanes_begin(self, lanes: int) -> bool:
        """Return whether the first number lies where so many may be read: 16 bytes at the most."""
        return address(self.data) % min(CHUNK_BYTES, lanes * int(self.data.itemsize)) == 0

    @property
    def in_chunks(self) -> bool:
        """Whether kernels may read every pixel in whole chunks of 16 bytes, the last one's too."""
        begin, step = address(self.data), self.pitch * self.data.itemsize
        size = map_size(self.pixels, self.channels, self.pitch, self.data.dtype)
        return bool(begin % CHUNK_BYTES == step % CHUNK_BYTES == 0 and self.data.size >= size)


def address(array: DeviceArray) -> int:
    """Return where an array begins in its target's memory, in bytes."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)


def map_size(pixels: int, channels: int, pitch: int, dtype: DTypeLike) -> int:
    """Return how many numbers a map's array has.

    From the first number to the last; where pixels lie whole chunks of 16 bytes apart, to the end
    of the last one's last chunk. Kernels copy such pixels chunk by chunk.
    """
    chunk = CHUNK_BYTES // np.dtype(dtype).itemsize
    if pitch % chunk == 0:
        channels = -(-channels // chunk) * chunk
    return (pixels - 1) * pitch + channels


def empty_map(
    target: Target,
    images: int,
    height: int,
    width: int,
    channels: int,
    pitch: int | None = None,
    dtype: DTypeLike = np.float32,
) -> DeviceMap:
    """Return a new map of undefined contents."""
    pitch = channels if pitch is None else pitch
    size = map_size(images * height * width, channels, pitch, dtype)
    return DeviceMap(target.empty(size, dtype), images, height, width, channels, pitch)


def upload_map(target: Target, x: NDArray[np.floating[Any]], pitch: int | None = None) -> DeviceMap:
    """Return a copy of `x`, (N, C, H, W), float32 or float16, on the target."""
    images, channels, height, width = x.shape
    pitch = channels if pitch is None else pitch
    rows = np.full((images * height * width, pitch), np.nan, x.dtype)
    rows[:, :channels] = x.transpose(0, 2, 3, 1).reshape(-1, channels)
    size = map_size(len(rows), channels, pitch, x.dtype)
    data = target.upload(rows.reshape(-1)[:size])
    return DeviceMap(data, images, height, width, channels, pitch)


def download_map(target: Target, x: DeviceMap) -> NDArray[Any]:
    """Return a copy of a map as (N, C, H, W)."""
    found = target.download(x.data)
    rows = np.zeros(x.pixels * x.pitch, found.dtype)
    rows[: found.size] = found
    cut = rows.reshape(x.images, x.height, x.width, x.pitch)[..., : x.channels]
    return np.ascontiguousarray(cut.transpose(0, 3, 1, 2))
