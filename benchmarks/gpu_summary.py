"""The short table at the end of a GPU run: what was slower or wrong first."""

from collections.abc import Iterator
from typing import Any


def summary_lines(results: dict[str, Any]) -> list[str]:
    """Return the lines to print: comparisons, then figures, then what failed."""
    stages = results["stages"]
    return [
        "",
        f"{results['target']}, {device_of(results)}, commit {results['commit']}, {results['date']}",
        *_ratios(stages.get("peers", {})),
        *_networks(stages.get("networks", {})),
        *_checks(stages),
        *_failures(stages),
    ]


def device_of(results: dict[str, Any]) -> str:
    """Return the name of what was measured on."""
    found: dict[str, Any] = results["stages"].get("device", {}).get("all", {})
    return str(found.get("name", found.get("processor", "unknown device")))


def best_exact(found: dict[str, Any], batch: int) -> tuple[str, dict[str, Any]] | None:
    """Return the quickest setting of the peer that computes in float32; None without any."""
    prefix = f"batch {batch}, "
    rows = {
        name.removeprefix(prefix): row
        for name, row in found.items()
        if name.startswith(prefix) and row.get("exact") and "ms" in row
    }
    return min(rows.items(), key=lambda item: float(item[1]["ms"]), default=None)


def _ratios(peers: dict[str, Any]) -> Iterator[str]:
    """Yield how many times as long the best float32 PyTorch takes; above 1 we are quicker."""
    for network, found in peers.items():
        for batch in (1, 8):
            best = best_exact(found, batch)
            if best is not None:
                name, row = best
                yield (
                    f"  {row['ratio']:6.2f} x  {network} batch {batch}: ours {row['ours_ms']:.3f} "
                    f"ms, torch {row['ms']:.3f} ms ({name})"
                )


def _networks(networks: dict[str, Any]) -> Iterator[str]:
    for network, found in networks.items():
        for name, row in found.items():
            if name.startswith("batch "):
                yield (
                    f"  {network} {name}: forward {row['forward']['ms']:.3f} ms, from pixels to "
                    f"boxes {row['detect_ms']:.3f} ms a picture"
                )
        if "errors" in found:
            yield f"  {network}: relative errors {found['errors']['relative']}"


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
