"""Stage 9: the self-test under compute-sanitizer, beside the CPU's check mode.

Both look for accesses out of bounds and for races, one on the real machine, one on a model of it:
``host`` is the self-test in check mode, ``memcheck`` and ``racecheck`` are NVIDIA's tools. They
agree if none finds anything.
"""

import re
import shutil
import sys

from gpu_context import Context, Record
from gpu_programs import last_lines, run_program

#: Without CuPy's pool every array is an allocation of its own, whose end the tool knows.
SELFTEST = """\
import sys, cupy
from tinyyolo3.cli import main
cupy.cuda.set_allocator(None)
sys.exit(main(["selftest", "--device", "cuda"]))
"""
#: The status by which the tool says that it found something.
FOUND = 86
END_S = 3.0

_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (.*)")
_PROBLEM = re.compile(r"^========= ((?:Invalid|Error|Warning|Program hit|Race|Potential).*)$", re.M)


def measure(context: Context, part: str, record: Record) -> None:
    """Run the self-test under one tool."""
    selftest = ["-m", "tinyyolo3", "selftest"]
    command = [sys.executable, *selftest, "--device", "host"]
    if part != "host":
        if context.target != "cuda" or shutil.which("compute-sanitizer") is None:
            record("skipped", "compute-sanitizer and a GPU are needed")
            return
        # A binding asks the driver for functions that an older one has not, and copes.
        tool = ["compute-sanitizer", "--tool", part, "--error-exitcode", str(FOUND)]
        tool += ["--report-api-errors", "no"] if part == "memcheck" else []
        command = [*tool, "--print-limit", "20", sys.executable, "-c", SELFTEST]
    elif context.tiny:
        command += ["--only", "maxpool"]
    ending = run_program(command, context.deadline_s - END_S, context.logs / f"{part}.log")
    record("status", ending.status)
    record("clean", ending.status == 0)
    record("summary", _SUMMARY.findall(ending.text) or last_lines(ending.text, 1))
    if problems := list(dict.fromkeys(_PROBLEM.findall(ending.text)))[:20]:
        record("problems", problems)
    if ending.status not in (0, FOUND):
        record("end", last_lines(ending.text, 8))
