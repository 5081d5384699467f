"""Running other programs from a stage: limited in time, their output kept and cut to size."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        status: its exit status; None if it was stopped.
        text: what it printed, both streams.
    """

    status: int | None
    text: str


def run_program(
    command: Sequence[str],
    limit_s: float,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Ending:
    """Run a program in the repository's folder and return how it ended.

    Args:
        command: the program and its arguments.
        limit_s: when to stop it, seconds.
        log: a file that its output goes to while it runs.
        environment: variables to set besides this process's own.

    Raises:
        OSError: there is no such program.
    """
    with log.open("w") as output:
        try:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=limit_s,
                cwd=REPOSITORY,
                env={**os.environ, **(environment or {})},
            )
        except subprocess.TimeoutExpired:
            return Ending(None, log.read_text(errors="replace"))
    return Ending(done.returncode, log.read_text(errors="replace"))


def last_lines(text: str, count: int = 5) -> list[str]:
    """Return the last lines that are not empty."""
    return [line for line in text.splitlines() if line.strip()][-count:]
