"""The engines that `cpu.py` compares, each run in a process of its own.

    python benchmarks/peers.py ENGINE CFG WEIGHTS SIDE THREADS

loads the network and answers every line on stdin with a JSON line on stdout: ``network`` times one
forward pass, ``detect`` one picture (decoded pixels to boxes), ``memory`` tells the peak resident
set. A process of its own keeps one engine's threads, allocator and caches away from the other's.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD, NMS = 0.25, 0.45


@dataclass(frozen=True)
class Engine:
    """What is timed: a forward pass over a blob, and a picture from pixels to boxes."""

    version: str
    network: Callable[[np.ndarray[Any, Any]], object]
    detect: Callable[[np.ndarray[Any, Any]], object]


def tinyyolo3_engine(cfg: str, weights: str, side: int, threads: int) -> Engine:
    """Return this project's own engine."""
    import tinyyolo3

    detector = tinyyolo3.load(cfg, weights, size=(side, side), threads=threads)
    return Engine(
        tinyyolo3.__version__,
        detector.forward,
        lambda picture: detector.detect(
            picture, threshold=THRESHOLD, nms=NMS, resize="stretch", multi_label=False
        ),
    )


def opencv_engine(cfg: str, weights: str, side: int, threads: int) -> Engine:
    """Return OpenCV 4's DNN module, used as its own YOLO sample uses it."""
    import cv2

    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromDarknet(cfg, weights)
    names = network.getUnconnectedOutLayersNames()

    def forward(blob: np.ndarray[Any, Any]) -> object:
        network.setInput(blob)
        return network.forward(names)

    def detect(picture: np.ndarray[Any, Any]) -> object:
        blob = cv2.dnn.blobFromImage(picture, 1 / 255, (side, side))
        network.setInput(blob)
        rows = np.concatenate([out.reshape(-1, out.shape[-1]) for out in network.forward(names)])
        rows = rows[rows[:, 4] > THRESHOLD]
        boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]], axis=1)
        scores, classes = rows[:, 5:].max(axis=1), rows[:, 5:].argmax(axis=1)
        return cv2.dnn.NMSBoxesBatched(
            boxes.tolist(), scores.tolist(), classes.tolist(), THRESHOLD, NMS
        )

    return Engine(cv2.__version__, forward, detect)


ENGINES = {"tinyyolo3": tinyyolo3_engine, "opencv": opencv_engine}


def peak_mb() -> float:
    """Return the largest resident set of this process so far."""
    try:  # getrusage would count the parent's memory too, from before this program was started
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Load, then answer commands until stdin ends."""
    name, cfg, weights, side, threads = sys.argv[1:6]
    start = time.perf_counter()
    engine = ENGINES[name](cfg, weights, int(side), int(threads))
    load_s = time.perf_counter() - start
    rng = np.random.default_rng(0)
    blob = rng.random((1, 3, int(side), int(side)), np.float32)
    picture = rng.integers(0, 256, (576, 768, 3), np.uint8)
    jobs = {"network": lambda: engine.network(blob), "detect": lambda: engine.detect(picture)}
    print(json.dumps({"version": engine.version, "load_s": load_s}), flush=True)
    for line in sys.stdin:
        command = line.strip()
        if command == "memory":
            answer = {"peak_mb": peak_mb()}
        else:
            start = time.perf_counter()
            jobs[command]()
            answer = {"ms": (time.perf_counter() - start) * 1e3}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
