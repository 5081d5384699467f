"""What launchers ask for has its row in `tinyyolo3.cuda.budget`."""

from collections.abc import Iterator

import pytest

from tinyyolo3.cuda.budget import BUDGETS
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import Kernel


def budgeted(file: str, name: str) -> tuple[str, str]:
    """Return what of a kernel's instance has to have a row.

    Those of tensor cores are one for each tile, activation, type and way of copying. What they take
    is the tile's business above all: one row of it will do.
    """
    arguments = name.partition("<")[2].rstrip(">").split(", ")
    if file == "convolution_first.cu":
        element, _activation, stride = arguments
        return file, f"{element} {stride}"
    kernel = name.partition("<")[0]
    if kernel in ("convolution_wgmma", "wgmma_stream_k"):
        _output, _activation, *sizes, _cached = arguments
        return file, f"{kernel} {' '.join(sizes)}"
    if kernel not in ("convolution_mma", "mma_stream_k"):
        return file, name
    element, _output, _activation, *numbers, _cached = arguments
    numbers[2] = str(int(numbers[2]) * (2 if element == "half" else 4))
    return file, f"{kernel} {' '.join(numbers)}"


@pytest.fixture(scope="session", autouse=True)
def instances_have_rows() -> Iterator[None]:
    """The compile test sees only the instances of templates that have rows: nothing else runs."""
    asked: set[tuple[str, str]] = set()
    real = HostTarget.kernel

    def kernel(target: HostTarget, file: str, name: str) -> Kernel:
        found = real(target, file, name)
        asked.add((file, name))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HostTarget, "kernel", kernel)
        yield
    there = {budgeted(row.file, row.name) for row in BUDGETS}
    missing = sorted(pair for pair in asked if budgeted(*pair) not in there)
    assert not missing, f"add rows to tinyyolo3/cuda/budget.py for {missing}"
