"""Processes that make the coming pictures while the network learns from these.

Decoding and changing pictures is mostly Python's and Pillow's work, so threads would stand in each
other's way and in the trainer's. Pixels are written into memory that all processes see; orders and
labels, which are small, go through pipes.

No process outlives the program, however it ends: each holds the reading end of a pipe, the
*lifeline*, whose other end only the program has, and leaves when that is closed. The shared memory
has no name (`multiprocessing.heap` unlinks its file at once), so there is nothing to leave behind.
"""

import ctypes
import math
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.parallel import thread_limit
from tinyyolo3.train.augmentation import PictureOptions
from tinyyolo3.train.composition import Order, compose_picture
from tinyyolo3.train.labels import Truths

#: Seconds that closing waits for pictures under way.
PATIENCE_S = 2.0

#: In a worker: the shared memory, the options and the seed.
_station: tuple[list[NDArray[np.float32]], PictureOptions, int] | None = None


class Workers:
    """A pool of processes, and the memory that they write to.

    Processes are started when there is work for them. They are new ones (``spawn``): a forked one
    would inherit threads and locks in the middle of what they do.

    Attributes:
        slots: float32 arrays of one dimension that all see.
    """

    def __init__(
        self, count: int, slots: int, floats: int, options: PictureOptions, seed: int
    ) -> None:
        """Make the memory.

        Args:
            count: of processes, at most.
            slots: of memory.
            floats: in each slot.
            options: how pictures are changed.
            seed: of the changes.
        """
        context = get_context("spawn")
        shared: list[Any] = [context.RawArray(ctypes.c_float, floats) for _ in range(slots)]
        self.slots = _view(shared)
        self._held, self._lifeline = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            count, context, _enter, (self._held, shared, options, seed)
        )

    def submit(self, order: Order, slot: int, shape: tuple[int, ...], first: int) -> Future[Truths]:
        """Have a picture made.

        Args:
            order: which.
            slot: where it goes.
            shape: of the picture, (channels, height, width).
            first: its first float in the slot.

        Raises:
            BrokenProcessPool: a worker has died; so does the future's result.
        """
        with _no_interrupts():
            return self._executor.submit(_work, order, slot, shape, first)

    def close(self, running: Sequence[Future[Truths]]) -> None:
        """End the processes, and wait a moment for what they are at.

        What takes longer (a network share that is gone) is given up.

        Args:
            running: what was submitted and may not be done.
        """
        under_way = [future for future in running if not future.cancel()]
        if wait(under_way, PATIENCE_S).not_done:
            self._lifeline.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._lifeline.close()
        self._held.close()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Have processes that are started here never see Ctrl-C: the program ends them.

    A terminal sends it to all; where signals can be blocked, that is inherited, so that not even
    one that is still starting writes its traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _enter(lifeline: Connection, shared: list[Any], options: PictureOptions, seed: int) -> None:
    """Begin a worker."""
    global _station
    # For where signals cannot be blocked; there, one that comes earlier is seen.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_leave_with, args=(lifeline,), daemon=True).start()
    _station = _view(shared), options, seed


def _view(shared: list[Any]) -> list[NDArray[np.float32]]:
    """Return shared memory as arrays, which keep it."""
    return [np.frombuffer(memory, np.float32) for memory in shared]


def _leave_with(lifeline: Connection) -> None:
    """End this process when the other end of a pipe is closed; nothing is ever sent through it."""
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(0)


def _work(order: Order, slot: int, shape: tuple[int, ...], first: int) -> Truths:
    """Make a picture, in a worker."""
    assert _station is not None
    slots, options, seed = _station
    out = slots[slot][first : first + math.prod(shape)].reshape(shape)
    with thread_limit(1):
        return compose_picture(order, options, seed, out)
