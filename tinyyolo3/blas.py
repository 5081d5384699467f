"""Bounding the threads of the BLAS that NumPy brings along.

A network's layers are cut into jobs for this package's own threads, each of which calls BLAS for
its part; BLAS's own threads on top of them would get in their way, and they wait by spinning.
OpenBLAS keeps one number of threads for the whole process and NumPy has no call for it. The
symbol is found through NumPy's own extension module: the dynamic linker looks a name up in a
library *and in what it depends on*.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

#: OpenBLAS's names in NumPy's wheels, then in distributions that link a system library.
SYMBOLS = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
)

_lock = threading.Lock()
_users = 0
_before = 0


@contextmanager
def blas_thread_limit(threads: int) -> Iterator[None]:
    """Bound BLAS to `threads` inside the block, and restore what was there after the last block.

    The bound is the process's: where blocks in several Python threads overlap, the last one
    entered decides. A BLAS that is not OpenBLAS (Accelerate, MKL) keeps its own threads.
    """
    global _users, _before
    functions = _find_openblas()
    if functions is None:
        yield
        return
    get_threads, set_threads = functions
    with _lock:
        if _users == 0:
            _before = get_threads()
        _users += 1
        set_threads(threads)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                set_threads(_before)


@cache
def _find_openblas() -> tuple[Any, Any] | None:
    try:
        extension = import_module("numpy._core._multiarray_umath")
        library = ctypes.CDLL(str(extension.__file__))
    except (ImportError, OSError):
        library = None
    for getter, setter in SYMBOLS:
        if hasattr(library, getter) and hasattr(library, setter):
            return getattr(library, getter), getattr(library, setter)
    return None
