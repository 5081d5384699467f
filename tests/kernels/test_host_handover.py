"""What blocks tell each other by signals and a queue, in kernels run on the CPU."""

import re

import numpy as np
import pytest

from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.errors import KernelError

#: A chain: item i reads what item i - 1 has written, whichever blocks have them. BUG plants one.
CODE = r"""
#include "device.cuh"

enum { NONE, NO_WAIT, NO_SIGNAL, EARLY_SIGNAL, LATE_WAIT, NO_BARRIER, TOO_FEW, ANOTHER, LATER };

template <int BUG>
__global__ void chain(float* y, unsigned* queue, unsigned* ready, int items) {
  __shared__ int claimed;
  for (;;) {
    if (threadIdx.x == 0) claimed = dev::claim(queue, items);
    __syncthreads();
    const int item = claimed;
    if (item < 0) return;
    const float* before = y + (item - 1) * 32;
    float mine = 1.f;
    if (BUG == LATE_WAIT && item) mine += before[31 - threadIdx.x];  // races
    if (BUG != NO_WAIT && item && threadIdx.x == 0) {
      const int at = BUG == ANOTHER ? item : BUG == LATER ? item + 1 : item - 1;
      dev::wait_for_signals(ready + at, BUG == ANOTHER ? 0 : BUG == TOO_FEW ? 1 : 2);
    }
    if (BUG != NO_BARRIER) __syncthreads();
    if (BUG != LATE_WAIT && item) mine += before[31 - threadIdx.x];  // races
    if (BUG == EARLY_SIGNAL && threadIdx.x < 2) dev::signal(ready + item);
    y[item * 32 + threadIdx.x] = mine;  // races
    __syncthreads();
    if (BUG != NO_SIGNAL && BUG != EARLY_SIGNAL && threadIdx.x < 2) dev::signal(ready + item);
  }
}

// What a third block wrote is not asked for at its own counter.
template <bool right>
__global__ void passed_on(float* y, unsigned* queue, unsigned* ready) {
  __shared__ int claimed;
  for (;;) {
    if (threadIdx.x == 0) claimed = dev::claim(queue, 3);
    __syncthreads();
    const int item = claimed;
    if (item < 0) return;
    if (item && threadIdx.x == 0) dev::wait_for_signals(ready + item - 1, 1);
    if (right && item == 2 && threadIdx.x == 1) dev::wait_for_signals(ready, 1);
    __syncthreads();
    y[item * 32 + threadIdx.x] = item == 2 ? y[31 - threadIdx.x] : 1.f;  // races
    __syncthreads();
    if (threadIdx.x == 0) dev::signal(ready + item);
  }
}

__global__ void shares(unsigned* queue, int items, int* owner) {
  for (;;) {
    const int item = dev::claim(queue, items);
    if (item < 0) return;
    owner[item] = blockIdx.x;
  }
}
"""
BUGS = {
    "NO_WAIT": "race",
    "NO_SIGNAL": "endless",
    "EARLY_SIGNAL": "race",
    "LATE_WAIT": "race",
    "NO_BARRIER": "race",
    "TOO_FEW": "race",
    "ANOTHER": "race",
    "LATER": "endless",
}
ITEMS = 6


@pytest.fixture(scope="module")
def module() -> HostModule:
    names = [*(f"chain<{bug}>" for bug in ("NONE", *BUGS)), "passed_on<true>", "passed_on<false>"]
    return HostModule(code=CODE, name_expressions=[*names, "shares"])


def run_chain(module: HostModule, bug: str, blocks: int, seed: int) -> np.ndarray:
    y = np.full((ITEMS, 32), np.nan, np.float32)
    counters = np.zeros(1, np.uint32), np.zeros(ITEMS + 1, np.uint32)
    arguments = (y, *counters, ITEMS)
    module.get_function(f"chain<{bug}>")((blocks,), (32,), arguments, outputs=(y,), seed=seed)
    return y


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("blocks", [1, 2, ITEMS, ITEMS + 3])
def test_a_chain_of_items_is_in_order(module: HostModule, blocks: int, seed: int) -> None:
    y = run_chain(module, "NONE", blocks, seed)
    assert y.tolist() == [[i + 1.0] * 32 for i in range(ITEMS)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bug", BUGS)
def test_each_way_to_hand_over_badly_is_named(module: HostModule, bug: str, seed: int) -> None:
    """A block for each item: nothing but signals orders them."""
    message = rf"{BUGS[bug]}: block \(\d,0,0\) thread \(\d+,0,0\) .* at code\.cu:\d+ `"
    with pytest.raises(KernelError, match=message) as raised:
        run_chain(module, bug, ITEMS, 0)
    if BUGS[bug] == "race":
        assert re.search(
            "// races`.*// races`, and nothing orders the two blocks", str(raised.value)
        )
    if bug not in ("NO_SIGNAL", "LATER"):  # by seeds, one block may have all items
        return
    with pytest.raises(KernelError, match=message):
        run_chain(module, bug, ITEMS, seed)


def test_one_block_has_its_own_order(module: HostModule) -> None:
    """What a block wrote itself it need not wait for."""
    assert run_chain(module, "NO_WAIT", 1, 0)[-1, 0] == ITEMS


@pytest.mark.parametrize("right", ["true", "false"])
def test_a_hand_over_is_not_passed_on(module: HostModule, right: str) -> None:
    arguments = np.zeros(96, np.float32), np.zeros(1, np.uint32), np.zeros(3, np.uint32)
    kernel = module.get_function(f"passed_on<{right}>")
    if right == "true":
        kernel((3,), (32,), arguments)
        return
    with pytest.raises(KernelError, match=r"race: .* nothing orders the two blocks"):
        kernel((3,), (32,), arguments)


def test_blocks_share_a_queue(module: HostModule) -> None:
    kernel, seen = module.get_function("shares"), set()
    for seed in range(6):
        owner, queue = np.full(20, -1, np.int32), np.zeros(1, np.uint32)
        kernel((4,), (1,), (queue, 20, owner), outputs=(owner,), seed=seed)
        assert queue == 20
        seen.add(tuple(owner))
        if seed == 0:
            assert np.bincount(owner).tolist() == [5, 5, 5, 5]
            assert (np.diff(owner) >= 0).all()
    assert len(seen) > 3
