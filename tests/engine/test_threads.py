"""Threads: the same numbers however many there are, whoever else runs, and none left busy."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.cpu import CPU
from tinyyolo3.engine.cpu.engine import CpuEngine, PlannedNetwork
from tinyyolo3.engine.network import Network
from tinyyolo3.network.graph import Graph
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.engines import make_case
from tinyyolo3.testing.memory import run_in_child
from tinyyolo3.testing.tolerances import IDLE_CPU_SHARE


@pytest.fixture(scope="module")
def network(varied_cfg: str) -> Network:
    case = make_case(varied_cfg.format(width=64, height=48), seed=5)
    return Network(case.graph, case.parameters, CPU, engine=CpuEngine(case.parameters))


def picture(height: int, width: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).random((1, 3, height, width), np.float32)


def assert_same(found: list[FloatArray], expected: list[FloatArray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("threads", [2, 3, 7, 100])
def test_the_number_of_threads_changes_no_bit(network: Network, threads: int) -> None:
    x = picture(48, 64)
    with thread_limit(1):
        expected = network.forward(x)
    with thread_limit(threads):
        for _ in range(5):
            assert_same(network.forward(x), expected)


def test_runs_at_the_same_time_do_not_meet(network: Network) -> None:
    sizes = [(48, 64), (40, 40), (64, 48), (48, 80), (24, 56), (80, 32)]
    pictures = [picture(*sizes[i % len(sizes)], seed=i) for i in range(48)]
    with thread_limit(1):
        expected = [network.forward(x) for x in pictures]
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(network.forward, pictures), expected, strict=True):
            assert_same(found, wanted)


def test_a_batch_is_its_images_one_by_one(network: Network) -> None:
    batch = np.concatenate([picture(48, 64, seed) for seed in range(3)])
    together = network.forward(batch)
    for image in range(3):
        alone = network.forward(batch[image : image + 1])
        assert_same([array[image : image + 1] for array in together], alone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_finds_the_same(network: Network) -> None:
    x = picture(48, 64)
    with thread_limit(4):
        expected = network.forward(x)
        run_in_child(lambda: assert_same(network.forward(x), expected))
        assert_same(network.forward(x), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_forked_while_another_thread_plans_does_not_wait_for_it(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = network.engine
    assert isinstance(engine, CpuEngine)
    planning, release = threading.Event(), threading.Event()
    make = engine._plan

    def slow(graph: Graph) -> PlannedNetwork:
        if os.getpid() == parent:
            planning.set()
            release.wait(30)
        return make(graph)

    parent, small = os.getpid(), network.resized(32, 32)
    monkeypatch.setattr(engine, "_plan", slow)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(small.forward, picture(32, 32))
        assert planning.wait(30)
        try:
            run_in_child(lambda: network.forward(picture(48, 64)))
        finally:
            release.set()
        found.result()


def test_threads_that_wait_for_the_next_run_take_no_time(network: Network) -> None:
    with thread_limit(4):
        for _ in range(3):
            network.forward(picture(48, 64))
    time.sleep(0.05)
    # The garbage collector may have work at some time, threads that spin have it all the time.
    assert min(used_cpu_share(0.1) for _ in range(3)) < IDLE_CPU_SHARE


def used_cpu_share(seconds: float) -> float:
    """Sleep, and return how much of the time of one core the process used meanwhile."""
    start, cpu = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - cpu) / (time.perf_counter() - start)
