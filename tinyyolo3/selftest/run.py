"""Running the cases, on a target or on the CPU."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import TinyYoloError
from tinyyolo3.selftest.boxes import box_cases
from tinyyolo3.selftest.case import Array, Case, Expected
from tinyyolo3.selftest.convolutions import convolution_cases
from tinyyolo3.selftest.layers import layer_cases
from tinyyolo3.selftest.tensor_cores import tensor_core_cases
from tinyyolo3.selftest.whole_network import whole_network_cases


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        case: the case.
        error: the largest difference from what had to come out; infinite where NaN or a wrong
            shape did.
        tolerance: what was allowed there; 0 where the numbers have to be equal.
        relative: the largest difference divided by the largest number, both of one array.
        problem: what went wrong, in a line; None when all is well.
    """

    case: Case
    error: float
    tolerance: float
    problem: str | None
    relative: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the kernel computed what it should."""
        return self.problem is None


def all_cases() -> list[Case]:
    """Return every case: each kernel on a few fixed shapes, odd ones among them."""
    cases = [*layer_cases(), *convolution_cases(), *tensor_core_cases(), *box_cases()]
    cases += whole_network_cases()
    return cases + [case.in_halves() for case in cases if case.in_halves is not None]


def run_cases(cases: Sequence[Case], target: Target | None) -> Iterator[Outcome]:
    """Run cases one by one.

    Args:
        cases: what to run; without a target, those that have a form for the CPU.
        target: where to run the kernels, those whose instructions it has; None runs what the CPU
            has in their place.

    Yields:
        Each case's outcome. A kernel that cannot be built or launched is one that failed.
    """
    for case in cases:
        if target is not None:
            if case.suits(target):
                yield _judge(case, partial(run_on_target, case, target))
        elif case.on_cpu is not None:
            yield _judge(case, case.on_cpu)


def run_on_target(case: Case, target: Target) -> list[Array]:
    """Return what a case's kernel puts out."""
    prepared = case.prepare(target)
    prepared.launch()
    return prepared.results()


def _judge(case: Case, run: Callable[[], list[Array]]) -> Outcome:
    try:
        found = run()
    except TinyYoloError as problem:
        return Outcome(case, np.inf, 0.0, str(problem).strip())
    worst = Outcome(case, 0.0, 0.0, None)
    score, relative = -1.0, 0.0
    for values, expected in zip(found, case.expected(), strict=True):
        error, tolerance = largest_error(values, expected)
        if not error <= tolerance:
            return Outcome(case, error, tolerance, "wrong numbers", np.inf)
        relative = max(relative, relative_error(values, expected))
        if (own := error / (tolerance or 1.0)) > score:
            score, worst = own, Outcome(case, error, tolerance, None)
    return replace(worst, relative=relative)


def relative_error(found: Array, expected: Expected) -> float:
    """Return the largest difference of finite numbers, divided by the largest of them."""
    a, b = found.astype(np.float64), expected.values.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    largest = np.abs(b[finite]).max(initial=0.0)
    return float(np.abs(a - b)[finite].max(initial=0.0) / largest) if largest else 0.0


def largest_error(found: Array, expected: Expected) -> tuple[float, float]:
    """Return the difference that is largest compared with what is allowed, and what is allowed.

    It is infinite where NaN came out that should not have, or numbers of another shape did.
    """
    values = expected.values
    if found.shape != values.shape:
        return np.inf, 0.0
    if not values.size:
        return 0.0, 0.0
    a, b = found.astype(np.float64), values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - b)
    difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    difference[np.isnan(difference)] = np.inf
    allowed = np.broadcast_to(expected.tolerance, values.shape).astype(np.float64)
    share = difference / np.maximum(allowed, np.finfo(np.float64).tiny)
    worst = np.unravel_index(int(np.argmax(share)), share.shape)
    return float(difference[worst]), float(allowed[worst])
