"""What compiled steps need of the cache that several processes share."""

import os
import subprocess
import sys

ASK = """
import importlib, sys
for name in sys.argv[1].split():
    importlib.import_module("tinyyolo3.engine.cpu." + name)
import numba
from tinyyolo3.engine.cpu import convolution, depthwise, pooling
for operation in (
    convolution.multiply_job, convolution.im2col_multiply_job, depthwise.depthwise_job,
    pooling.maxpool_job,
):
    print(numba.from_dtype(operation.dtype).mangling_args)
"""


def symbols(order: str) -> list[str]:
    """Return what stands for some records in symbols, in a process that imports in this order."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, order],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TINYYOLO3_COMPILE": "now"},
    )
    return done.stdout.splitlines()


def test_a_record_has_one_symbol_in_every_process_and_no_other_has_it() -> None:
    forwards = symbols("convolution depthwise pooling")
    assert symbols("pooling depthwise convolution") == forwards
    assert len(set(forwards)) == 4
