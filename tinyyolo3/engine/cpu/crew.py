"""The threads that run programs together: how they are called, and when they leave.

Waking a sleeping thread through Python takes 20 µs, and hearing from it that it is done 30 to 60
more: a thirtieth of a small network's time. So a *helper*, having run a program, stays in compiled
code for a moment and looks whether it is called again (`LINGER`); images of a batch and frames of a
video follow upon each other. After that it leaves, and uses no processor time.

Each helper has a box, one word on a cache line of its own, that says how it is:

    ABSENT  → CALLED    the caller wants it, and asks for a thread
    WAITING → CALLED    the caller wants it, and it is looking
    CALLED  → RUNNING   it has seen the call
    RUNNING → WAITING   it is done
    CALLED  → WAITING   the caller got everything done before it came: nobody waits for it
    WAITING → ABSENT    it leaves

Every change is one atomic instruction, so a call cannot get lost between looking and leaving, and a
thread that comes late finds out whether it is still wanted.
"""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.engine.cpu.clock import read_clock
from tinyyolo3.engine.cpu.packing import Floats, aligned_floats
from tinyyolo3.engine.cpu.program import (
    LINE,
    PATIENCE,
    exchange,
    load_acquire,
    run_steps,
    store_release,
    yield_core,
)
from tinyyolo3.engine.cpu.vectors import read_int
from tinyyolo3.parallel import compiled, in_background

ABSENT, WAITING, CALLED, RUNNING = range(4)
#: Nanoseconds that a helper stays. They are measured, not counted in looks: where others want its
#: core, offering it may take milliseconds, and helpers of many crews would pile up.
LINGER = 500_000


class Crew:
    """The caller of a program and its helpers.

    One program runs at a time. In a forked child, where no helper exists, all are absent; so they
    are taken to be after a run that was interrupted, which may have called one without asking for a
    thread. Should one be there after all, it finds itself taken for absent and leaves.

    Args:
        scratches: each worker's own memory; the first is the caller's.
        steps: how many the longest program has.
    """

    def __init__(self, scratches: Sequence[Floats], steps: int) -> None:
        self.workers = len(scratches)
        self._scratches = np.array([own.ctypes.data for own in scratches], np.int64)
        self._counters = _words(max(1, steps) * (self.workers + 1) * LINE)
        self._boxes = _words(self.workers * LINE)
        self._order = _words(LINE)
        self._addresses = tuple(
            array.ctypes.data for array in (self._boxes, self._order, self._counters)
        )
        self._absent = np.zeros(self.workers, np.int64)
        self._process = os.getpid()
        self._unfinished = False  # whether the last run was interrupted

    def run(self, table: NDArray[np.int64], holder: object) -> None:
        """Run a program with all workers; where no thread can be had, with fewer.

        Args:
            table: (steps, 3), see `program.run_steps`.
            holder: what keeps the table alive and all memory that the program names by address,
                the same in every run. A helper's thread holds on to it: an interrupt that ends the
                caller's run leaves the others reading.
        """
        boxes, _, counters = self._addresses
        if self._process == os.getpid() and self._unfinished:
            dismiss_helpers(self.workers, boxes)
        if self._process != os.getpid() or self._unfinished:
            self._boxes[:] = ABSENT
        self._process, self._unfinished = os.getpid(), True
        self._counters[: len(table) * (self.workers + 1) * LINE] = 0
        self._order[:2] = table.ctypes.data, len(table)
        for i in range(call_helpers(self.workers, boxes, self._absent)):
            worker = int(self._absent[i])
            try:
                in_background(_help, self, worker, holder)
            except RuntimeError:  # no more threads, or the interpreter is about to end
                self._boxes[worker * LINE] = ABSENT
        run_steps(0, self.workers, table.ctypes.data, len(table), counters, self._scratches)
        dismiss_helpers(self.workers, boxes)
        self._unfinished = False

    def serve(self, worker: int) -> None:
        """Be a helper until nobody calls any more."""
        boxes, order, counters = self._addresses
        clock = np.zeros(2, np.int64)
        serve_caller(
            worker, self.workers, boxes, order, counters, clock.ctypes.data, self._scratches
        )


def _help(crew: Crew, worker: int, _holder: object) -> None:
    crew.serve(worker)


def _words(count: int) -> NDArray[np.int64]:
    """Return so many 64-bit zeros, from the beginning of a cache line on."""
    return aligned_floats(2 * count).view(np.int64)


@compiled
def call_helpers(workers: int, boxes: int, absent: NDArray[np.int64]) -> int:
    """Call all helpers; write down those that a thread is needed for, and return their number."""
    count = 0
    for worker in range(1, workers):
        box = boxes + worker * 8 * LINE
        if not exchange(box, WAITING, CALLED):
            store_release(box, CALLED)
            absent[count] = worker
            count += 1
    return count


@compiled
def dismiss_helpers(workers: int, boxes: int) -> None:
    """Take the call back from helpers that have not seen it, and wait until none is running."""
    for worker in range(1, workers):
        box = boxes + worker * 8 * LINE
        exchange(box, CALLED, WAITING)
        looks = 0
        while load_acquire(box) == RUNNING:
            looks += 1
            if looks > PATIENCE:
                yield_core()


@compiled
def serve_caller(
    worker: int,
    workers: int,
    boxes: int,
    order: int,
    counters: int,
    clock: int,
    scratches: NDArray[np.int64],
) -> None:
    """Run a program whenever called; return when there has been no call for a while.

    Args:
        worker: which one this is.
        workers: how many there may be.
        boxes: the address of a line for each.
        order: where the address of the program's table is, and the number of its steps.
        counters: see `program.run_steps`.
        clock: two words of memory of its own.
        scratches: the addresses of the workers' own memory.
    """
    box = boxes + worker * 8 * LINE
    end = 0  # who comes too late for the call that it was asked for leaves at once
    while True:
        looks = 0
        while load_acquire(box) != CALLED or not exchange(box, CALLED, RUNNING):
            looks += 1
            if end == 0 or looks > PATIENCE:
                # A pool that could start no more threads may still run what it refused: such a
                # helper finds itself taken for absent.
                if read_clock(clock) >= end and (
                    exchange(box, WAITING, ABSENT) or load_acquire(box) == ABSENT
                ):
                    return
                yield_core()
        run_steps(worker, workers, read_int(order), read_int(order + 8), counters, scratches)
        store_release(box, WAITING)
        end = read_clock(clock) + LINGER
