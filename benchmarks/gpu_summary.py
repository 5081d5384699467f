"""The short table at the end of a GPU run."""

from typing import Any


def summary_lines(results: dict[str, Any]) -> list[str]:
    return [
        str(
            {
                s: {p: (f.get("error"), f["seconds"]) for p, f in v.items()}
                for s, v in results["stages"].items()
            }
        )
    ]
