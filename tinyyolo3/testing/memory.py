"""Memory between guard pages: an access outside its bounds stops the process at once.

Kernels that name memory by address have no bounds checks, and one float too many usually lands in
memory that happens to be there. Here an array ends (or begins) exactly where a page without any
access rights does, so that the processor itself checks the bound. What runs on such memory runs in
a forked child (`run_in_child`), whose death is an ordinary error in the parent.

Linux only: `can_guard` says whether it works here.
"""

import ctypes
import faulthandler
import mmap
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["begin", "end"]
#: mprotect(2): no access at all.
_PROT_NONE = 0
#: A child that takes longer hangs.
CHILD_SECONDS = 60


def can_guard() -> bool:
    """Return whether this system has mprotect and fork as Linux has them."""
    return sys.platform == "linux"


def guarded_floats(count: int, side: Side, fill: float = float("nan")) -> NDArray[np.float32]:
    """Return float32 memory with a page without access right behind it, or right before it.

    Args:
        count: of numbers. Memory that ends at a page is aligned to 64 bytes if they fill as many.
        side: where the guard touches the array; there is one on the other side too, further off.
        fill: what the memory holds; NaN shows in every result that it gets into.
    """
    page = mmap.PAGESIZE
    pages = max(1, -(-4 * count // page))
    memory = mmap.mmap(-1, (pages + 2) * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    whole = np.frombuffer(memory, np.uint8)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for offset in (0, (pages + 1) * page):
        if protect(whole.ctypes.data + offset, page, _PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = page if side == "begin" else (pages + 1) * page - 4 * count
    array = whole[start : start + 4 * count].view(np.float32)
    array.fill(fill)
    return array


def guarded_copy(array: NDArray[np.float32], side: Side) -> NDArray[np.float32]:
    """Return a copy of an array in guarded memory."""
    copy = guarded_floats(array.size, side).reshape(array.shape)
    copy[...] = array
    return copy


def run_in_child(function: Callable[[], None]) -> None:
    """Call a function in a forked child.

    Raises:
        AssertionError: the function raised, or the child died; the message says of what.
    """
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork with threads; the child makes threads of its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(CHILD_SECONDS)
        faulthandler.enable(write)  # where it died, for the message
        message = b""
        try:
            function()
        except BaseException:
            message = traceback.format_exc().encode()
        finally:
            # A pipe takes 64 KiB before anybody reads.
            os.write(write, message[-32768:])
            os._exit(bool(message))
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        raise AssertionError(f"the child died of {name}\n{found}")
    if status:
        raise AssertionError(found)
