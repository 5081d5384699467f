"""Many runs: any size and number of threads, the same answers to the same inputs, no more memory.

``TINYYOLO3_SOAK_SECONDS=600`` makes it long.
"""

import gc
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.backends.cpu import CPU
from tinyyolo3.engine.cpu.engine import KEPT_PLANS, CpuEngine
from tinyyolo3.engine.network import Network
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.engines import make_case
from tinyyolo3.testing.tolerances import SOAK_GROWTH_BYTES

SECONDS = float(os.environ.get("TINYYOLO3_SOAK_SECONDS", "6"))
STATUS = Path("/proc/self/statm")
#: More than the engine keeps plans for, so that plans come and go.
SIZES = [(24 + 8 * i, 64 - 8 * (i % 4)) for i in range(KEPT_PLANS + 3)]


def resident_bytes() -> int:
    """Return how much memory the process has in use."""
    gc.collect()
    return int(STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")
def test_many_runs_give_the_same_and_take_no_more_memory(varied_cfg: str) -> None:
    case = make_case(varied_cfg.format(width=64, height=48), seed=5)
    network = Network(case.graph, case.parameters, CPU, engine=CpuEngine(case.parameters))
    for size in SIZES:  # compiles, which is not to count
        network.forward(np.zeros((1, 3, *size), np.float32))
    rng = np.random.default_rng(0)
    runs = 0
    answers: dict[tuple[int, int], bytes] = {}
    resident = []
    start = time.monotonic()
    while (passed := time.monotonic() - start) < SECONDS:
        size, seed = int(rng.integers(len(SIZES))), int(rng.integers(8))
        shape = (1 + seed % 2, 3, *SIZES[size])
        x = np.random.default_rng(seed).random(shape, np.float32)
        with thread_limit(int(rng.integers(1, 6))):
            found = b"".join(array.tobytes() for array in network.forward(x))
        assert answers.setdefault((size, seed), found) == found, (SIZES[size], seed)
        runs += 1
        if passed > (len(resident) + 1) * SECONDS / 10:
            resident.append(resident_bytes())
    assert runs > len(answers), "no input came twice: too slow a machine for so short a test"
    # By half of the time every size has been planned and most answers are stored.
    growth = resident[-1] - resident[len(resident) // 2]
    assert growth < SOAK_GROWTH_BYTES, [r >> 10 for r in resident]
