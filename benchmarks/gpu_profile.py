"""Stage 11: what the hardware's counters say of one network's kernels, by NVIDIA's ncu."""

import csv
import shutil
import sys
from collections import defaultdict
from io import StringIO
from pathlib import Path
from typing import Any

from gpu_context import Context, Record
from gpu_models import blobs, find_model, load_ours
from gpu_programs import last_lines, run_program

NETWORK = "yolov3-416"
#: What is asked for, and what the digest calls it.
METRICS = {
    "gpu__time_duration.sum": "us",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "sm_percent",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "launch__registers_per_thread": "registers",
    "launch__waves_per_multiprocessor": "waves",
}
#: Units of time as ncu may print them, in microseconds.
MICROSECONDS = {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3, "msecond": 1e3}
COSTLIEST = 3
END_S = 3.0


def measure(context: Context, part: str, record: Record) -> None:
    """Profile one forward pass at the precision `part` and digest the costliest kernels."""
    if context.target != "cuda" or shutil.which("ncu") is None:
        record("skipped", "ncu and a GPU are needed")
        return
    find_model(context, NETWORK)
    log = context.logs / f"ncu.{part}.csv"
    command = ["ncu", "--clock-control", "none", "--profile-from-start", "off", "--csv"]
    command += ["--page", "raw", "--metrics", ",".join(METRICS), "--log-file", str(log)]
    command += [sys.executable, str(Path(__file__)), str(context.work), part]
    ending = run_program(command, context.deadline_s - END_S, context.work / "ncu.log")
    if ending.status != 0:
        record("end", {"status": ending.status, "text": last_lines(ending.text, 8)})
    rows = read_rows(log.read_text(errors="replace")) if log.exists() else []
    record("launches", len(rows))
    record("launches_us", round(sum(row["us"] for row in rows), 1))
    record("costliest", digest(rows))


def read_rows(text: str) -> list[dict[str, Any]]:
    """Return one row for each launch, from ncu's raw page: a line of heads, one of units, data."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    table = list(csv.reader(StringIO("\n".join(lines))))
    if len(table) < 3:
        return []
    heads, units = table[0], table[1]
    rows = []
    for cells in table[2:]:
        found = dict(zip(heads, cells, strict=True))
        row: dict[str, Any] = {"kernel": found["Kernel Name"], "grid": found.get("Grid Size", "")}
        for metric, name in METRICS.items():
            text_value = found.get(metric, "").replace(",", "")
            row[name] = float(text_value) if text_value not in ("", "n/a") else float("nan")
        row["us"] *= MICROSECONDS.get(units[heads.index("gpu__time_duration.sum")], 1.0)
        rows.append(row)
    return rows


def digest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the kernels that take longest together: their share, and their longest launch."""
    by_kernel: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_kernel[row["kernel"]].append(row)
    total = sum(row["us"] for row in rows) or 1.0
    ordered = sorted(by_kernel.items(), key=lambda item: -sum(row["us"] for row in item[1]))
    return [
        {
            "launches": len(own),
            "us": round(sum(row["us"] for row in own), 1),
            "share": round(sum(row["us"] for row in own) / total, 3),
            "longest": max(own, key=lambda row: float(row["us"])),
        }
        for _, own in ordered[:COSTLIEST]
    ]


def run_profiled(work: Path, precision: str) -> None:
    """Run one forward pass between ncu's start and stop, launch by launch."""
    import cupy

    context = Context("cuda", work, work)
    target = context.open_target()
    model = find_model(context, NETWORK)
    detector = load_ours(target, model, precision)
    engine: Any = detector.network.engine
    program = engine.program(target, detector.network.graph, 1)
    from tinyyolo3.layers.layout import nchw_to_map_cuda

    nchw_to_map_cuda(target, target.upload(blobs(model, 1).reshape(-1)), program.input)
    program.launch()
    target.synchronize()
    cupy.cuda.runtime.profilerStart()
    program.launch()
    target.synchronize()
    cupy.cuda.runtime.profilerStop()


if __name__ == "__main__":
    run_profiled(Path(sys.argv[1]), sys.argv[2])
