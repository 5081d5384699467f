"""Time this project's CPU engine against OpenCV 4's DNN on the same machine.

    python benchmarks/cpu.py [--runs 15] [--threads N] [--model CFG WEIGHTS SIDE ...]

Both engines live in processes of their own and take turns, run by run, so that a machine whose
speed drifts drifts for both; the median of each and the ratio of the medians are stored in
``benchmarks/results/cpu.json`` with the date, the processor, the versions and the commit. The
classic networks are written by code and get random weights, which take as long as trained ones.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import LayerWeights, write_weights
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.heads import BOX_ENTRIES
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.network.summary import summarize
from tinyyolo3.parallel import available_cores
from tinyyolo3.testing.architectures import yolov3_config, yolov3_spp_config, yolov3_tiny_config
from tinyyolo3.testing.weights import random_weights

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "cpu.json"
ENGINES = ("tinyyolo3", "opencv")
CLASSIC = {
    "yolov3-416": (yolov3_config, 416),
    "yolov3-tiny-416": (yolov3_tiny_config, 416),
    "yolov3-spp-608": (yolov3_spp_config, 608),
}
#: An engine's idle threads may spin for a while after a run; the other waits until they sleep.
PAUSE_S = 0.15


class Worker:
    """A process that has loaded one network in one engine and times it on command."""

    def __init__(self, engine: str, cfg: Path, weights: Path, side: int, threads: int) -> None:
        environment = dict(os.environ, OPENBLAS_NUM_THREADS=str(threads))
        arguments = [engine, str(cfg), str(weights), str(side), str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "peers.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.loaded = self._answer()

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
            raise SystemExit(f"a benchmark process ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def compare(cfg: Path, weights: Path, side: int, threads: int, runs: int) -> dict[str, Any]:
    """Return the medians of both engines on one network, and their ratios."""
    workers = {name: Worker(name, cfg, weights, side, threads) for name in ENGINES}
    times: dict[tuple[str, str], list[float]] = {}
    for run in range(runs + 2):  # the first two warm up: compilation, caches, memory
        for command in ("network", "detect"):
            for name, worker in workers.items():
                taken = worker.ask(command)["ms"]
                if run >= 2:
                    times.setdefault((name, command), []).append(taken)
                time.sleep(PAUSE_S)
    summary = summarize(build_graph(parse_config(cfg.read_text()), width=side, height=side))
    row: dict[str, Any] = {"gflop": round(summary.flop / 1e9, 2)}
    for name, worker in workers.items():
        row[name] = {
            "version": worker.loaded["version"],
            "load_s": round(worker.loaded["load_s"], 2),
            "network_ms": round(median(times[name, "network"]), 2),
            "detect_ms": round(median(times[name, "detect"]), 2),
            "peak_mb": round(worker.ask("memory")["peak_mb"]),
        }
        worker.stop()
    for what in ("network_ms", "detect_ms"):
        row[f"{what.removesuffix('_ms')}_ratio"] = round(
            row["opencv"][what] / row["tinyyolo3"][what], 2
        )
    return row


def quiet_weights(graph: Graph) -> dict[int, LayerWeights]:
    """Return random weights under which no box passes.

    Without a bias against it half of all boxes would, and suppressing them would take longer than
    the network. Trained models on photographs are what `--model` is for.
    """
    weights = random_weights(graph, seed=0)
    for head in graph.heads:
        per_anchor = weights[head.inputs[0]]["biases"].reshape(len(head.anchors), -1)
        per_anchor[:, BOX_ENTRIES - 1] -= 5
    return weights


@contextmanager
def classic_network(name: str) -> Iterator[tuple[Path, Path, int]]:
    """Write one of the classic networks with random weights into a temporary folder."""
    write, side = CLASSIC[name]
    graph = build_graph(parse_config(write(side, side)))
    with tempfile.TemporaryDirectory() as folder:
        cfg, weights = Path(folder, f"{name}.cfg"), Path(folder, f"{name}.weights")
        cfg.write_text(write(side, side))
        write_weights(weights, network_slots(graph), quiet_weights(graph))
        yield cfg, weights, side


def describe_machine(threads: int) -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = lines[0].partition(":")[2].strip() if lines else processor
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": processor,
        "cores": available_cores(),
        "threads": threads,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": commit,
    }


def main() -> None:
    """Run all comparisons and store them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="counted runs of each (default 15)")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--only", choices=CLASSIC, help="one of the classic networks")
    parser.add_argument(
        "--model",
        nargs=4,
        action="append",
        default=[],
        metavar=("NAME", "CFG", "WEIGHTS", "SIDE"),
        help="a trained model to time as well",
    )
    options = parser.parse_args()
    networks: dict[str, Any] = {}
    for name in [options.only] if options.only else CLASSIC:
        with classic_network(name) as (cfg, weights, side):
            networks[name] = compare(cfg, weights, side, options.threads, options.runs)
        print(name, json.dumps(networks[name]), flush=True)
    for name, cfg_text, weights_text, side_text in options.model:
        networks[name] = compare(
            Path(cfg_text), Path(weights_text), int(side_text), options.threads, options.runs
        )
        print(name, json.dumps(networks[name]), flush=True)
    result = {**describe_machine(options.threads), "runs": options.runs, "networks": networks}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
