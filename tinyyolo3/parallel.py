"""Compiled loops and the threads that share them.

Numba compiles a plain loop over a range ``[start, stop)`` with the interpreter lock released;
`parallel_for` cuts the range into equal parts and runs them on a small thread pool. Numba's own
``prange`` is not used, for three reasons: its threading layers abort the process when two Python
threads enter at once (workqueue) or after a fork (GNU OpenMP), it compiles several times slower,
and a range says what happens in plain sight.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba

from tinyyolo3.cache import keep_code
from tinyyolo3.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

_limit: ContextVar[int | None] = ContextVar("tinyyolo3_thread_limit", default=None)
_pool: ThreadPoolExecutor | None = None


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of plain arrays with Numba on its first call, and release the GIL in it.

    The machine code is kept on disk: see `tinyyolo3.cache`.
    """
    dispatcher: Callable[P, R] = numba.njit(nogil=True, error_model="numpy")(function)
    keep_code(dispatcher, function)
    return dispatcher


def available_cores() -> int:
    """Return how many cores this process may use: its affinity, and its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, cgroup_cores() or cores)


@cache
def cgroup_cores(root: str = "/sys/fs/cgroup") -> int | None:
    """Return how many cores' worth of time Linux's control groups grant, rounded up; None for all.

    A container with ``--cpus=2`` on a large machine sees all its cores, and is stopped when its
    threads have used up two cores' time (cgroups(7); version 2, then version 1).
    """
    for file, period_file in (
        ("cpu.max", None),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
    ):
        try:
            numbers = Path(root, file).read_text().split()
            if period_file:
                numbers += Path(root, period_file).read_text().split()
            quota, period = int(numbers[0]), int(numbers[1])
        except (OSError, ValueError, IndexError):  # not there, or "max"
            continue
        if quota > 0 and period > 0:
            return -(-quota // period)
    return None


def thread_count() -> int:
    """Return how many threads `parallel_for` uses here: `thread_limit`'s number or all cores."""
    return _limit.get() or available_cores()


@contextmanager
def thread_limit(threads: int | None) -> Iterator[None]:
    """Bound the threads of every `parallel_for` inside the block; None leaves them as they are.

    Raises:
        InputError: `threads` is not a positive integer.
    """
    check_threads(threads)
    if threads is None:
        yield
        return
    token = _limit.set(threads)
    try:
        yield
    finally:
        _limit.reset(token)


def check_threads(threads: int | None) -> None:
    """Check a bound on threads; None is no bound.

    Raises:
        InputError: `threads` is not a positive integer.
    """
    whole = isinstance(threads, int) and not isinstance(threads, bool)
    if threads is not None and (not whole or threads < 1):
        raise InputError(f"threads must be a positive integer, not {threads!r}")


def parallel_for(kernel: Callable[..., None], count: int, *arguments: Any, grain: int = 1) -> None:
    """Call ``kernel(start, stop, *arguments)`` on ranges that together cover ``[0, count)``.

    `kernel` must write disjoint results for disjoint ranges, so the answer does not depend on
    the number of threads. No thread gets fewer than `grain` items: choose it so that a thread's
    share outweighs the tens of microseconds that handing it over costs.
    """
    workers = min(thread_count(), max(1, count // grain))
    if workers == 1:
        kernel(0, count, *arguments)
        return
    bounds = [count * i // workers for i in range(workers + 1)]
    pool = _shared_pool()
    futures = [pool.submit(kernel, bounds[i], bounds[i + 1], *arguments) for i in range(1, workers)]
    kernel(bounds[0], bounds[1], *arguments)
    for future in futures:
        future.result()


def in_background(function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> Future[R]:
    """Begin a call on one of the shared threads; the result is in the future."""
    return _shared_pool().submit(function, *arguments, **options)


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(
            max_workers=max(available_cores(), 64), thread_name_prefix="tinyyolo3"
        )
    return _pool


def _forget_pool() -> None:
    """Drop the parent's pool in a forked child, where its threads do not exist."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
