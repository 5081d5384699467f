"""Threads: every range once, bounds kept, errors passed on, and a fork that does not hang."""

import os
import signal
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.blas import _find_openblas, blas_thread_limit
from tinyyolo3.errors import InputError
from tinyyolo3.parallel import (
    available_cores,
    cgroup_cores,
    compiled,
    parallel_for,
    thread_count,
    thread_limit,
)


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 200), threads=st.integers(1, 9), grain=st.integers(1, 50))
def test_ranges_cover_every_item_once_and_none_is_too_small(
    count: int, threads: int, grain: int
) -> None:
    ranges: list[tuple[int, int]] = []
    with thread_limit(threads):
        parallel_for(lambda start, stop: ranges.append((start, stop)), count, grain=grain)
    covered = [item for start, stop in sorted(ranges) for item in range(start, stop)]
    assert covered == list(range(count))
    assert len(ranges) <= threads
    assert len(ranges) == 1 or min(stop - start for start, stop in ranges) >= grain


def test_work_is_really_shared() -> None:
    barrier = threading.Barrier(3, timeout=30)
    with thread_limit(3):
        parallel_for(lambda *_: barrier.wait(), 3)


def test_an_error_in_any_thread_reaches_the_caller() -> None:
    def fail(_: int, stop: int) -> None:
        if stop == 4:
            raise ValueError("in the last range")

    with thread_limit(4), pytest.raises(ValueError, match="in the last range"):
        parallel_for(fail, 4)


def test_a_limit_ends_with_its_block_and_nests() -> None:
    assert thread_count() == available_cores()
    with thread_limit(5):
        with thread_limit(2):
            assert thread_count() == 2
        with thread_limit(None):
            assert thread_count() == 5
    assert thread_count() == available_cores()


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_a_limit_is_a_positive_integer(threads: object) -> None:
    with pytest.raises(InputError, match="threads must be a positive integer"):
        thread_limit(threads).__enter__()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.max": "rubbish"}, None),
        ({}, None),
    ],
)
def test_a_containers_quota_is_seen(
    files: dict[str, str], cores: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_cores(str(tmp_path)) == cores


@compiled
def fill(start: int, stop: int, out: np.ndarray) -> None:
    for i in range(start, stop):
        out[i] = i


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_makes_threads_of_its_own() -> None:
    out = np.zeros(8)
    with thread_limit(4):
        parallel_for(fill, 8, out)
        with warnings.catch_warnings():
            # Python 3.12 warns of any fork with threads; the child here touches none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 1
            signal.alarm(20)  # a child that waits for threads it does not have would wait for ever
            try:
                again = np.zeros(8)
                parallel_for(fill, 8, again)
                status = int(not np.array_equal(again, out))
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0


def test_blas_is_bounded_inside_and_as_before_outside() -> None:
    functions = _find_openblas()
    if functions is None:
        pytest.skip("this NumPy's BLAS is not OpenBLAS")
    get_threads = functions[0]
    before = get_threads()
    with blas_thread_limit(1):
        assert get_threads() == 1
        with blas_thread_limit(1):
            assert get_threads() == 1
        assert get_threads() == 1
    assert get_threads() == before
