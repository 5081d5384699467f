"""``tinyyolo3 selftest``: every kernel against its plain definition, on this machine."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinyyolo3.cli.messages import one_line
from tinyyolo3.cli.tables import format_table
from tinyyolo3.errors import InputError

if TYPE_CHECKING:
    from tinyyolo3.cuda.target import Target
    from tinyyolo3.selftest.run import Outcome

DESCRIPTION = """\
Run every kernel on a few shapes, odd ones among them, and compare what it computes with its plain
definition in NumPy. Prints a line for each, with the largest error, how much is allowed there, and
the largest error as a part of the largest number; the exit status is 1 if one is wrong.
"""
EXAMPLES = """\
examples:
  tinyyolo3 selftest                        the kernels on the GPU
  tinyyolo3 selftest --device host          the same kernels on the CPU, which needs a C++ compiler
  tinyyolo3 selftest --device cpu           what the CPU runs in their place
  tinyyolo3 selftest --only convolution
"""

#: Columns of numbers, which stand at the right.
RIGHT = frozenset({"shapes", "largest error", "allowed", "relative"})
#: Seeds the order in which the CPU runs blocks and threads.
SEED = 1


def add_arguments(parser: ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "--device",
        choices=("cuda", "host", "cpu"),
        default="cuda",
        help="where to run; host: the GPU's kernels on the CPU, checked for races and bounds "
        "(default: cuda)",
    )
    parser.add_argument("--only", metavar="TEXT", help="only kernels with TEXT in their name")


def run(arguments: Namespace) -> int:
    """Run the cases, print a table and return the exit status.

    Raises:
        BackendError: there is no GPU, or no compiler, to run them with.
        InputError: ``--only`` names none.
    """
    from tinyyolo3.selftest.run import all_cases, run_cases

    cases = [case for case in all_cases() if (arguments.only or "") in case.name]
    if not cases:
        raise InputError(f"--only {arguments.only}: no kernel has that in its name")
    outcomes = []
    visible = sys.stderr is not None and sys.stderr.isatty()
    for outcome in run_cases(cases, open_target(arguments.device)):
        outcomes.append(outcome)
        if visible:
            print(f"\r\x1b[K{outcome.case.name}", end="", file=sys.stderr, flush=True)
    if visible:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print("\n".join(one_line(line) for line in describe(outcomes)), flush=True)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def open_target(device: str) -> "Target | None":
    """Return where to run the kernels; None for what the CPU has in their place.

    Raises:
        BackendError: it cannot run here.
    """
    if device == "cuda":
        from tinyyolo3.cuda.gpu import open_cuda

        return open_cuda()
    if device == "host":
        from tinyyolo3.cuda.host import HostTarget
        from tinyyolo3.cuda.host_build import find_compiler

        find_compiler()
        return HostTarget("check", seed=SEED)
    return None


def describe(outcomes: "Sequence[Outcome]") -> list[str]:
    """Return a line for each kernel, then one for each failure, and how many there were."""
    by_name: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.case.name, []).append(outcome)
    rows = []
    for name, own in by_name.items():
        worst = max(own, key=lambda outcome: outcome.error / (outcome.tolerance or 1.0))
        relative = max(outcome.relative for outcome in own)
        rows.append(
            (
                name,
                " ".join(dict.fromkeys(file for outcome in own for file in outcome.case.files)),
                str(len(own)),
                f"{worst.error:.1e}" if worst.error else "0",
                f"{worst.tolerance:.1e}" if worst.tolerance else "exact",
                f"{relative:.1e}" if relative else "0",
                "ok" if all(outcome.passed for outcome in own) else "FAILED",
            )
        )
    heads = ("kernel", "file", "shapes", "largest error", "allowed", "relative", "")
    failures = [outcome for outcome in outcomes if not outcome.passed]
    lines = [
        f"{outcome.case.name}, {outcome.case.label}: {outcome.problem}" for outcome in failures
    ]
    count = f"{len(outcomes)} shapes of {len(rows)} kernel{'' if len(rows) == 1 else 's'}"
    ending = f"{len(failures)} FAILED" if failures else "all ok"
    return [*format_table(heads, rows, right=RIGHT), "", *lines, f"{count}: {ending}"]
