"""Which lines are named where something is wrong in a kernel run on the CPU."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.errors import KernelError

CODE = """
#include "sum.cuh"

extern "C" __global__ void sums(const float* x, float* y) {
  y[threadIdx.x] = sum(x + threadIdx.x, 4);  // the kernel's line
}

extern "C" __global__ void counts(unsigned* y) {
  atomicAdd(y + threadIdx.x, 1u);  // the kernel's line
}
"""
HEADER = """#include "device.cuh"
DEVICE_INLINE float sum(const float* x, int count) {
  float all = 0.f;
  for (int i = 0; i < count; i++) all += x[i];  // the header's line
  return all;
}
"""


@pytest.fixture
def module(tmp_path: Path) -> HostModule:
    (tmp_path / "sum.cuh").write_text(HEADER)
    (tmp_path / "sums.cu").write_text(CODE)
    return HostModule(tmp_path / "sums.cu")


def message(module: HostModule) -> str:
    x = np.zeros(32, np.float32)
    with pytest.raises(KernelError) as caught:
        module.get_function("sums")((1,), (32,), (x, np.zeros(32, np.float32)))
    return str(caught.value)


def test_a_line_in_a_header_comes_with_its_caller(module: HostModule) -> None:
    said = message(module)
    header = "sum.cuh:4 `for (int i = 0; i < count; i++) all += x[i];  // the header's line`"
    caller = "sums.cu:5 `y[threadIdx.x] = sum(x + threadIdx.x, 4);  // the kernel's line`"
    assert f"past the end of x (128 bytes) at {header}, from {caller}" in said


def test_cudas_own_functions_are_not_where_the_bug_is(module: HostModule) -> None:
    with pytest.raises(KernelError, match=r"sums\.cu:9 `atomicAdd\(y \+ threadIdx\.x, 1u\);"):
        module.get_function("counts")((1,), (32,), (np.zeros(31, np.uint32),))


def test_without_addr2line_the_offset_is_told(
    module: HostModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    said = message(module)
    assert "past the end of x (128 bytes) at offset 0x" in said
    assert "binutils' addr2line would tell the line" in said
