"""The code for processors without AVX-512, and without AVX, run on this one.

Vectors of another width are another memory layout, another row table, another kernel; the same
tests run once more in a process that compiles for the other processor.
"""

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from tinyyolo3.engine.cpu.target import Target, current_target

HERE = Path(__file__).parent
#: The matrix kernels, and one network as its own choice and as quickly compiled others compute it.
TESTS = (
    "cpu/test_microkernel.py",
    "test_varied_network.py::test_it_has_every_kind_of_step",
    "test_varied_network.py::test_few_filters_equal_the_reference",
    "cpu/test_depthwise_rows.py::test_rows_keep_to_their_maps_and_equal_the_reference",
    *(
        f"test_varied_network.py::test_it_equals_the_reference[{wish}]"
        for wish in (None, "im2col", "im2col shared", "winograd F(3,3)/2 fused")
    ),
)
#: LLVM's name, what it stands for, and the feature that this processor must have to run its code.
PROCESSORS = {
    "haswell": (Target(lanes=8, rows=6, short_rows=6, fused=True), "avx2"),
    "nehalem": (Target(lanes=4, rows=6, short_rows=6, fused=False), "sse4.2"),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_another_processors_code(name: str, tmp_path: Path) -> None:
    target, feature = PROCESSORS[name]
    if not llvm.get_process_triple().startswith("x86_64"):
        pytest.skip("this processor is no x86")
    if not llvm.get_host_cpu_features().get(feature):
        pytest.skip(f"this processor has no {feature}")
    if current_target() == target:
        pytest.skip("this processor is like that")
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": name,
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    probe = "from tinyyolo3.engine.cpu.vectors import TARGET; print(TARGET)"
    found = _run([sys.executable, "-c", probe], environment)
    assert found.stdout.strip() == str(target), found.stderr
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    found = _run(command, environment)
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True)
