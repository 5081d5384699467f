"""Write the README's benchmark tables from the stored results.

    python benchmarks/tables.py [--check]

They stand between two marker comments each; ``--check`` only tells whether they are up to date.
Each is there only if its file in ``results`` is.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evaluate_table import evaluate_table
from gpu_tables import gpu_tables
from markdown_tables import NONE, milliseconds, table
from peers import ENTRIES
from train_table import train_table

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
RESULTS = HERE / "results"
OURS, OURS_BFLOAT16, OPENCV = "tinyyolo3", "tinyyolo3-bf16", "opencv"

Rows = dict[str, dict[str, Any]]


def cpu_tables(results: dict[str, Any]) -> str:
    """Return the Markdown for ``results/cpu.json``: ratios, then every engine's figures."""
    comparisons = list(_comparisons(results))
    measured = {name for _, _, _, rows in comparisons for name in rows}
    engines = [name for name in ENTRIES if name in measured]
    ratios = [_ratios(*comparison) for comparison in comparisons]
    titles = [
        *("network", "GFLOP", "threads", "× best float32 peer", "× OpenCV"),
        *("× OpenCV, picture to boxes", "tinyyolo3 ms", "peak MB: ours / best / OpenCV"),
    ]
    if OURS_BFLOAT16 in measured:
        titles.append("in bfloat16: × best peer")
        for line, (*_, rows) in zip(ratios, comparisons, strict=True):
            line.append(_against_best(rows, OURS_BFLOAT16))
    figures = [
        [network, threads, *(_figures(rows.get(name)) for name in engines)]
        for network, _, threads, rows in comparisons
    ]
    return "\n".join(
        [
            *table(titles, ratios),
            "",
            "Milliseconds of a forward pass, and peak MB, of each:",
            "",
            *table(["network", "threads", *(ENTRIES[name].label for name in engines)], figures),
            "",
            _conditions(results, comparisons, engines),
        ]
    )


def best_peer(rows: Rows, precision: str) -> str | None:
    """Return the quickest engine that is not ours and computes in `precision`; None without any."""
    peers = [
        name
        for name, row in rows.items()
        if not ENTRIES[name].own and row["precision"] == precision
    ]
    return min(peers, key=lambda name: float(rows[name]["network_ms"]), default=None)


def _comparisons(results: dict[str, Any]) -> Iterator[tuple[str, float, str, Rows]]:
    """Yield (network, GFLOP, threads, rows by engine)."""
    for network, found in results["networks"].items():
        for threads, rows in found["threads"].items():
            yield network, found["gflop"], threads, rows


def _ratios(network: str, gflop: float, threads: str, rows: Rows) -> list[str]:
    ours, opencv, best = rows[OURS], rows.get(OPENCV), best_peer(rows, "float32")
    peer = None if best is None else rows[best]
    memory = [NONE if row is None else str(row["peak_mb"]) for row in (ours, peer, opencv)]
    return [
        network,
        f"{gflop:.2f}",
        threads,
        _against_best(rows, OURS),
        _ratio(opencv, ours, "network_ms"),
        _ratio(opencv, ours, "detect_ms"),
        milliseconds(ours["network_ms"]),
        " / ".join(memory),
    ]


def _against_best(rows: Rows, own: str) -> str:
    """Return the ratio of the best peer of an own engine's precision to it, and its name."""
    if own not in rows:
        return NONE
    best = best_peer(rows, rows[own]["precision"])
    if best is None:
        return NONE
    return f"{_ratio(rows[best], rows[own], 'network_ms')} ({ENTRIES[best].label})"


def _ratio(peer: dict[str, Any] | None, ours: dict[str, Any], what: str) -> str:
    """Return how many times as long the peer takes."""
    return NONE if peer is None else f"{peer[what] / ours[what]:.2f}"


def _figures(row: dict[str, Any] | None) -> str:
    return NONE if row is None else f"{milliseconds(row['network_ms'])} ({row['peak_mb']})"


def _conditions(
    results: dict[str, Any], comparisons: list[tuple[str, float, str, Rows]], engines: list[str]
) -> str:
    """Return the line that says what was measured, on what, with which versions."""
    used: dict[str, str] = {}
    for name in engines:
        row = next(rows[name] for *_, rows in comparisons if name in rows)
        # One library may be there in several settings, of which the first names it.
        used.setdefault(ENTRIES[name].module, f"{ENTRIES[name].label} {row['version']}")
    versions = ", ".join(used.values())
    reduced = ", ".join(
        ENTRIES[name].label
        for name in engines
        if any(rows.get(name, {}).get("precision") == "bfloat16" for *_, rows in comparisons)
    )
    precision = f"float32 (in bfloat16: {reduced})" if reduced else "float32"
    return (
        f"Medians of {_rounds(results['networks'])} interleaved rounds, batch 1, {precision}, on "
        f"{results['device']} with {results['cores']} cores; {versions}; NumPy {results['numpy']}, "
        f"Numba {results['numba']}, Python {results['python']}; commit {results['commit']}, "
        f"{results['date']}."
    )


def _rounds(networks: dict[str, Any]) -> str:
    """Return how many rounds there were: the fewest, and where there were more of them."""
    fewest = min(network["runs"] for network in networks.values())
    more = [f"{name}: {n['runs']}" for name, n in networks.items() if n["runs"] > fewest]
    return f"{fewest} ({', '.join(more)})" if more else str(fewest)


def with_table(readme: str, table: str, name: str) -> str:
    """Return the README's text with what is between a table's markers replaced."""
    begin, end = markers(name)
    before, found, rest = readme.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{README.name} has no lines {begin} and {end}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def markers(name: str) -> tuple[str, str]:
    """Return the comments before and after a table."""
    return f"<!-- benchmark:{name} -->", f"<!-- /benchmark:{name} -->"


def main() -> None:
    """Write or check the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if they are out of date")
    options = parser.parse_args()
    before = README.read_text()
    text = before
    kinds = {
        "cpu": cpu_tables,
        "gpu": gpu_tables,
        "evaluate": evaluate_table,
        "train": train_table,
    }
    for name, tables in kinds.items():
        results = RESULTS / f"{name}.json"
        if results.exists() and markers(name)[0] not in text:
            print(f"{README.name} has no place for {results.name}: {' and '.join(markers(name))}")
        elif results.exists():
            text = with_table(text, tables(json.loads(results.read_text())), name)
    if options.check:
        sys.exit(int(text != before))
    README.write_text(text)


if __name__ == "__main__":
    main()
