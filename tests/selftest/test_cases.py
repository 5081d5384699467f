"""Every kernel has a case, the cases pass on the CPU, and a wrong kernel does not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.signature import kernel_names
from tinyyolo3.cuda.sources import kernel_folder
from tinyyolo3.errors import KernelError
from tinyyolo3.selftest import pixelwise
from tinyyolo3.selftest.case import Expected, Prepared
from tinyyolo3.selftest.run import all_cases, largest_error, run_cases

NAMES = {case.name for case in all_cases()}


class Notes(HostTarget):
    """Notes which kernels are asked for, and runs none."""

    def __init__(self) -> None:
        super().__init__("fast")
        self.asked: set[tuple[str, str]] = set()

    def kernel(self, file: str, name: str) -> Any:
        self.asked.add((file, name.partition("<")[0]))
        return lambda *_, **__: None


def test_every_kernel_is_run() -> None:
    notes = Notes()
    for case in all_cases():
        case.prepare(notes).launch()
    there = {
        (file.name, name)
        for file in kernel_folder().glob("*.cu")
        for names in kernel_names(file.read_text())
        for name in names
    }
    assert there == notes.asked


def test_the_files_of_a_case_are_those_it_launches_from() -> None:
    for case in all_cases():
        notes = Notes()
        case.prepare(notes).launch()
        assert {file for file, _ in notes.asked} == set(case.files), (case.name, case.label)


@pytest.mark.parametrize("mode", ["fast", "check"])
@pytest.mark.parametrize("name", sorted(NAMES))
def test_kernels_pass_on_the_host(name: str, mode: str) -> None:
    cases = [case for case in all_cases() if case.name == name]
    outcomes = list(run_cases(cases, HostTarget(mode, seed=1)))
    assert [outcome.problem for outcome in outcomes] == [None] * len(cases)


def test_what_the_cpu_runs_passes() -> None:
    outcomes = list(run_cases(all_cases(), None))
    assert {outcome.case.name for outcome in outcomes} >= {"maxpool", "boxes", "resize"}
    assert all(outcome.passed for outcome in outcomes)


@pytest.fixture
def case():
    return pixelwise.maxpool((1, 2, 5, 5), 2, (2, 2), 0, margin=1)


def run_changed(case, change) -> Any:
    """Run a case whose kernel is replaced by `change(kernel, arguments)`."""

    class Changed(HostTarget):
        def kernel(self, file: str, name: str) -> Any:
            kernel = super().kernel(file, name)

            def launch(grid, block, args, **options) -> None:
                change(lambda: kernel(grid, block, args, **options), args)

            return launch

    (outcome,) = run_cases([case], Changed("fast"))
    return outcome


def test_an_unwritten_number_is_found(case) -> None:
    outcome = run_changed(case, lambda _, __: None)
    assert (outcome.passed, outcome.error) == (False, np.inf)


def test_a_wrong_number_is_found(case) -> None:
    def change(kernel, args) -> None:
        kernel()
        args[2][0] += 0.25

    outcome = run_changed(case, change)
    assert (outcome.passed, outcome.tolerance) == (False, 0)
    assert outcome.error == pytest.approx(0.25)


def test_a_number_beside_the_map_is_found(case) -> None:
    def change(kernel, args) -> None:
        kernel()
        args[2][2] = 1  # the first pixel's margin

    assert run_changed(case, change).problem == "the kernel writes beside its map"


def test_a_kernel_that_cannot_run_fails_and_the_next_still_runs(case) -> None:
    def broken(_: object) -> Prepared:
        raise KernelError("maxpool: no such kernel")

    first, second = run_cases([replace(case, prepare=broken), case], HostTarget("fast"))
    assert first.problem == "maxpool: no such kernel"
    assert second.passed


@pytest.mark.parametrize(
    ("found", "error", "tolerance"),
    [
        ([1.0, 2.0], 0, 0.5),
        ([1.25, 2.0], 0.25, 0.5),
        ([1.0, 4.5], 2.5, 1.0),
        ([np.nan, 2.0], np.inf, 0.5),
        ([1.0], np.inf, 0.0),
    ],
)
def test_the_error_that_is_largest_for_what_is_allowed(found, error, tolerance) -> None:
    expected = Expected(np.array([1.0, 2.0]), np.array([0.5, 1.0]))
    assert largest_error(np.array(found), expected) == (error, tolerance)


def test_nan_that_has_to_be_there_is_no_error() -> None:
    assert largest_error(np.array([np.nan]), Expected(np.array([np.nan]))) == (0, 0)
