"""What launchers ask for has its row in `tinyyolo3.cuda.budget`."""

from collections.abc import Iterator

import pytest

from tinyyolo3.cuda.budget import BUDGETS
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import Kernel


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
    missing = sorted(asked - {(row.file, row.name) for row in BUDGETS})
    assert not missing, f"add rows to tinyyolo3/cuda/budget.py for {missing}"
