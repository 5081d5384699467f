"""Races, in kernels run on the CPU: each is found and named, and its remedy raises no alarm."""

import numpy as np
import pytest

from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.errors import KernelError

#: Where `right` is false a kernel races, between lines that say so.
CODE = r"""
#include "device.cuh"

template <bool right>
__global__ void in_a_warp(float* y) {
  __shared__ float s[32];
  s[threadIdx.x] = threadIdx.x;  // races
  if (right) __syncwarp();
  y[threadIdx.x] = s[31 - threadIdx.x];  // races
}

// A __syncwarp() does not order what threads of two warps do.
template <bool right>
__global__ void in_a_block(float* y) {
  __shared__ float s[64];
  s[threadIdx.x] = threadIdx.x;  // races
  if (right) __syncthreads(); else __syncwarp();
  y[threadIdx.x] = s[63 - threadIdx.x];  // races
}

// Written too early, while others still read.
template <bool right>
__global__ void write_after_read(float* y) {
  __shared__ float s[64];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  const float mine = s[63 - threadIdx.x];  // races
  if (right) __syncthreads();
  s[threadIdx.x] = mine;  // races
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x];
}

// All read what one of another warp writes later.
template <bool right>
__global__ void one_writes_what_all_read(float* y) {
  __shared__ float s;
  if (threadIdx.x == 0) s = 1.f;
  __syncthreads();
  const float value = s;  // races
  if (right) __syncthreads();
  if (threadIdx.x == 37) s = 2.f;  // races
  y[threadIdx.x] = value;
}

// The writer's own warp is done with it, the other is not.
template <bool right>
__global__ void other_warp_still_reads(float* y) {
  __shared__ float s;
  if (threadIdx.x == 0) s = 1.f;
  __syncthreads();
  y[threadIdx.x] = s;  // races
  if (right) __syncthreads(); else __syncwarp();
  if (threadIdx.x == 0) s = 2.f;  // races
}

template <bool right>
__global__ void in_global_memory(float* y) {
  y[threadIdx.x] = threadIdx.x;  // races
  if (right) __syncthreads();
  const float other = y[63 - threadIdx.x];  // races
  __syncthreads();
  y[threadIdx.x] = other;
}

template <bool right>
__global__ void across_blocks(float* y) {
  const int i = right ? blockIdx.x * 32 + threadIdx.x : blockIdx.x * 31 + threadIdx.x;
  y[i] = 1.f;  // races
}

// Blocks that read what another writes, whichever runs first.
template <bool right>
__global__ void across_blocks_read(float* y) {
  const int other = right ? blockIdx.x : 1 - blockIdx.x;
  y[blockIdx.x * 32 + threadIdx.x] = 1.f;  // races
  y[blockIdx.x * 32 + threadIdx.x] = y[other * 32 + threadIdx.x];  // races
}

// Both blocks read what one of them changes afterwards.
template <bool right>
__global__ void across_blocks_update(float* y) {
  const int i = right ? blockIdx.x * 32 + threadIdx.x : threadIdx.x;
  const float before = y[i];  // races
  __syncthreads();
  if (right || blockIdx.x == 1) y[i] = before + 1.f;  // races
}

template <bool right>
__global__ void counter(unsigned* count) {
  if (right) atomicAdd(count, 1u); else *count = *count + 1;  // races
}

template <bool right>
__global__ void plain_read_of_a_counter(unsigned* count, unsigned* y) {
  __shared__ unsigned n;
  if (threadIdx.x == 0) n = 0;
  __syncthreads();
  atomicAdd(&n, 1u);  // races
  if (right) __syncthreads();
  if (threadIdx.x == 40) *count = n;  // races
  y[threadIdx.x] = 0;
}

// The block that arrives last reads what all have written.
template <bool right>
__global__ void last_block(float* partial, unsigned* arrivals, float* y) {
  __shared__ unsigned ticket;
  partial[blockIdx.x * 32 + threadIdx.x] = threadIdx.x;  // races
  if (right) __syncthreads();
  if (threadIdx.x == 0) ticket = dev::arrive(arrivals);
  __syncthreads();
  if (ticket != gridDim.x - 1) return;
  float sum = 0.f;
  for (unsigned b = 0; b < gridDim.x; b++) sum += partial[b * 32 + 31 - threadIdx.x];  // races
  y[threadIdx.x] = sum;
}

// Only the thread that arrives sees at once what others had written before their arrival: a shuffle
// moves its ticket, and orders no memory.
template <bool right>
__global__ void read_at_arrival(float* partial, unsigned* arrivals, float* y) {
  partial[blockIdx.x * 32 + threadIdx.x] = threadIdx.x;  // races
  __syncthreads();
  unsigned ticket = 0;
  if (threadIdx.x == 0) ticket = dev::arrive(arrivals);
  ticket = __shfl_sync(~0u, ticket, 0);
  if (right) __syncthreads();
  if (ticket == 1) y[threadIdx.x] = partial[(1 - blockIdx.x) * 32 + threadIdx.x];  // races
}

// Bytes of one word are different memory.
__global__ void bytes(unsigned char* y) { y[threadIdx.x] = threadIdx.x; }

// Threads of one warp that take turns, a __syncwarp() after each.
__global__ void turns(float* y) {
  __shared__ float s;
  if (threadIdx.x == 0) s = 0.f;
  for (int i = 0; i < 32; i++) {
    __syncwarp();
    if (threadIdx.x == i) s = s + i;
  }
  __syncwarp();
  y[threadIdx.x] = s;
}
"""
RACES = {
    "in_a_warp": 32,
    "in_a_block": 64,
    "write_after_read": 64,
    "one_writes_what_all_read": 64,
    "other_warp_still_reads": 64,
    "in_global_memory": 64,
}
TWO_BLOCKS = ["across_blocks", "across_blocks_read", "across_blocks_update"]


@pytest.fixture(scope="module")
def module() -> HostModule:
    others = ["counter", "plain_read_of_a_counter", "last_block", "read_at_arrival"]
    names = [*RACES, *TWO_BLOCKS, *others]
    instances = [f"{name}<{right}>" for name in names for right in ("false", "true")]
    return HostModule(code=CODE, name_expressions=[*instances, "bytes", "turns"])


seeds = pytest.mark.parametrize("seed", range(5))


def race(reason: str) -> str:
    """Return what the message of a race must match: both accesses, both lines, and the reason."""
    thread, line = r"block \(\d,0,0\) thread \(\d+,0,0\)", r"code\.cu:\d+ `[^`]* // races`"
    return rf"race: {thread} .* at {line}; {thread} .* it at {line}, and {reason}"


@seeds
@pytest.mark.parametrize("name", RACES)
def test_within_a_block(module: HostModule, name: str, seed: int) -> None:
    y = np.full(RACES[name], np.nan, np.float32)
    module.get_function(f"{name}<true>")((1,), (y.size,), (y,), outputs=(y,), seed=seed)
    reason = "no __sync(warp|threads)"
    with pytest.raises(KernelError, match=f"{race(reason)}|uninitialised: .* // races"):
        module.get_function(f"{name}<false>")((1,), (y.size,), (y,), outputs=(y,), seed=seed)


@seeds
@pytest.mark.parametrize("name", TWO_BLOCKS)
def test_across_blocks(module: HostModule, name: str, seed: int) -> None:
    y = np.full(64, np.nan, np.float32)
    module.get_function(f"{name}<true>")((2,), (32,), (y,), seed=seed)
    with pytest.raises(KernelError, match=race("nothing orders the two blocks")):
        module.get_function(f"{name}<false>")((2,), (32,), (y,), seed=seed)


@seeds
def test_counting_without_atomics(module: HostModule, seed: int) -> None:
    count = np.zeros(1, np.uint32)
    module.get_function("counter<true>")((3,), (40,), (count,), seed=seed)
    assert count == 120
    with pytest.raises(KernelError, match=race("")):
        module.get_function("counter<false>")((3,), (40,), (count,), seed=seed)


@seeds
def test_a_plain_read_beside_atomics(module: HostModule, seed: int) -> None:
    count, y = np.zeros(1, np.uint32), np.zeros(64, np.uint32)
    module.get_function("plain_read_of_a_counter<true>")((1,), (64,), (count, y), seed=seed)
    assert count == 64
    with pytest.raises(KernelError, match=race("no __sync(warp|threads)")):
        module.get_function("plain_read_of_a_counter<false>")((1,), (64,), (count, y), seed=seed)


@seeds
def test_a_last_block_that_sums_what_all_have_written(module: HostModule, seed: int) -> None:
    partial, y = np.zeros((4, 32), np.float32), np.zeros(32, np.float32)
    arguments = (partial, np.zeros(1, np.uint32), y)
    module.get_function("last_block<true>")((4,), (32,), arguments, seed=seed, outputs=(y,))
    assert np.array_equal(y, 4 * np.arange(32)[::-1])
    arguments = (partial, np.zeros(1, np.uint32), y)
    with pytest.raises(KernelError, match=race("")):
        module.get_function("last_block<false>")((4,), (32,), arguments, seed=seed)


@seeds
def test_what_is_read_without_a_barrier_after_the_arrival(module: HostModule, seed: int) -> None:
    for right in "true", "false":
        arguments = np.zeros(64, np.float32), np.zeros(1, np.uint32), np.zeros(64, np.float32)
        kernel = module.get_function(f"read_at_arrival<{right}>")
        if right == "true":
            kernel((2,), (32,), arguments, seed=seed)
            continue
        with pytest.raises(KernelError, match=race("nothing orders the two blocks")):
            kernel((2,), (32,), arguments, seed=seed)


@seeds
def test_what_only_looks_like_a_race(module: HostModule, seed: int) -> None:
    y8, y32 = np.zeros(64, np.uint8), np.zeros(32, np.float32)
    module.get_function("bytes")((1,), (64,), (y8,), outputs=(y8,), seed=seed)
    module.get_function("turns")((1,), (32,), (y32,), outputs=(y32,), seed=seed)
    assert y32.tolist() == [496] * 32
