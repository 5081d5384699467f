"""The README's table of evaluation: what ``results/evaluate.json`` says, in Markdown."""

from typing import Any

from markdown_tables import table

#: Whose time the others are compared with.
PEER = "pycocotools"


def evaluate_table(results: dict[str, Any]) -> str:
    """Return the Markdown: seconds from files to measures, and what they were measured on."""
    engines: dict[str, dict[str, float]] = results["engines"]
    peer_s = engines[PEER]["total_s"]
    lines = [
        [
            name,
            f"{peer_s / times['total_s']:.0f}",
            f"{times['total_s']:.1f}",
            f"{times['read_s']:.1f}",
            f"{times['evaluate_s']:.1f}",
        ]
        for name, times in engines.items()
    ]
    titles = ["COCO's protocol", f"× {PEER}", "seconds", "of them reading", "evaluating"]
    conditions = (
        f"Medians of {results['runs']} runs in turns, {results['images']:,} pictures of "
        f"{results['classes']} classes with {results['objects']:,} objects and "
        f"{results['detections']:,} detections, on {results['device']} with {results['cores']} "
        f"cores; {PEER} {results['pycocotools']}, NumPy {results['numpy']}, Numba "
        f"{results['numba']}, Python {results['python']}; commit {results['commit']}, "
        f"{results['date']}. The measures differ by at most {results['largest_difference']:.0e}."
    )
    return "\n".join([*table(titles, lines), "", conditions])
