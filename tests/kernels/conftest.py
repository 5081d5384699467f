"""The targets that kernels are tested on: the CPU in both modes, or a GPU."""

import os
from collections.abc import Iterator

import pytest

from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import Target

#: TINYYOLO3_TARGET=cuda runs the same tests on a GPU.
NAMES = ["cuda"] if os.environ.get("TINYYOLO3_TARGET") == "cuda" else ["fast", "check"]


@pytest.fixture(scope="session", params=NAMES)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    if request.param == "cuda":
        from tinyyolo3.cuda.gpu import CudaTarget

        yield CudaTarget()
    else:
        yield HostTarget(request.param, seed=1)
