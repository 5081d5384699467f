"""The short table at the end of a GPU run: what was slower or wrong first."""

from collections.abc import Iterator
from typing import Any

from gpu_models import BATCHES, PRECISIONS


def summary_lines(results: dict[str, Any]) -> list[str]:
    """Return the lines to print: comparisons, then figures, then what failed."""
    stages = results["stages"]
    return [
        "",
        f"{results['target']}, {device_of(results)}, commit {results['commit']}, {results['date']}",
        *_ratios(stages),
        *_networks(stages.get("networks", {})),
        *_tensor(stages.get("tensor", {})),
        *_checks(stages),
        *_failures(stages),
    ]


def device_of(results: dict[str, Any]) -> str:
    """Return the name of what was measured on."""
    found: dict[str, Any] = results["stages"].get("device", {}).get("all", {})
    return str(found.get("name", found.get("processor", "unknown device")))


def peers_of(stages: dict[str, Any], network: str) -> dict[str, Any]:
    """Return what a network was compared with, compiled or not."""
    return {
        name: row
        for stage in ("peers", "compiled")
        for name, row in stages.get(stage, {}).get(network, {}).items()
    }


def best_peer(
    found: dict[str, Any], precision: str, batch: int
) -> tuple[str, dict[str, Any]] | None:
    """Return the quickest setting of the peer that computes in `precision`; None without any."""
    prefix = f"{precision} batch {batch}, "
    rows = {
        name.removeprefix(prefix): row
        for name, row in found.items()
        if name.startswith(prefix) and "ms" in row
    }
    return min(rows.items(), key=lambda item: float(item[1]["ms"]), default=None)


def _ratios(stages: dict[str, Any]) -> Iterator[str]:
    """Yield how many times as long the best PyTorch of the same precision takes.

    Above 1 we are quicker.
    """
    for network in stages.get("peers", {}):
        for precision in PRECISIONS:
            for batch in BATCHES:
                best = best_peer(peers_of(stages, network), precision, batch)
                if best is not None:
                    name, row = best
                    yield (
                        f"  {row['ratio']:6.2f} x  {network} {precision} batch {batch}: ours "
                        f"{row['ours_ms']:.3f} ms, torch {row['ms']:.3f} ms ({name})"
                    )


def _networks(networks: dict[str, Any]) -> Iterator[str]:
    for network, found in networks.items():
        for name, row in found.items():
            if isinstance(row, dict) and "forward" in row:
                yield (
                    f"  {network} {name}: forward {row['forward']['ms']:.3f} ms, from pixels to "
                    f"boxes {row['detect_ms']:.3f} ms a picture"
                )
            elif name.endswith(" errors"):
                yield f"  {network} {name}, relative: {row['relative']}"
            elif name.endswith(" problem"):
                yield f"  {network} {name}: {row}"


def _tensor(parts: dict[str, Any]) -> Iterator[str]:
    for part, found in parts.items():
        if "checks" in found:
            yield f"  tensor cores {part}, wrong: {found['checks']['wrong']}"
        times = {
            name: row["ms"]
            for name, row in found.get("chain", {}).items()
            if isinstance(row, dict) and "ms" in row
        }
        if times:
            yield f"  tensor cores {part}, all convolutions of yolov3-416, ms: {times}"


def _checks(stages: dict[str, Any]) -> Iterator[str]:
    if "primitives" in stages:
        yield f"  primitives with problems: {stages['primitives']['all'].get('problems')}"
    if "tests" in stages:
        yield f"  tests: {stages['tests']['all'].get('counts')}"
    for part, found in stages.get("sanitizer", {}).items():
        yield f"  {part}: {found.get('skipped') or found.get('summary')}"


def _failures(stages: dict[str, Any]) -> Iterator[str]:
    for stage, parts in stages.items():
        for part, found in parts.items():
            if "error" in found:
                yield f"  FAILED {stage} {part}: {found['error']}"
