"""One trainer in a process of its own, which answers commands; `train.py` starts it.

    python benchmarks/train_worker.py TRAINER FOLDER THREADS

loads the network and prints a JSON line with the library's version, or ``unavailable`` with the
reason. Then every line on stdin is answered by a JSON line: ``step`` times one training step,
``memory`` tells the peak resident set, ``results FILE`` writes what a pass there and back gives.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from train_base import Trainer
from worker import peak_mb, pin


def main() -> None:
    """Load, then answer commands until stdin ends."""
    name, folder, threads = sys.argv[1:4]
    pin(int(threads))
    try:
        trainer = load(name, Path(folder), int(threads))
    except ModuleNotFoundError as missing:
        print(json.dumps({"unavailable": f"{missing.name} is not installed"}))
        return
    print(json.dumps({"version": trainer.version}), flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        answer: dict[str, float] = {}
        match command:
            case "step":
                start = time.perf_counter()
                trainer.step()
                answer = {"ms": (time.perf_counter() - start) * 1e3}
            case "memory":
                answer = {"peak_mb": peak_mb()}
            case "results":
                np.savez(argument, allow_pickle=False, **trainer.results())
            case _:
                raise SystemExit(f"{name} does not know the command {command!r}")
        print(json.dumps(answer), flush=True)


def load(name: str, folder: Path, threads: int) -> Trainer:
    """Import a trainer's library and load the network."""
    if name == "tinyyolo3":
        import train_ours

        return train_ours.load(folder, threads)
    import train_torch

    return train_torch.load(folder, threads, channels_last=name.endswith("channels-last"))


if __name__ == "__main__":
    main()
