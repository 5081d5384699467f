"""Asynchronous copies on the CPU: read too early, by the wrong thread, or never waited for."""

import numpy as np
import pytest

from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.errors import KernelError

CODE = r"""
#include "device.cuh"

using Numbers = float[64];

template <bool right>
__global__ void no_wait(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  dev::cp_async4(s + threadIdx.x, x + threadIdx.x, true);  // here
  dev::cp_async_commit();
  if (right) dev::cp_async_wait<0>();
  y[threadIdx.x] = s[threadIdx.x];  // here
  dev::cp_async_wait<0>();
}

// What was there before the copy has been read; the copy has not.
template <bool right>
__global__ void read_again(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  volatile float* again = s;
  s[threadIdx.x] = 0.f;
  __syncthreads();
  const float before = again[threadIdx.x];
  dev::cp_async4(s + threadIdx.x, x + threadIdx.x, true);  // here
  dev::cp_async_commit();
  if (right) dev::cp_async_wait<0>();
  y[threadIdx.x] = before + again[threadIdx.x];  // here
  dev::cp_async_wait<0>();
}

template <bool right>
__global__ void no_barrier(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  dev::cp_async4(s + threadIdx.x, x + threadIdx.x, true);  // here
  dev::cp_async_commit();
  dev::cp_async_wait<0>();
  if (right) __syncthreads();
  y[63 - threadIdx.x] = s[63 - threadIdx.x];  // here
}

template <bool right>
__global__ void barrier_before_the_wait(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  dev::cp_async4(s + threadIdx.x, x + threadIdx.x, true);  // here
  dev::cp_async_commit();
  if (!right) __syncthreads();
  dev::cp_async_wait<0>();
  if (right) __syncthreads();
  y[63 - threadIdx.x] = s[63 - threadIdx.x];  // here
}

// The newest group may be on its way, the one that is read may not.
template <bool right>
__global__ void one_group_too_few(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  for (int half = 0; half < 2; half++) {
    dev::cp_async4(s + 32 * half + threadIdx.x, x + 32 * half + threadIdx.x, true);  // here
    dev::cp_async_commit();
  }
  dev::cp_async_wait<1>();
  y[threadIdx.x] = s[threadIdx.x];
  dev::cp_async_wait<right ? 0 : 1>();
  y[32 + threadIdx.x] = s[32 + threadIdx.x];  // here
  dev::cp_async_wait<0>();
}

template <bool right>
__global__ void group_not_closed(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  dev::cp_async4(s + threadIdx.x, x + threadIdx.x, true);  // here
  if (right) dev::cp_async_commit();
  dev::cp_async_wait<0>();
  y[threadIdx.x] = s[threadIdx.x];  // here
}

template <bool right>
__global__ void never_waited_for(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  y[threadIdx.x] = x[threadIdx.x];
  dev::cp_async4(s + threadIdx.x, x + threadIdx.x, true);  // here
  dev::cp_async_commit();
  if (right) dev::cp_async_wait<0>();
}

// The next tile is fetched into the place of the one that is being read.
template <bool right>
__global__ void overwritten(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  const float mine = s[63 - threadIdx.x];  // here
  if (right) __syncthreads();
  dev::cp_async4(s + threadIdx.x, x + threadIdx.x, true);  // here
  dev::cp_async_commit();
  dev::cp_async_wait<0>();
  y[63 - threadIdx.x] = mine;
}

template <bool right>
__global__ void misaligned(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  const int i = 4 * (threadIdx.x % 15);
  y[threadIdx.x] = x[threadIdx.x];
  if (threadIdx.x < 15) dev::cp_async16(s + i, x + i + !right, true);  // here
  dev::cp_async_commit();
  dev::cp_async_wait<0>();
}

template <bool right>
__global__ void source_out_of_bounds(const float* x, float* y) {
  float* s = SHARED_STRUCT(Numbers);
  const bool inside = threadIdx.x < 63;
  dev::cp_async4(s + threadIdx.x, x + threadIdx.x + 1, !right || inside);  // here
  dev::cp_async_commit();
  dev::cp_async_wait<0>();
  y[threadIdx.x] = inside ? s[threadIdx.x] - 1.f : x[63];
}
"""
MESSAGES = {
    "no_wait": "asynchronous copy: .* reads .* began an asynchronous copy to it at .* // here`",
    "read_again": "asynchronous copy: .* reads .* // here`",
    "no_barrier": "asynchronous copy|race: .* copied asynchronously to it|uninitialised",
    "barrier_before_the_wait": "asynchronous copy: .*|race: .* copied asynchronously to it at",
    "one_group_too_few": "asynchronous copy: .* reads .* // here`",
    "group_not_closed": "asynchronous copy: .* reads .* // here`",
    "never_waited_for": "ends without having waited for its asynchronous copy at .* // here`",
    "overwritten": "race: .* // here`; .* // here`, and no __sync",
    "misaligned": "misaligned: .* copies 16 bytes asynchronously .* // here`",
    "source_out_of_bounds": "out of bounds: .* reads 4 bytes of .* past the end of x .* // here`",
}


@pytest.fixture(scope="module", params=["check", "fast"])
def module(request: pytest.FixtureRequest) -> HostModule:
    instances = [f"{name}<{right}>" for name in MESSAGES for right in ("false", "true")]
    return HostModule(code=CODE, name_expressions=instances, mode=request.param)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", MESSAGES)
def test_what_a_copy_must_be_waited_for(module: HostModule, name: str, seed: int) -> None:
    x, y = np.arange(64, dtype=np.float32), np.full(64, np.nan, np.float32)
    launch = {"shared_mem": 256, "outputs": (y,), "seed": seed}
    threads = 32 if name == "one_group_too_few" else 64
    module.get_function(f"{name}<true>")((1,), (threads,), (x, y), **launch)
    assert np.array_equal(y, x)
    if module.mode == "check":
        with pytest.raises(KernelError, match=MESSAGES[name]):
            module.get_function(f"{name}<false>")((1,), (threads,), (x, y), **launch)


def test_copies_land_early_or_late() -> None:
    """Without a wait, fast mode shows either what was copied or poison, by the seed."""
    instances = ["no_wait<false>"]
    kernel = HostModule(code=CODE, name_expressions=instances, mode="fast").get_function(*instances)
    x, seen = np.arange(64, dtype=np.float32), []
    for seed in range(4):
        y = np.zeros(64, np.float32)
        kernel((1,), (64,), (x, y), shared_mem=256, seed=seed)
        assert (np.isnan(y) | (y == x)).all()
        seen.append(int(np.isnan(y).sum()))
    assert seen[0] == 64  # seed 0: as late as they may
    assert all(10 < late < 54 for late in seen[1:])
