"""Write the README's benchmark table from the stored results.

    python benchmarks/tables.py [--check]

The table stands between two marker comments; ``--check`` only tells whether it is up to date.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- benchmark:cpu -->", "<!-- /benchmark:cpu -->"


def cpu_table(results: dict[str, Any]) -> str:
    """Return the Markdown table for ``results/cpu.json``, ratios first."""
    lines = [
        "| network | GFLOP | speed-up, network | speed-up, picture to boxes "
        "| tinyyolo3 ms | OpenCV ms | peak MB: ours / OpenCV |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results["networks"].items():
        ours, theirs = row["tinyyolo3"], row["opencv"]
        lines.append(
            f"| {name} | {row['gflop']:.2f} | {row['network_ratio']:.2f} × "
            f"| {row['detect_ratio']:.2f} × | {ours['network_ms']:.1f} "
            f"| {theirs['network_ms']:.1f} | {ours['peak_mb']} / {theirs['peak_mb']} |"
        )
    first = next(iter(results["networks"].values()))
    lines += [
        "",
        f"Median of {results['runs']} interleaved runs, batch 1, float32, {results['threads']} "
        f"threads on {results['device']}; tinyyolo3 {first['tinyyolo3']['version']} "
        f"(commit {results['commit']}), OpenCV {first['opencv']['version']}, NumPy "
        f"{results['numpy']}, Python {results['python']}, {results['date']}.",
    ]
    return "\n".join(lines)


def with_table(readme: str, table: str) -> str:
    """Return the README's text with the table between the markers replaced."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> None:
    """Write or check the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if it is out of date")
    options = parser.parse_args()
    table = cpu_table(json.loads((HERE / "results" / "cpu.json").read_text()))
    text = README.read_text()
    if options.check:
        sys.exit(with_table(text, table) != text)
    README.write_text(with_table(text, table))


if __name__ == "__main__":
    main()
