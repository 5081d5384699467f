"""The host target's memory: arrays that end where nothing may be touched, and who has written.

On a GPU an access just beside an array usually succeeds, and memory that nobody has written holds
something plausible. Here the one faults, and the other is NaN, or is named in check mode.
"""

import ctypes
import mmap
import weakref
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: Arrays begin at a multiple of it, so that four floats can be loaded at once.
ALIGNMENT = 16
#: NaN as a float, -1 as an integer.
POISON = 0xFF
_PROT_NONE = 0


def guarded_empty(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array full of `POISON`, before and after which lies a page without access.

    An element before the array faults only where the array fills its pages; one after it always
    does, but for the array's last bytes up to `ALIGNMENT`.
    """
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    if count == 0:
        return np.empty(shape, dtype)
    page = mmap.PAGESIZE
    bytes_ = -(-count * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    room = -(-bytes_ // page) * page
    memory = mmap.mmap(-1, room + 2 * page)
    for offset in (0, page + room):
        _forbid(memory, offset, page)
    inside = np.frombuffer(memory, np.uint8, room, page)
    inside[...] = POISON
    array: NDArray[Any] = np.frombuffer(memory, dtype, count, page + room - bytes_).reshape(shape)
    return array


def _forbid(memory: mmap.mmap, offset: int, size: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory, offset))
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), _PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect")


class Untouched:
    """The arrays that nobody has written to since they were made."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}  # by address

    def add(self, array: NDArray[Any]) -> None:
        """Take note of a new array."""
        address = array.ctypes.data
        self._ends[address] = address + array.nbytes
        owner = array.base if isinstance(array.base, np.ndarray) else array  # what views refer to
        weakref.finalize(owner, self._ends.pop, address, None)

    def has(self, array: NDArray[Any]) -> bool:
        """Return whether nobody has written to the array that this is, or is a part of."""
        return self._find(array) is not None

    def remove(self, array: NDArray[Any]) -> None:
        """Take note that the array, or some of it, has been written."""
        self._ends.pop(self._find(array) or 0, None)

    def _find(self, array: NDArray[Any]) -> int | None:
        first = array.ctypes.data
        for address, end in self._ends.items():
            if address <= first < end:
                return address
        return None
