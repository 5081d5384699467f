"""Stage 3: the CPU's tests of the kernels and of the engine, unchanged, on the GPU."""

import re
import sys
from importlib.util import find_spec

from gpu_context import Context, Record
from gpu_programs import last_lines, run_program

FOLDERS = ("tests/kernels", "tests/engine/cuda", "tests/pipeline", "tests/reference")
#: Those that run on a target, by the parameter in their names or by the fixture `gpu`.
CHOSEN = "cuda or gpu"
#: Enough to see that the stage works, where the tests themselves run anyway.
HOST_FOLDERS = ("tests/kernels/test_maxpool.py",)
#: Tests of different files run side by side, each process with a context of its own.
PROCESSES = 12
#: Left of the time to read the log in.
END_S = 5.0

_SUMMARY = re.compile(r"(\d+) (passed|failed|errors?|skipped|deselected|xfailed|warnings?)")
_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+)(?: - (.*))?$", re.MULTILINE)


def measure(context: Context, part: str, record: Record) -> None:  # noqa: ARG001 (has one part)
    """Run pytest and count; the whole log is kept."""
    folders = HOST_FOLDERS if context.tiny else FOLDERS
    environment = {} if context.tiny else {"TINYYOLO3_TARGET": "cuda"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    # Warnings of this machine's versions of other packages are not what is looked for.
    command += ["-W", "default", "--durations=10", *folders]
    if not context.tiny:
        command += ["-k", CHOSEN]
    if find_spec("xdist") and not context.tiny:
        # A kernel that breaks its process's context fails only that process's further tests.
        command += ["-n", str(PROCESSES), "--dist", "loadfile"]
    log = context.logs / "tests.log"
    ending = run_program(command, context.deadline_s - END_S, log, environment)
    for name, value in read_log(ending.text).items():
        record(name, value)
    if ending.status is None:
        record("stopped", last_lines(ending.text))
    elif ending.status not in (0, 1):  # 0: all passed, 1: some failed
        record("problem", last_lines(ending.text))


def read_log(text: str) -> dict[str, object]:
    """Return pytest's counts, and each failure's name and first line."""
    lines = last_lines(text, 1)
    counts = {
        what.removesuffix("s"): int(number) for number, what in _SUMMARY.findall("".join(lines))
    }
    failures = {name: (reason or "")[:300] for name, reason in _FAILURE.findall(text)}
    return {"counts": counts, "failures": failures}
