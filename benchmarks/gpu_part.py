"""One part of one stage of the GPU run, in a process of its own; `gpu.py` starts it.

    python benchmarks/gpu_part.py STAGE PART RECORD TARGET WORK LOGS COMMIT SECONDS

imports ``gpu_<STAGE>.py`` and calls its ``measure``. What that finds is in RECORD from the first
figure on, so that a part that is stopped, or that breaks the GPU's context, keeps what it had.
"""

import importlib
import sys
from pathlib import Path

from gpu_context import Context, Record


def main() -> None:
    """Run the part that the arguments name."""
    stage, part, record, target, work, logs, commit, seconds = sys.argv[1:]
    # The tests' launchers and the self-test are started from here and find the package so.
    sys.path.insert(0, str(Path(__file__).parents[1]))
    context = Context(target, Path(work), Path(logs), commit, float(seconds))
    label = stage if part == "all" else f"{stage} {part}"
    module = importlib.import_module(f"gpu_{stage}")
    module.measure(context, part, Record(Path(record), label))


if __name__ == "__main__":
    main()
