"""Time a step of training against eager PyTorch, on the same machine.

    python benchmarks/train.py [--runs 15] [--threads 2] [--batch 8] [--side 416] [--out FILE]

A step is the way there and back and the update (momentum and decay) of yolov3-tiny, from the same
random weights and pictures; the loss is replaced by one fixed gradient at the heads, the same for
all. Heads' outputs and the gradients of all weights must agree before anything is timed: closely on
small pictures, and at full size, where among millions of numbers some lie so near to leaky's kink
or to another maximum that rounding decides about their gradients, on the whole. Each
trainer is a process of its own; they take turns, step by step. PyTorch is timed with contiguous
maps and with channels last. The figures are stored in ``benchmarks/results/train.json`` with the
date, the processor, the versions and the commit.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cpu import describe_machine
from export import write_plain
from measure import PAUSE_S, WARM_UP
from peers.base import FloatArray, Model
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import write_weights
from tinyyolo3.layers.yolo import yolo_forward_reference
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.testing.architectures import yolov3_tiny_config
from tinyyolo3.testing.tolerances import PEER_FLOAT32
from tinyyolo3.testing.weights import random_weights
from train_base import DECAY, MOMENTUM, RATE

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "train.json"
OURS = "tinyyolo3"
TRAINERS = (OURS, "torch", "torch-channels-last")
#: Side and number of the small pictures.
SMALL_SIDE, SMALL_BATCH = 96, 2
#: What an array's difference at full size may have of the array's norm: measured are 3e-3, and
#: 1.6e-2 with channels last, which PyTorch computes a digit less exactly: there its contiguous
#: step differs as much.
LARGEST_SHARE = 5e-2


class Worker:
    """A process that holds one trainer and answers commands.

    Attributes:
        loaded: what it told about itself.
    """

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        arguments = [sys.executable, str(HERE / "train_worker.py"), name, str(folder), str(threads)]
        self.name = name
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.loaded = self._answer()

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def write_task(folder: Path, side: int, batch: int) -> Graph:
    """Write the network, a mini-batch and the heads' gradients for all trainers."""
    options = f"batch={batch}\nlearning_rate={RATE}\nmomentum={MOMENTUM}\ndecay={DECAY}\n"
    model = Model(folder, side)
    cfg = yolov3_tiny_config(side, side).replace("[net]\n", f"[net]\n{options}")
    model.cfg.write_text(cfg)
    graph = build_graph(parse_config(cfg))
    weights = random_weights(graph, seed=0)
    write_weights(model.weights, network_slots(graph), weights)
    write_plain(graph, weights, model)
    rng = np.random.default_rng(0)
    np.save(folder / "pictures.npy", rng.random((batch, *graph.input_shape), np.float32))
    gradients = {
        str(index): rng.standard_normal((batch, *graph.layers[index].output_shape), np.float32)
        for index in graph.output_indices
    }
    np.savez(folder / "gradients.npz", allow_pickle=False, **gradients)
    return graph


def read_results(name: str, folder: Path, graph: Graph, threads: int) -> dict[str, FloatArray]:
    """Return a trainer's heads, activated, and weight gradients, or nothing if it cannot run."""
    worker = Worker(name, folder, threads)
    if "unavailable" in worker.loaded:
        worker.stop()
        print(f"{name} is skipped: {worker.loaded['unavailable']}", flush=True)
        return {}
    file = folder / f"{name}.npz"
    worker.ask(f"results {file}")
    worker.stop()
    with np.load(file) as arrays:
        found = dict(arrays.items())
    for head in graph.heads:
        logits = found.pop(f"logits.{head.inputs[0]}", None)
        if logits is not None:
            found[f"head.{head.inputs[0]}"] = yolo_forward_reference(
                logits, anchors=len(head.anchors), classes=head.classes
            )
    return found


def largest(found: FloatArray) -> float:
    """Return an array's largest number."""
    return float(np.abs(found).max())


def norm(found: FloatArray) -> float:
    """Return an array's Euclidean norm."""
    return float(np.linalg.norm(found))


def check(
    folder: Path, graph: Graph, threads: int, measure: Callable[[FloatArray], float], most: float
) -> dict[str, float]:
    """Return how far each trainer that can run is from ours; nothing for others.

    Args:
        folder: the task.
        graph: its network.
        threads: of each trainer.
        measure: a norm; a difference is taken relative to the array, by this norm.
        most: what a difference may be.

    Raises:
        SystemExit: a trainer gives other numbers.
    """
    ours = read_results(OURS, folder, graph, threads)
    differences = {OURS: 0.0}
    for name in TRAINERS[1:]:
        found = read_results(name, folder, graph, threads)
        if found:
            if {n: x.shape for n, x in found.items()} != {n: x.shape for n, x in ours.items()}:
                raise SystemExit(f"{name} gives other arrays than {OURS}")
            error = max(measure(x - ours[n]) / measure(x) for n, x in found.items())
            if not error <= most:
                raise SystemExit(f"{name} differs from {OURS} by {error:.1e} of an array")
            differences[name] = error
    return differences


def time_rounds(
    folder: Path, names: Iterable[str], threads: int, runs: int
) -> dict[str, dict[str, Any]]:
    """Let trainers take turns, and return their figures."""
    workers = {name: Worker(name, folder, threads) for name in names}
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(WARM_UP + runs):
        for name, worker in workers.items():
            times[name].append(worker.ask("step")["ms"])
            time.sleep(PAUSE_S)
    rows = {}
    for name, worker in workers.items():
        counted = times[name][WARM_UP:]
        rows[name] = {
            "version": worker.loaded["version"],
            "step_ms": round(median(counted), 1),
            "step_min_ms": round(min(counted), 1),
            "peak_mb": round(worker.ask("memory")["peak_mb"]),
        }
        worker.stop()
    return rows


def main() -> None:
    """Run the comparison and store it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="counted rounds (default 15)")
    parser.add_argument("--threads", type=int, default=2, help="of each trainer (default 2)")
    parser.add_argument("--batch", type=int, default=8, help="pictures (default 8)")
    parser.add_argument("--side", type=int, default=416, help="of a picture in px (default 416)")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"default {RESULTS.name}")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        graph = write_task(folder, SMALL_SIDE, SMALL_BATCH)
        differences = check(folder, graph, options.threads, largest, PEER_FLOAT32)
        graph = write_task(folder, options.side, options.batch)
        shares = check(folder, graph, options.threads, norm, LARGEST_SHARE)
        rows = time_rounds(folder, shares, options.threads, options.runs)
    for name, row in rows.items():
        row |= {"difference": float(f"{differences[name]:.1e}")}
        row |= {"difference_at_full_size": float(f"{shares[name]:.1e}")}
        print(f"{name}: {json.dumps(row)}", flush=True)
    task = {"runs": options.runs, "threads": options.threads}
    task |= {"batch": options.batch, "side": options.side}
    result = {**describe_machine(), "network": "yolov3-tiny", **task, "trainers": rows}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
