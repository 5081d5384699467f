"""CUDA's words on the CPU compute what the programming guide says of them."""

import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.host_module import HostModule

CODE = r"""
#include "device.cuh"

extern "C" __global__ void shuffles(const float* x, float* y, int operand, int width) {
  const int i = threadIdx.x, n = blockDim.x;
  y[i] = __shfl_sync(~0u, x[i], operand, width);
  y[n + i] = __shfl_up_sync(~0u, x[i], operand, width);
  y[2 * n + i] = __shfl_down_sync(~0u, x[i], operand, width);
  y[3 * n + i] = __shfl_xor_sync(~0u, x[i], operand, width);
}

extern "C" __global__ void votes(const int* x, unsigned* y) {
  y[3 * threadIdx.x] = __ballot_sync(~0u, x[threadIdx.x] > 0);
  y[3 * threadIdx.x + 1] = __any_sync(~0u, x[threadIdx.x] > 0);
  y[3 * threadIdx.x + 2] = __all_sync(~0u, x[threadIdx.x] > 0);
}

extern "C" __global__ void atomics(const int* x, int* y, unsigned long long* wide, float* sum) {
  const int value = x[blockIdx.x * blockDim.x + threadIdx.x];
  atomicAdd(y, value);
  atomicMin(y + 1, value);
  atomicMax(y + 2, value);
  atomicOr(y + 3, value);
  int seen = 0;  // a product by compare and swap
  while (true) {
    const int before = atomicCAS(y + 4, seen, static_cast<int>(seen + 3u * value));
    if (before == seen) break;
    seen = before;
  }
  atomicAdd(wide, static_cast<unsigned long long>(value));
  atomicMax(wide + 1, static_cast<unsigned long long>(value));
  atomicAdd(sum, 1.f);
}

extern "C" __global__ void arithmetic(const float* x, float* y, const int* n, int* m) {
  const float a = x[0], b = x[1], c = x[2];
  const float results[] = {__fadd_rn(a, b),  __fsub_rn(a, b), __fmul_rn(a, b), __fdiv_rn(a, b),
                           __frcp_rn(a),     __fsqrt_rn(a),   a * b + c,       min(a, b),
                           max(a, b),        fminf(a, b),     fmaxf(a, b)};
  for (int i = 0; i < 11; i++) y[i] = results[i];
  m[0] = __float_as_int(a);
  m[1] = static_cast<int>(__float_as_uint(__uint_as_float(static_cast<unsigned>(n[0]))));
  m[2] = __popc(n[0]);
  m[3] = __popcll(static_cast<unsigned long long>(static_cast<unsigned>(n[0])) << 16);
  m[4] = __ffs(n[0]);
  m[5] = __ffsll(static_cast<long long>(static_cast<unsigned>(n[0])) << 16);
  m[6] = __clz(n[0]);
  m[7] = __clzll(n[0] & 0x7FFFFFFF);
  m[8] = min(n[0], n[1]);
  m[9] = static_cast<int>(max(static_cast<unsigned>(n[0]), static_cast<unsigned>(n[1])));
}

extern "C" __global__ void order(unsigned* count, int* blocks, int* threads) {
  const unsigned turn = atomicAdd(count, 1u);
  blocks[turn] = blockIdx.x;
  threads[turn] = threadIdx.x;
}

extern "C" __global__ void indices(int* y) {
  const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  y[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

// A tree over the block in shared memory: many barriers.
extern "C" __global__ void block_sum(const float* x, float* y, int n) {
  __shared__ float s[256];
  s[threadIdx.x] = 0.f;
  for (int i = threadIdx.x; i < n; i += blockDim.x) s[threadIdx.x] += x[i];
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *y = s[0];
}
"""


@pytest.fixture(scope="module", params=["fast", "check", "ucontext"])
def module(request: pytest.FixtureRequest) -> Any:
    """Both modes; and the switch between fibers that machines other than x86-64 take."""
    if request.param != "ucontext":
        yield HostModule(code=CODE, mode=request.param)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", f"{shutil.which('g++') or 'c++'} -DHOST_UCONTEXT")
        yield HostModule(code=CODE, mode="fast")


@settings(max_examples=40)
@given(
    x=st.lists(st.integers(-99, 99), min_size=32, max_size=32),
    operand=st.integers(0, 31),
    width=st.sampled_from([2, 4, 8, 16, 32]),
)
def test_shuffles(module: HostModule, x: list[int], operand: int, width: int) -> None:
    lane = np.arange(32)
    first, inside = lane // width * width, lane % width
    sources = [
        first + operand % width,
        np.where(inside >= operand, lane - operand, lane),
        np.where(inside + operand < width, lane + operand, lane),
        np.where((lane ^ operand) < first + width, lane ^ operand, lane),
    ]
    values, y = np.array(x, np.float32), np.zeros((4, 32), np.float32)
    module.get_function("shuffles")((1,), (32,), (values, y, operand, width), outputs=(y,))
    assert np.array_equal(y, [values[source] for source in sources])


@pytest.mark.parametrize("threads", [32, 20])
def test_votes(module: HostModule, threads: int) -> None:
    for x in (np.ones(threads), np.zeros(threads), np.arange(threads) % 3 - 1):
        y = np.zeros((threads, 3), np.uint32)
        module.get_function("votes")((1,), (threads,), (x.astype(np.int32), y), outputs=(y,))
        ballot = sum(1 << lane for lane in range(threads) if x[lane] > 0)
        assert (y[:, 0] == ballot).all()
        assert (y[:, 1] == (ballot != 0)).all()
        assert (y[:, 2] == (x > 0).all()).all()


@pytest.mark.parametrize("seed", range(3))
def test_atomics(module: HostModule, seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 1000, 120).astype(np.int32)
    y, wide = np.array([0, 5000, 0, 0, 0], np.int32), np.zeros(2, np.uint64)
    total = np.zeros(1, np.float32)
    module.get_function("atomics")((3,), (40,), (x, y, wide, total), seed=seed)
    assert y.tolist() == [x.sum(), x.min(), x.max(), np.bitwise_or.reduce(x), 3 * x.sum()]
    assert wide.tolist() == [x.sum(), x.max()]
    assert total == 120


@settings(max_examples=40)
@given(
    x=st.tuples(*[st.floats(0.0078125, 1e6, width=32)] * 3),
    n=st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 2),
)
def test_arithmetic(module: HostModule, x: tuple[float, ...], n: tuple[int, ...]) -> None:
    a, b, c = values = np.array(x, np.float32)
    y, m, numbers = np.zeros(11, np.float32), np.zeros(10, np.int32), np.array(n, np.int32)
    module.get_function("arithmetic")((1,), (1,), (values, y, numbers, m), outputs=(y, m))
    expected = [a + b, a - b, a * b, a / b, np.float32(1) / a, np.sqrt(a), a * b + c]
    assert y.tolist() == [*expected, min(a, b), max(a, b), min(a, b), max(a, b)]
    bits = n[0] & 0xFFFFFFFF
    lowest = (bits & -bits).bit_length()
    assert m.tolist() == [
        int(values[:1].view(np.int32)[0]),
        n[0],
        bits.bit_count(),
        bits.bit_count(),
        lowest,
        lowest + 16 if bits else 0,
        32 - bits.bit_length(),
        64 - (bits & 0x7FFFFFFF).bit_length(),
        min(n),
        int(numbers.view(np.uint32).max().astype(np.int32)),
    ]


def test_the_order_of_threads_and_blocks_follows_the_seed(module: HostModule) -> None:
    def order(seed: int) -> tuple[list[int], list[int]]:
        blocks, threads = np.zeros(64, np.int32), np.zeros(64, np.int32)
        count = np.zeros(1, np.uint32)
        module.get_function("order")((4,), (16,), (count, blocks, threads), seed=seed)
        assert sorted(zip(blocks, threads, strict=True)) == [(i // 16, i % 16) for i in range(64)]
        return blocks.tolist(), threads.tolist()

    assert order(0) == ([i // 16 for i in range(64)], list(range(16)) * 4)
    assert order(1) == order(1)
    assert len({tuple(order(seed)[0]) for seed in range(5)}) > 2
    assert len({tuple(order(seed)[1]) for seed in range(5)}) == 5


def test_indices(module: HostModule) -> None:
    y = np.zeros((24, 24), np.int32)
    module.get_function("indices")((2, 3, 4), (4, 3, 2), (y,), outputs=(y,))
    assert np.array_equal(y, 1000 * np.arange(24)[:, None] + np.arange(24))


@settings(max_examples=20)
@given(st.integers(1, 3000), st.sampled_from([1, 32, 64, 256]), st.integers(0, 9))
def test_a_sum_over_the_block(module: HostModule, n: int, threads: int, seed: int) -> None:
    x, y = np.ones(n, np.float32), np.zeros(1, np.float32)
    module.get_function("block_sum")((1,), (threads,), (x, y, n), outputs=(y,), seed=seed)
    assert y == n


def test_alignment_may_be_asked_for_where_cuda_allows_it() -> None:
    code = """
    struct __align__(8) Pair { float first, second; };
    extern "C" __global__ void every_fourth(const float* x, float* y) {
      __shared__ __align__(16) float s[64];
      const Pair pair{x[threadIdx.x], 0.f};
      s[threadIdx.x] = pair.first;
      __syncthreads();
      y[threadIdx.x] = reinterpret_cast<const float4*>(s)[threadIdx.x / 4].x;
    }"""
    x, y = np.arange(64, dtype=np.float32), np.empty(64, np.float32)
    HostModule(code=code).get_function("every_fourth")((1,), (64,), (x, y), outputs=(y,))
    assert np.array_equal(y, x // 4 * 4)
