"""The README's table of training: what ``results/train.json`` says, in Markdown."""

from typing import Any

from markdown_tables import milliseconds, table

OURS = "tinyyolo3"
#: How the table names the trainers.
LABELS = {
    OURS: OURS,
    "torch": "PyTorch, contiguous",
    "torch-channels-last": "PyTorch, channels last",
}


def train_table(results: dict[str, Any]) -> str:
    """Return the Markdown: a step of each trainer, and what it was measured on."""
    trainers: dict[str, dict[str, Any]] = results["trainers"]
    ours_ms = trainers[OURS]["step_ms"]
    lines = [
        [
            LABELS[name],
            f"{row['step_ms'] / ours_ms:.2f}",
            milliseconds(row["step_ms"]),
            f"{results['batch'] / row['step_ms'] * 1e3:.1f}",
            str(row["peak_mb"]),
        ]
        for name, row in trainers.items()
    ]
    titles = ["a step of training", f"× {OURS}", "ms", "pictures/s", "peak MB"]
    torch = next((row["version"] for name, row in trainers.items() if name != OURS), None)
    peer = f"PyTorch {torch}, eager; " if torch else ""
    conditions = (
        f"{results['network']} at {results['side']}, {results['batch']} pictures there and back, "
        f"and the update; medians of {results['runs']} interleaved rounds on {results['threads']} "
        f"threads of {results['device']}; {peer}NumPy {results['numpy']}, Numba "
        f"{results['numba']}, Python {results['python']}; commit {results['commit']}, "
        f"{results['date']}."
    )
    return "\n".join([*table(titles, lines), "", conditions])
