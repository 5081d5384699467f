"""Barriers and collectives of a warp on the CPU: missed, divergent, or never completed."""

import re

import numpy as np
import pytest

from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.errors import KernelError

CODE = r"""
#include "device.cuh"

template <bool right>
__global__ void missed(int* y) {
  if (!right && threadIdx.x == 3) return;
  __syncthreads();  // waits
  y[threadIdx.x] = 1;
}

template <bool right>
__global__ void divergent(int* y) {
  if (right || threadIdx.x < 40) {
    __syncthreads();  // waits
  } else {
    __syncthreads();  // another
  }
  y[threadIdx.x] = 1;
}

// Lane 5 takes no part in what the mask promises.
template <bool right>
__global__ void absent_lane(int* y) {
  int any = 1;
  if (right || threadIdx.x != 5)
    any = __any_sync(~0u, 1);  // waits
  y[threadIdx.x] = any;
}

template <bool right>
__global__ void two_collectives(int* y) {
  if (right || threadIdx.x < 16) {
    y[threadIdx.x] = __shfl_sync(~0u, 1, 0);  // waits
  } else {
    y[threadIdx.x] = __shfl_sync(~0u, 1, 1);  // another
  }
}

template <bool right>
__global__ void not_in_the_mask(int* y) {
  __syncwarp(right ? ~0u : 0xFFFFu);  // waits
  y[threadIdx.x] = 1;
}

template <bool right>
__global__ void shuffle_from_outside(int* y) {
  y[threadIdx.x] = 1;
  const unsigned low = right ? ~0u : 0xFFFFu;
  if (low >> threadIdx.x & 1)
    y[threadIdx.x] = __shfl_down_sync(low, 1, 1);  // waits
}

// Half of the threads wait at a barrier, one warp for a lane that waits there too.
template <bool right>
__global__ void warp_and_block(int* y) {
  if (!right && threadIdx.x == 0) __syncthreads();  // another
  __syncwarp();  // waits
  __syncthreads();  // another
  y[threadIdx.x] = 1;
}

template <bool right>
__global__ void spins(volatile int* y) {
  if (!right && threadIdx.x == 0)
    while (y[1] != 7) {}  // waits
  y[threadIdx.x] = 7;
}

// Exited threads do not matter where no barrier follows.
__global__ void early_exit(int* y, int count) {
  if (threadIdx.x >= count) return;
  y[threadIdx.x] = 1;
}
"""
MESSAGES = {
    "missed": "missed barrier: .* waits in __syncthreads.* `.* // waits`, but .* has ended",
    "divergent": "divergent barrier: .* // (waits|another)`, .* another at .* // (waits|another)",
    "absent_lane": "deadlock: .* waits in a warp vote at .* // waits` for lanes 00000020",
    "two_collectives": "divergent warp: .* // (waits|another)` with mask .* // (waits|another)`",
    "not_in_the_mask": "__syncwarp.* at .* // waits`, but its lane .* is not in the mask 0000ffff",
    "shuffle_from_outside": r"thread \(15,0,0\) shuffles at .* // waits` from lane 16",
    "warp_and_block": "deadlock: .* waits in __syncwarp.* // waits` for lanes 00000001",
}


@pytest.fixture(scope="module")
def module() -> HostModule:
    instances = [f"{name}<{right}>" for name in MESSAGES for right in ("false", "true")]
    spins = ["spins<false>", "spins<true>"]
    return HostModule(code=CODE, name_expressions=[*instances, *spins, "early_exit"])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", MESSAGES)
def test_every_thread_comes_to_every_barrier(module: HostModule, name: str, seed: int) -> None:
    threads = 64 if "block" in name or name in ("missed", "divergent") else 32
    y = np.zeros(threads, np.int32)
    module.get_function(f"{name}<true>")((1,), (threads,), (y,), seed=seed)
    assert (y > 0).all()
    y = np.zeros(threads, np.int32)
    with pytest.raises(KernelError) as caught:
        module.get_function(f"{name}<false>")((1,), (threads,), (y,), seed=seed)
    assert re.search(MESSAGES[name], str(caught.value))


def test_a_thread_that_waits_for_what_nobody_will_write(module: HostModule) -> None:
    y = np.zeros(32, np.int32)
    module.get_function("spins<true>")((1,), (32,), (y,))
    y = np.zeros(32, np.int32)
    with pytest.raises(KernelError, match=r"endless: .* thread \(0,0,0\) .* // waits`"):
        module.get_function("spins<false>")((1,), (32,), (y,))


def test_threads_may_end_early(module: HostModule) -> None:
    y = np.zeros(40, np.int32)
    module.get_function("early_exit")((1,), (64,), (y, 40), outputs=(y,))
    assert y.all()
