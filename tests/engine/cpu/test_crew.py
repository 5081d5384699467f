"""Crews: every job once and in order, whoever comes late, leaves, is refused or never existed."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu import crew as crews
from tinyyolo3.engine.cpu.crew import ABSENT, RUNNING, WAITING, Crew
from tinyyolo3.engine.cpu.packing import aligned_floats
from tinyyolo3.engine.cpu.program import LINE, fetch_add, load_acquire, operation, yield_core
from tinyyolo3.engine.cpu.vectors import carray
from tinyyolo3.parallel import in_background
from tinyyolo3.testing.memory import run_in_child

#: Looks at what another thread is to do, each of which offers the core: many seconds.
LOOKS = 20_000_000
#: In seconds, for what takes milliseconds on a machine that has nothing else to do.
DEADLINE = 60


@operation("counts", "before", "jobs_before", "run", "wrong", "started", "together")
def count_job(steps: Any, index: int, _scratch: int) -> None:
    """Count that a job ran, and what of the step before was not complete.

    With `together` the job waits until so many have started, each in a thread of its own.
    """
    step = carray(steps, 1)[0]
    for job in range(step.jobs_before):
        if load_acquire(step.before + 8 * job) != step.run:
            fetch_add(step.wrong, 1)
    fetch_add(step.started, 1)
    looks = 0
    while load_acquire(step.started) < step.together * step.run:
        yield_core()
        looks += 1
        if looks == LOOKS:
            fetch_add(step.wrong, 1)
            break
    fetch_add(step.counts + 8 * index, 1)


class Program:
    """Steps that count their jobs, and a crew that runs them."""

    def __init__(self, jobs: Sequence[int], workers: int, together: int = 0) -> None:
        self.crew = Crew([aligned_floats(16) for _ in range(workers)], len(jobs))
        self.jobs, self.runs = jobs, 0
        self.counts = np.zeros((len(jobs), max(jobs)), np.int64)
        self.wrong, self.started = np.zeros(1, np.int64), np.zeros(len(jobs), np.int64)
        self.records = np.zeros(len(jobs), count_job.dtype)
        self.records["wrong"] = self.wrong.ctypes.data
        self.records["together"] = together
        starts = self.counts.ctypes.data + self.counts.strides[0] * np.arange(len(jobs))
        self.records["counts"], self.records["before"][1:] = starts, starts[:-1]
        self.records["started"] = self.started.ctypes.data + 8 * np.arange(len(jobs))
        self.records["jobs_before"][1:] = jobs[:-1]
        size = count_job.dtype.itemsize
        self.table = np.array(
            [
                (count_job.address, self.records.ctypes.data + size * step, count)
                for step, count in enumerate(jobs)
            ],
            np.int64,
        )

    def run(self, holder: object = None) -> None:
        """Run once more, and check."""
        self.runs += 1
        self.records["run"] = self.runs
        self.crew.run(self.table, holder or self)
        assert set(self.boxes()) <= {ABSENT, WAITING}
        self.check()

    def check(self) -> None:
        """Check that each job ran once in each run, behind all of the step before."""
        for own, count in zip(self.counts, self.jobs, strict=True):
            assert (own[:count] == self.runs).all()
            assert (own[count:] == 0).all()
        assert self.wrong[0] == 0

    def boxes(self) -> list[int]:
        """Return how the helpers are."""
        return [int(box) for box in self.crew._boxes[LINE::LINE]]

    def wait_until_all_left(self) -> None:
        wait_until(lambda: set(self.boxes()) <= {ABSENT})


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


STEPS = st.lists(st.one_of(st.just(1), st.integers(1, 6), st.integers(1, 200)), min_size=1)


@settings(max_examples=60, deadline=None)
@given(jobs=STEPS, workers=st.integers(1, 5), pauses=st.lists(st.booleans(), max_size=4))
def test_every_job_runs_once_behind_the_step_before(
    jobs: list[int], workers: int, pauses: list[bool]
) -> None:
    program = Program(jobs, workers)
    program.run()
    for pause in pauses:
        if pause:
            program.wait_until_all_left()
        program.run()


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_all_helpers_take_part_in_run_after_run(workers: int) -> None:
    program = Program([workers] * 3, workers, together=workers)
    for run in range(30):
        if run % 10 == 9:
            program.wait_until_all_left()
        program.run()


def test_helpers_leave_after_a_while() -> None:
    program = Program([3] * 5, 4)
    for _ in range(20):
        program.run()
    program.wait_until_all_left()


def test_a_run_right_after_another_often_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(*arguments: Any) -> Future[None]:
        asked.append(arguments)
        return in_background(*arguments)

    monkeypatch.setattr(crews, "in_background", ask)
    program = Program([3] * 5, 3, together=3)
    for _ in range(200):
        program.run()
    assert 2 <= len(asked) < 200 * 2


def test_a_helper_that_has_not_begun_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release, program = threading.Event(), Program([5, 1, 7], 3)
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr("tinyyolo3.parallel._pool", pool)
        pool.submit(release.wait, DEADLINE)
        try:
            program.run()
            assert program.boxes() == [WAITING] * 2
            program.run()
        finally:
            release.set()
    program.check()
    assert program.boxes() == [ABSENT] * 2


def test_without_threads_the_caller_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    program = Program([5, 1, 7], 3)
    with monkeypatch.context() as patch:
        patch.setattr(crews, "in_background", refuse)
        for _ in range(3):
            program.run()
            assert program.boxes() == [ABSENT] * 2
    program.run()


def test_a_helper_that_comes_though_refused_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that can start no more threads keeps what it was asked for, and may run it later."""
    program, late = Program([5, 1, 7], 2), []

    def refuse(*arguments: Any) -> None:
        late.append(threading.Thread(target=arguments[0], args=arguments[1:], daemon=True))
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(crews, "in_background", refuse)
        program.run()
    for thread in late:
        thread.start()
    try:
        late[0].join(DEADLINE / 4)
        assert not late[0].is_alive()
    finally:
        if late[0].is_alive():
            program.crew._boxes[LINE] = WAITING  # then it leaves, and the process can end
    assert program.boxes() == [ABSENT]
    program.run()


def test_a_helper_left_running_is_waited_for() -> None:
    """An interrupt ends the caller's run, and the next one begins while a helper still runs."""
    program, done = Program([5, 1, 7], 3), []
    program.run()
    program.wait_until_all_left()
    program.crew._boxes[LINE], program.crew._unfinished = RUNNING, True

    def finish() -> None:
        done.append((program.counts.max(), program.boxes()[0]))
        if done[0] == (1, RUNNING):
            program.crew._boxes[LINE] = ABSENT

    timer = threading.Timer(0.2, finish)
    timer.start()
    program.run()
    timer.join()
    assert done == [(1, RUNNING)]


def test_a_thread_that_an_interrupt_kept_from_being_asked_for_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    program = Program([3] * 5, 2, together=2)  # a program that takes two
    with monkeypatch.context() as patch:
        patch.setattr(crews, "in_background", interrupt)
        with pytest.raises(KeyboardInterrupt):
            program.crew.run(program.table, program)
    program.run()


def test_crews_of_several_threads_do_not_meet() -> None:
    programs = [Program([1 + i, 9, 2], 1 + i % 4) for i in range(6)]

    def work(program: Program) -> None:
        for _ in range(100):
            program.run()

    with ThreadPoolExecutor(len(programs)) as pool:
        list(pool.map(work, programs))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("state", [WAITING, RUNNING])
def test_a_forked_child_has_helpers_of_its_own(state: int) -> None:
    program = Program([3] * 2, 3, together=3)
    program.run()
    program.wait_until_all_left()
    program.crew._boxes[LINE::LINE] = state
    try:
        run_in_child(program.run)
    finally:
        program.crew._boxes[LINE::LINE] = ABSENT
    program.run()


class Holder:
    """Something that can be seen to go."""


def test_what_a_program_needs_lives_while_a_helper_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    release, program, holder = threading.Event(), Program([5, 1], 2), Holder()
    seen = weakref.ref(holder)
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr("tinyyolo3.parallel._pool", pool)
        pool.submit(release.wait, DEADLINE)
        try:
            program.run(holder)
            del holder
            assert seen() is not None
        finally:
            release.set()
        wait_until(lambda: seen() is None)
    assert program.boxes() == [ABSENT]
