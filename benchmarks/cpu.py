"""Time this project's CPU engine against every peer that is installed, on the same machine.

    python benchmarks/cpu.py [--runs 15] [--threads 1 2] [--model NAME CFG WEIGHTS SIDE ...]
                             [--only NETWORK ...] [--peers ENGINE ...] [--out FILE]

The peers are those of ``pip install -e '.[bench]'``, and PyTorch, which is installed by hand. All
run the same network from the same weights, in processes of their own, in turns (`measure.py`). The
figures are stored in ``benchmarks/results/cpu.json`` with the date, the processor, the versions and
the commit. The classic networks are written by code and get random weights, which take as long as
trained ones.
"""

import argparse
import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import compare
from networks import CLASSIC, Source, gflop, reference_logits, trained, written
from peers import ENTRIES
from tinyyolo3.parallel import available_cores

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "cpu.json"


def describe_machine() -> dict[str, Any]:
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
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "llvmlite")},
        "commit": commit,
    }


def measure_network(
    source: Source, engines: Sequence[str], threads: Sequence[int], runs: int
) -> dict[str, Any]:
    """Return the figures of one network for each count of threads."""
    with written(source) as model:
        reference = reference_logits(model, [ENTRIES[name].parity for name in engines])
        result: dict[str, Any] = {"gflop": round(gflop(model), 2), "runs": runs, "threads": {}}
        for count in threads:
            rows = compare(model, reference, engines, count, runs)
            result["threads"][str(count)] = rows
            for name, row in rows.items():
                print(f"{source.name}, {count} threads, {name}: {json.dumps(row)}", flush=True)
    return result


def parse_arguments() -> argparse.Namespace:
    """Return what is asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="counted rounds (default 15)")
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=sorted({1, available_cores()}),
        help="counts of threads (default: one, and all cores)",
    )
    parser.add_argument("--only", nargs="+", metavar="NETWORK", help="only networks of these names")
    parser.add_argument("--peers", nargs="+", choices=ENTRIES, help="only these engines")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"default {RESULTS.name}")
    parser.add_argument(
        "--model",
        nargs=4,
        action="append",
        default=[],
        metavar=("NAME", "CFG", "WEIGHTS", "SIDE"),
        help="a trained model to time as well",
    )
    return parser.parse_args()


def main() -> None:
    """Run all comparisons and store them."""
    options = parse_arguments()
    sources = {source.name: source for source in CLASSIC}
    sources |= {fields[0]: trained(*fields) for fields in options.model}
    chosen = options.only or list(sources)
    for name in chosen:
        if name not in sources:
            raise SystemExit(f"--only {name}: known are {', '.join(sources)}")
    engines = options.peers or list(ENTRIES)
    result = {**describe_machine(), "networks": {}}
    options.out.parent.mkdir(exist_ok=True)
    for name in chosen:
        result["networks"][name] = measure_network(
            sources[name], engines, options.threads, options.runs
        )
        # After every network, so that a failure in a later one does not cost the earlier ones.
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
