"""Accesses on the CPU that a GPU would let pass: out of bounds, uninitialised, misaligned."""

import re

import numpy as np
import pytest

from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.cuda.maps import MapStruct
from tinyyolo3.errors import KernelError

CODE = r"""
#include "device.cuh"

struct Tile {
  float a[32], b[32];
};

template <bool right>
__global__ void read_past_the_end(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x + !right];  // here
}

template <bool right>
__global__ void read_before_the_start(const float* x, float* y) {
  const int i = threadIdx.x;
  y[i] = x[right ? i : i - 1];  // here
}

template <bool right>
__global__ void write_past_the_end(const float* x, float* y) {
  y[threadIdx.x] = 0.f;
  if (right || threadIdx.x < 31) y[threadIdx.x] = x[threadIdx.x];
  else y[32] = 0.f;  // here
}

template <bool right>
__global__ void vector_over_the_end(const float* x, float* y) {
  y[threadIdx.x] = 0.f;
  const int last = right ? 6 : 7;
  if (threadIdx.x == 0) {
    const float4 v = reinterpret_cast<const float4*>(x)[last];  // here
    y[0] = v.x + v.y + v.z + v.w;
  }
}

template <bool right>
__global__ void shared_array(const float* x, float* y) {
  __shared__ float s[32];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = s[right ? threadIdx.x : threadIdx.x + 1];  // here
}

template <bool right>
__global__ void shared_member(const float* x, float* y) {
  Tile& tile = SHARED_STRUCT(Tile);
  tile.b[threadIdx.x] = 0.f;
  tile.a[threadIdx.x + !right] = x[threadIdx.x];  // here
  __syncthreads();
  y[threadIdx.x] = tile.a[threadIdx.x];
}

template <bool right>
__global__ void shared_pointer(const float* x, float* y) {
  float* s = SHARED_STRUCT(Tile).a;
  const int i = right ? threadIdx.x : threadIdx.x + 33;
  s[i] = x[threadIdx.x];  // here
  y[threadIdx.x] = s[i];
}

template <bool right>
__global__ void uninitialised_shared(const float* x, float* y) {
  __shared__ float s[32];
  if (right || threadIdx.x != 7) s[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = s[threadIdx.x];  // here
}

// What the block before has left in shared memory is not this one's.
template <bool right>
__global__ void of_another_block(const float* x, float* y) {
  __shared__ float s[16];
  if (right || blockIdx.x == 0) s[threadIdx.x] = x[threadIdx.x];
  y[blockIdx.x * 16 + threadIdx.x] = s[threadIdx.x];  // here
}

__global__ void shared_poison(float* y) {
  float* s = &SHARED_STRUCT(float);
  y[blockIdx.x * 16 + threadIdx.x] = s[threadIdx.x];
  s[threadIdx.x] = 1.f;
}

template <bool right>
__global__ void uninitialised_global(const float* x, float* y) {
  const float before = right ? x[threadIdx.x] : y[threadIdx.x];  // here
  y[threadIdx.x] = 2.f * before;
}

template <bool right>
__global__ void misaligned(const float* x, float* y) {
  y[threadIdx.x] = 0.f;
  if (threadIdx.x < 7)
    y[threadIdx.x] = reinterpret_cast<const float4*>(x + !right)[threadIdx.x].y;  // here
}

template <bool right>
__global__ void misaligned_store(const float* x, float* y) {
  y[threadIdx.x] = 0.f;
  __syncthreads();
  float* place = y + 2 - !right;
  if (threadIdx.x == 0) *reinterpret_cast<float2*>(place) = make_float2(1.f, 2.f);  // here
}

template <bool right>
__global__ void unwritten(const float* x, float* y) {
  if (right || threadIdx.x % 8) y[threadIdx.x] = x[threadIdx.x];
}

constexpr float table[] = {1.f, 2.f, 4.f, 8.f};

// A table of constants, a local array, a struct by value.
__global__ void what_is_allowed(float* y, Map map) {
  float local[4];
  for (int i = 0; i < 4; i++) local[(i + map.width) % 4] = table[i];
  y[threadIdx.x] = local[(threadIdx.x + map.width) % 4];
}
"""
MESSAGES = {
    "read_past_the_end": r"out of bounds: .* reads 4 bytes of memory 0 bytes past the end of x",
    "read_before_the_start": r"out of bounds: .* reads 4 bytes of memory 4 bytes before x",
    "write_past_the_end": r"thread \(31,0,0\) writes 4 bytes of memory 0 bytes past the end of y",
    "vector_over_the_end": r"out of bounds: .* reads \d+ bytes of .* x \(124 bytes\)",
    "shared_array": r"out of bounds: .* thread \(31,0,0\) takes element 32 of 'float ?\[32\]'",
    "shared_member": r"out of bounds: .* thread \(31,0,0\) takes element 32 of 'float ?\[32\]'",
    "shared_pointer": r"out of bounds: .* thread \(31,0,0\) writes 4 bytes of address",
    "uninitialised_shared": r"uninitialised: .* thread \(7,0,0\) reads byte \d+ of static shared",
    "of_another_block": r"uninitialised: block \(1,0,0\) .* of static shared memory",
    "uninitialised_global": r"uninitialised: .* reads byte \d+ of y \(128 bytes\)",
    "misaligned": r"misaligned: ",
    "misaligned_store": r"misaligned: ",
    "unwritten": r"never written: 16 of 128 bytes of y, from byte 0 on",
}


@pytest.fixture(scope="module")
def module() -> HostModule:
    instances = [f"{name}<{right}>" for name in MESSAGES for right in ("false", "true")]
    return HostModule(code=CODE, name_expressions=[*instances, "what_is_allowed"])


@pytest.mark.parametrize("name", MESSAGES)
def test_an_access_that_is_wrong(module: HostModule, name: str) -> None:
    x = np.arange(1, 33, dtype=np.float32)
    grid, block = ((2,), (16,)) if name == "of_another_block" else ((1,), (32,))
    shared = 256 if name in ("shared_member", "shared_pointer") else 0
    if name == "vector_over_the_end":
        x = x[:31]
    for right in "true", "false":
        kernel = module.get_function(f"{name}<{right}>")
        y = np.full(32, np.nan, np.float32)
        if right == "true":
            kernel(grid, block, (x, y), outputs=(y,), shared_mem=shared)
            continue
        with pytest.raises(KernelError) as caught:
            kernel(grid, block, (x, y), outputs=(y,), shared_mem=shared)
        assert re.search(MESSAGES[name], str(caught.value))
        assert "// here`" in str(caught.value) or name == "unwritten"


def test_what_a_kernel_may_touch(module: HostModule) -> None:
    y = np.zeros(8, np.float32)
    module.get_function("what_is_allowed")((1,), (8,), (y, MapStruct(1, 1, 5, 1, 1)), outputs=(y,))
    assert y.tolist() == [1, 2, 4, 8] * 2


def test_shared_memory_is_poisoned_for_each_block() -> None:
    """In fast mode, where nobody watches, what nobody has written is NaN."""
    names = ["uninitialised_shared<false>", "of_another_block<false>", "shared_poison"]
    module = HostModule(code=CODE, name_expressions=names, mode="fast")
    x, y = np.ones(32, np.float32), np.zeros(32, np.float32)
    module.get_function(names[0])((1,), (32,), (x, y))
    assert np.flatnonzero(np.isnan(y)).tolist() == [7]
    module.get_function(names[1])((2,), (16,), (x, y))
    assert np.isnan(y).tolist() == [False] * 16 + [True] * 16
    module.get_function(names[2])((2,), (16,), (y,), shared_mem=64)
    assert np.isnan(y).all()


def test_arrays_that_overlap(module: HostModule) -> None:
    """A kernel that works in place, or on maps that lie side by side in a wider one."""
    whole = np.arange(48, dtype=np.float32)
    module.get_function("read_past_the_end<true>")((1,), (32,), (whole[8:40], whole[8:40]))
    assert whole.tolist() == list(range(48))


def test_too_little_shared_memory(module: HostModule) -> None:
    x, y = np.zeros(32, np.float32), np.zeros(32, np.float32)
    kernel = module.get_function("shared_member<true>")
    with pytest.raises(KernelError, match=r"uses 256 bytes of dynamic shared memory; .* gives 100"):
        kernel((1,), (32,), (x, y), shared_mem=100)
    with pytest.raises(KernelError, match="a block can have 232448"):
        kernel((1,), (32,), (x, y), shared_mem=1 << 20)
