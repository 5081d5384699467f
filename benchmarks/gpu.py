"""Check and time the CUDA kernels on this machine's GPU: all of it, in ten minutes, at once.

    python benchmarks/gpu.py [--target cuda] [--output FILE] [--logs DIR] [--commit NAME]
                             [--only STAGE,STAGE] [--budget SECONDS] [--total SECONDS]
                             [--onto FILE]

The stages (`STAGES`) run one after the other, each part of them in a process of its own with a
limit of time, because a kernel that reads out of bounds takes the process's whole GPU context with
it. What fails is recorded with its message, and the next part runs all the same. The JSON file is
written anew after every part; a short table comes last.

A longer look in several runs: ``--only`` some stages with more ``--budget``, and ``--onto`` the
results of the runs before, whose other stages are kept. ``gpu_keep.py`` gives the package what was
found to be quickest on this GPU.

``--target host`` tries all of it without a GPU: the kernels run on the CPU and networks are tiny,
so that its figures mean nothing. PyTorch is installed by hand; without it the peers are skipped.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_context import write_json
from gpu_summary import summary_lines

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "gpu.json"
NETWORKS = ("yolov3-416", "yolov3-tiny-416", "yolo-fastest-1.1-xl-320", "yolov3-spp-608")
#: What a part may take of its stage's time while others are still to come.
SHARE = 0.6
#: Left of the total to end in: processes to stop, results to write.
END_S = 10.0


@dataclass(frozen=True)
class Stage:
    """A stage of the run: what a file ``gpu_<name>.py`` measures.

    Attributes:
        name: what it is called on the command line and in the results.
        budget_s: how long it may take.
        parts: what its ``measure(context, part, record)`` is called with, one process each.
    """

    name: str
    budget_s: float
    parts: tuple[str, ...] = ("all",)


#: What matters most comes first. All budgets together exceed the total a little: few stages need
#: all of theirs, and what they leave serves the last ones.
STAGES = (
    Stage("device", 10),
    Stage("primitives", 30),
    Stage("tests", 80),
    Stage("networks", 90, NETWORKS),
    Stage("peers", 125, NETWORKS),
    Stage("compiled", 75, NETWORKS),
    Stage("tensor", 100, ("fp16-1", "fp16-8", "tf32-1", "fp16-others")),
    Stage("layers", 50, ("convolutions-1", "convolutions-8", "others")),
    Stage("sanitizer", 50, ("memcheck", "racecheck", "host")),
    Stage("ceilings", 15),
    Stage("profile", 45, ("fp16", "fp32")),
)


def run_stage(
    stage: Stage, options: argparse.Namespace, work: Path, budget_s: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run a stage's parts within `budget_s` seconds; yield each one's name and what it found."""
    end = time.monotonic() + budget_s
    for number, part in enumerate(stage.parts, start=1):
        left = end - time.monotonic()
        last = number == len(stage.parts)
        limit_s = left if last else SHARE * left
        yield part, run_part(stage.name, part, options, work, limit_s)


def run_part(
    stage: str, part: str, options: argparse.Namespace, work: Path, limit_s: float
) -> dict[str, Any]:
    """Run one part in a process of its own, and return its figures.

    Besides its own there are ``seconds`` and, where it failed, ``error``: the last line that the
    process wrote, or that it was stopped.
    """
    record = work / f"{stage}.{part}.json"
    record.unlink(missing_ok=True)
    if limit_s <= 1:
        return {"seconds": 0.0, "error": "not begun: no time was left"}
    arguments = [stage, part, record, options.target, work, options.logs, options.commit, limit_s]
    start = time.monotonic()
    errors = work / "stderr"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "gpu_part.py"), *map(str, arguments)],
            stderr=stderr,
            # Nothing is left to compile behind the figures' back.
            env={"TINYYOLO3_COMPILE": "now", **os.environ},
            start_new_session=True,  # so that what it starts can be stopped with it
        )
        problem = wait(process, limit_s)
    text = errors.read_text()
    print(text, file=sys.stderr, end="", flush=True)
    found: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    if problem is None and process.returncode:
        lines = [line for line in text.splitlines() if line.strip()]
        problem = lines[-1] if lines else f"ended with status {process.returncode}"
    if problem is not None:
        found["error"] = problem
        print(f"{stage} {part} failed: {problem}", flush=True)
    found["seconds"] = round(time.monotonic() - start, 1)
    return found


def wait(process: subprocess.Popen[bytes], limit_s: float) -> str | None:
    """Wait for a process to end; stop it, and all it started, after `limit_s` seconds.

    Returns:
        None, or that it was stopped.
    """
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"stopped after {limit_s:.0f} s"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return None


def earlier_stages(file: Path | None) -> dict[str, Any]:
    """Return the stages of an earlier run's results."""
    if file is None:
        return {}
    stages: dict[str, Any] = json.loads(file.read_text())["stages"]
    return stages


def find_commit() -> str:
    """Return the version that is measured; a copy without its history has it from outside."""
    given = os.environ.get("TINYYOLO3_COMMIT")
    if given:
        return given
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked for on the command line."""
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=("cuda", "host"), default="cuda")
    parser.add_argument("--only", metavar="STAGE,STAGE", help=f"of {', '.join(names)}")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="for each stage")
    parser.add_argument("--total", type=float, default=590.0, metavar="SECONDS", help="for all")
    parser.add_argument("--output", type=Path, default=RESULTS, help=f"default {RESULTS.name}")
    parser.add_argument("--logs", type=Path, help="folder for logs (default: the output's)")
    parser.add_argument("--onto", type=Path, metavar="FILE", help="keep the stages of this file")
    parser.add_argument("--commit", default=None, help="the version that is measured")
    options = parser.parse_args(argv)
    options.only = names if options.only is None else options.only.split(",")
    for name in options.only:
        if name not in names:
            parser.error(f"--only {name}: known are {', '.join(names)}")
    options.logs = (options.logs or options.output.parent).absolute()
    options.commit = options.commit or find_commit()
    return options


def main() -> None:
    """Run the stages and store what they find."""
    options = parse_arguments()
    end = time.monotonic() + options.total - END_S
    options.logs.mkdir(parents=True, exist_ok=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "target": options.target,
        "commit": options.commit,
        "stages": earlier_stages(options.onto),
    }
    with tempfile.TemporaryDirectory() as work:
        for stage in STAGES:
            if stage.name not in options.only:
                continue
            print(f"== {stage.name}, {end - time.monotonic():.0f} s left of all", flush=True)
            budget = min(options.budget or stage.budget_s, end - time.monotonic())
            found = results["stages"][stage.name] = {}
            for part, figures in run_stage(stage, options, Path(work), budget):
                found[part] = figures
                write_json(options.output, results)
    print("\n".join(summary_lines(results)), flush=True)


if __name__ == "__main__":
    main()
