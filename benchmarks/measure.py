"""Check that engines agree, then time them in turns.

Every engine is started twice. The first process fills the caches that libraries keep on disk and
writes its logits, which are held to the reference: what computes something else is not timed. The
second is timed. All engines' second processes are alive at once and take turns, burst by burst, so
that a machine whose speed drifts drifts for all.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from peers import ENTRIES
from peers.base import FloatArray, Model
from tinyyolo3.testing.tolerances import PEER_BFLOAT16, PEER_FLOAT32

HERE = Path(__file__).parent
TOLERANCES = {"float32": PEER_FLOAT32, "bfloat16": PEER_BFLOAT16}
#: An engine's idle threads may spin for a while after a run; the next one waits until they sleep.
PAUSE_S = 0.15
#: Rounds that are not counted.
WARM_UP = 2


class Worker:
    """A process that has loaded one network in one engine and answers commands.

    Attributes:
        unavailable: why the engine cannot run here; None when it can.
        loaded: what the process told about it: version, precision, load_s, first_ms, detects.
    """

    def __init__(self, engine: str, model: Model, threads: int) -> None:
        # Some libraries take their count of threads only from here.
        counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        arguments = [engine, str(model.folder), str(model.side), str(threads)]
        self.engine = engine
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **counts},
        )
        self.loaded = self._answer()
        self.unavailable: str | None = self.loaded.get("unavailable")

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and return its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            raise SystemExit(f"the process of {self.engine} ended with status {status}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def compare(
    model: Model,
    reference: Mapping[str, list[FloatArray]],
    engines: Sequence[str],
    threads: int,
    runs: int,
) -> dict[str, dict[str, Any]]:
    """Return a row of figures for each engine that can run the network and agrees.

    Args:
        model: the network.
        reference: the logits to agree with, by flavour of Darknet.
        engines: names of `peers.ENTRIES`.
        threads: how many each may use.
        runs: how many rounds are counted.
    """
    errors = {}
    for name in engines:
        error = check(name, model, reference[ENTRIES[name].parity], threads)
        if error is not None:
            errors[name] = error
    workers = {name: Worker(name, model, threads) for name in errors}
    rows = {
        name: {
            "version": worker.loaded["version"],
            "precision": worker.loaded["precision"],
            "logit_error": float(f"{errors[name]:.1e}"),
            "load_s": round(worker.loaded["load_s"], 2),
            "first_ms": round(worker.loaded["first_ms"], 1),
        }
        for name, worker in workers.items()
    }
    time_rounds(workers, "network", runs, rows)
    for name, worker in workers.items():
        rows[name]["peak_mb"] = round(worker.ask("memory")["peak_mb"])
    detecting = {name: worker for name, worker in workers.items() if worker.loaded["detects"]}
    time_rounds(detecting, "detect", runs, rows)
    for worker in workers.values():
        worker.stop()
    return rows


def check(name: str, model: Model, expected: list[FloatArray], threads: int) -> float | None:
    """Return an engine's error, or None, with a line that says why, if it is not to be timed."""
    worker = Worker(name, model, threads)
    if worker.unavailable is not None:
        worker.stop()
        print(f"{name} is skipped: {worker.unavailable}", flush=True)
        return None
    file = model.folder / f"{name}.npz"
    worker.ask(f"outputs {file}")
    worker.stop()
    with np.load(file) as found:
        error = logit_error(list(found.values()), expected)
    limit = TOLERANCES[worker.loaded["precision"]]
    if not error <= limit:
        print(
            f"{name} is refused: its logits differ from the reference's by {error:.1e} of the "
            f"largest; {limit:.0e} is allowed in {worker.loaded['precision']}",
            flush=True,
        )
        return None
    return error


def logit_error(found: Sequence[FloatArray], expected: Sequence[FloatArray]) -> float:
    """Return the largest difference of two networks' outputs, relative to the largest number.

    It is infinite where their count or shapes differ, and NaN where one holds NaN.
    """
    if [x.shape for x in found] != [x.shape for x in expected]:
        return math.inf
    largest = max(float(np.abs(x).max()) for x in expected)
    differences = [float(np.abs(x - y).max()) for x, y in zip(found, expected, strict=True)]
    return float(np.max(differences)) / largest


def time_rounds(
    workers: Mapping[str, Worker], command: str, runs: int, rows: dict[str, dict[str, Any]]
) -> None:
    """Let all workers take turns, and put the median and minimum into `rows`."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(WARM_UP + runs):
        for name, worker in workers.items():
            times[name].append(worker.ask(command)["ms"])
            time.sleep(PAUSE_S)
    for name, taken in times.items():
        counted = taken[WARM_UP:]
        rows[name][f"{command}_ms"] = round(median(counted), 2)
        rows[name][f"{command}_min_ms"] = round(min(counted), 2)
