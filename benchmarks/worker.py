"""One engine in a process of its own, which answers commands; `measure.py` starts it.

    python benchmarks/worker.py ENGINE FOLDER SIDE THREADS

loads the network and prints a JSON line: version, precision, load_s, first_ms, detects; or
``unavailable`` with the reason why the engine cannot run here. Then every line on stdin is answered
by a JSON line:

- ``network`` and ``detect`` time forward passes, or pictures from pixels to boxes;
- ``memory`` tells the peak resident set;
- ``outputs FILE`` writes the logits to FILE (.npz).

A process of its own keeps one engine's threads, allocator and caches away from the others'.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from peers import ENTRIES
from peers.base import Engine, Model, UnavailableError, sample_picture

#: A command repeats short jobs for as long as this, so that each of them is timed many times.
BURST_S = 0.2


def main() -> None:
    """Load, then answer commands until stdin ends."""
    name, folder, side, threads = sys.argv[1:5]
    pin(int(threads))
    model = Model(Path(folder), int(side))
    try:
        engine, answer = load(name, model, int(threads))
    except UnavailableError as reason:
        print(json.dumps({"unavailable": str(reason)}))
        return
    print(json.dumps(answer), flush=True)
    blob, picture = model.blob(), sample_picture()
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        match command:
            case "network":
                answer = {"ms": burst_ms(engine.forward, blob)}
            case "detect" if engine.detect is not None:
                answer = {"ms": burst_ms(engine.detect, picture)}
            case "memory":
                answer = {"peak_mb": peak_mb()}
            case "outputs":
                np.savez(argument, *engine.forward(blob), allow_pickle=False)
                answer = {}
            case _:
                raise SystemExit(f"{name} does not know the command {command!r}")
        print(json.dumps(answer), flush=True)


def pin(threads: int) -> None:
    """Keep this process on as many cores as it has threads, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def load(name: str, model: Model, threads: int) -> tuple[Engine, dict[str, Any]]:
    """Import the library, load the network and run it once.

    Returns:
        The engine, and what there is to tell about it: load_s is import and loading together,
        first_ms the first forward pass.

    Raises:
        UnavailableError: the engine cannot run here.
    """
    entry, blob = ENTRIES[name], model.blob()
    start = time.perf_counter()
    try:
        module = importlib.import_module(f"peers.{entry.module}")
    except ModuleNotFoundError as missing:
        raise UnavailableError(f"{missing.name} is not installed") from missing
    engine: Engine = module.load(model, threads, **entry.options)
    loaded = time.perf_counter()
    engine.forward(blob)
    return engine, {
        "version": engine.version,
        "precision": engine.precision,
        "load_s": loaded - start,
        "first_ms": (time.perf_counter() - loaded) * 1e3,
        "detects": engine.detect is not None,
    }


def burst_ms(job: Callable[[Any], object], argument: Any) -> float:
    """Return the median time of ``job(argument)`` over a burst, after one run that is not counted.

    That run wakes the threads and fills the caches, which another process has had in between.
    """
    job(argument)
    times: list[float] = []
    end = time.perf_counter() + BURST_S
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        job(argument)
        times.append((time.perf_counter() - start) * 1e3)
    return median(times)


def peak_mb() -> float:
    """Return the largest resident set of this process so far."""
    try:  # getrusage would count the parent's memory too, from before this program was started
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
