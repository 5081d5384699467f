"""``tinyyolo3 warmup``: compile beforehand, where an image or a machine is set up.

Without it the first runs answer by plain NumPy while a process compiles in the background; that
process is this verb, with ``--background``.
"""

import os
import sys
from argparse import ArgumentParser, Namespace

from tinyyolo3.cli.messages import one_line
from tinyyolo3.errors import OutputError

DESCRIPTION = """\
Compile everything that detecting needs, and keep it on disk. Run it where pictures are to be
detected at full speed from the first on: in a container's image, or after an update.
"""
EXAMPLES = """\
examples:
  tinyyolo3 warmup
"""

#: POSIX's lowest priority.
LOWEST = 19


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "--background",
        action="store_true",
        help="at the lowest priority, and not if another process is compiling already",
    )


def run(arguments: Namespace) -> int:
    """Compile, say how long it took and where the code is, and return the exit status.

    Raises:
        OutputError: no folder can be written for the code.
    """
    if arguments.background and hasattr(os, "nice"):
        os.nice(LOWEST)
    from tinyyolo3.cache import cache_folder
    from tinyyolo3.engine.cpu.readiness import warmup

    if cache_folder() is None:
        raise OutputError("no folder for compiled code can be written; name one: NUMBA_CACHE_DIR")
    visible = sys.stderr is not None and sys.stderr.isatty()
    done = warmup(_show if visible else None, background=arguments.background)
    if visible:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    state = "ready" if done.seconds is None else f"compiled in {done.seconds:.1f} s"
    print(one_line(f"{state}: {done.folder}"), flush=True)
    return 0


def _show(done: int, total: int) -> None:
    print(f"\rcompiling {done + 1}/{total}", end="", file=sys.stderr, flush=True)
