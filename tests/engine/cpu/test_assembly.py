"""The sums of the matrix kernel stay in registers, on processors at hand and on others."""

import json
import re
import subprocess
import sys

import pytest

from tinyyolo3.engine.cpu.depthwise_rows import RUN
from tinyyolo3.engine.cpu.microkernel import PANEL, UNROLL
from tinyyolo3.testing import assembly

PROCESSORS = [
    ("aarch64-unknown-linux-gnu", "neoverse-n1", 4, 12, 10),
    ("arm64-apple-macosx", "apple-m1", 4, 12, 10),
    ("x86_64-unknown-linux-gnu", "haswell", 8, 6, 6),
    ("x86_64-unknown-linux-gnu", "skylake-avx512", 16, 13, 10),
    ("x86_64-unknown-linux-gnu", "znver4", 16, 13, 10, "bf16"),
]
#: The stack pointer as an address, on ARM and on x86.
STACK = re.compile(r"\[sp\b|\(%[re]sp")


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda p: p[1])
def test_the_innermost_loop_only_multiplies(processor: tuple[object, ...]) -> None:
    command = [sys.executable, "-m", assembly.__name__, *map(str, processor)]
    loops = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert {*assembly.KERNELS} <= loops.keys()
    for name, lines in loops.items():
        multiplies = sum(map(assembly.is_multiply_add, lines))
        if name.startswith("depthwise"):
            assert multiplies == RUN * int(name[len("depthwise row ")]), name
        else:
            vectors = 1 if "half" in name else PANEL
            rows = int(str(processor[4 if "short" in name else 3]))
            assert multiplies == UNROLL * vectors * rows, name
        assert not [line for line in lines if STACK.search(line)], name
