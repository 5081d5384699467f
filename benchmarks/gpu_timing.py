"""Timing work on a target: by events on a GPU, by the clock on the CPU."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from tinyyolo3.cuda.target import Target

#: Runs that are not counted: they load modules, wake the clocks and fill the caches.
WARM_UP = 20


def spans_ms(target: Target, launch: Callable[[], Any], runs: int, warm_up: int) -> list[float]:
    """Return how long each of `runs` calls of `launch` keeps the target busy, in milliseconds.

    On a GPU that is the time between two events around the call on the target's stream: all of it
    is begun without waiting, so that the host's own time counts only where it falls behind.

    Args:
        target: where `launch` puts its work.
        launch: begins the work; a captured graph, or anything else that need not wait.
        runs: how many calls are counted.
        warm_up: how many come before, not counted.
    """
    for _ in range(warm_up):
        launch()
    target.synchronize()
    if target.name != "cuda":
        return [_wall_ms(target, launch) for _ in range(runs)]
    import cupy

    stream = target.stream  # type: ignore[attr-defined]  # only the GPU's target has one
    pairs = [(cupy.cuda.Event(), cupy.cuda.Event()) for _ in range(runs)]
    for before, after in pairs:
        before.record(stream)
        launch()
        after.record(stream)
    target.synchronize()
    return [float(cupy.cuda.get_elapsed_time(*pair)) for pair in pairs]


def _wall_ms(target: Target, launch: Callable[[], Any]) -> float:
    start = time.perf_counter()
    launch()
    target.synchronize()
    return (time.perf_counter() - start) * 1e3


def launch_ms(target: Target, launches: list[Callable[[], None]], repeats: int, runs: int) -> float:
    """Return the median time of one of `launches` inside a graph of `repeats` rounds of them all.

    Several launches of the same kernel on different memory keep one another's data out of the
    cache; a graph keeps the host out of the figure.
    """

    def record() -> None:
        for _ in range(repeats):
            for launch in launches:
                launch()

    for launch in launches:  # a graph takes modules that are loaded already
        launch()
    target.synchronize()
    graph = target.capture(record)
    spans = spans_ms(target, graph, runs, warm_up=2)
    return median(spans) / (repeats * len(launches))


def call_ms(function: Callable[[], Any], runs: int, warm_up: int = 3) -> float:
    """Return the median time of a call that ends when its work is done, by the host's clock."""
    taken = []
    for _ in range(warm_up + runs):
        start = time.perf_counter()
        function()
        taken.append((time.perf_counter() - start) * 1e3)
    return median(taken[warm_up:])


def spread(spans: list[float]) -> dict[str, float]:
    """Return what a reader needs of many times: the median, and how far from it they lie."""
    ordered = sorted(spans)
    return {
        "ms": round(median(ordered), 5),
        "p10_ms": round(ordered[len(ordered) // 10], 5),
        "p90_ms": round(ordered[len(ordered) * 9 // 10], 5),
    }
