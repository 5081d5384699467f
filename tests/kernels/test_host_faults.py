"""What would end the process is an error of the launch, and leaves the process as it was."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.errors import KernelError

CODE = r"""
#include "device.cuh"

extern "C" __global__ void wild_pointer(int* y, long long where) {
  y[threadIdx.x] = 1;
  if (threadIdx.x == 5) *reinterpret_cast<int*>(where) = 1;  // here
}

extern "C" __global__ void wild_copy(int* y, long long where) {
  int* s = &SHARED_STRUCT(int);
  y[threadIdx.x] = 1;
  if (threadIdx.x == 5) dev::cp_async4(s, reinterpret_cast<int*>(where), true);  // here
  dev::cp_async_commit();
  dev::cp_async_wait<0>();
}

extern "C" __global__ void divides(int* y, long long by) {
  y[threadIdx.x] = static_cast<int>(5 / (threadIdx.x == 5 ? by : 1));  // here
}

extern "C" __global__ void traps(int* y, long long value) {
  y[threadIdx.x] = 1;
  if (threadIdx.x == 5 && value < 100000) __trap();  // here
}

__device__ int depth(int n, const int* y) {
  volatile int here[64] = {n};
  return n == 0 ? here[0] : depth(n - 1, y) + here[n % 64] + y[0];
}

extern "C" __global__ void overruns_its_stack(int* y, long long n) {
  y[threadIdx.x] = 1;
  if (threadIdx.x == 5) y[5] = depth(100000000 + static_cast<int>(n), y) > 0;
}

extern "C" __global__ void shifts(int* y, long long by) {
  y[threadIdx.x] = 1 << (threadIdx.x == 5 ? by + 32 : 3);  // here
}

extern "C" __global__ void overflows(int* y, long long by) {
  y[threadIdx.x] = 2147483647 - 5 + static_cast<int>(threadIdx.x + by);  // here
}

extern "C" __global__ void fine(int* y, long long) {
  __shared__ int s[64];
  s[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}
"""
#: By kernel: its second argument, and what is said of it.
FAULTS = {
    "wild_pointer": (16, "out of bounds: .* address 0x10.* // here`"),
    "divides": (0, "divi.* // here`"),
    "traps": (16, r"calls __trap\(\) at .* // here`"),
    "overruns_its_stack": (16, "stack"),
}
#: Found in check mode only.
UNDEFINED = {
    "shifts": (0, "shift too far: .* // here`"),
    "overflows": (1, "integer overflow: .* // here`"),
}


def module(mode: str) -> HostModule:
    return HostModule(code=CODE, mode=mode)


@pytest.mark.parametrize("mode", ["fast", "check"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_an_error(name: str, mode: str) -> None:
    argument, message = FAULTS[name]
    y = np.zeros(32, np.int32)
    with pytest.raises(KernelError, match=message) as caught:
        module(mode).get_function(name)((1,), (32,), (y, argument))
    assert "thread (5,0,0)" in str(caught.value)
    module(mode).get_function("fine")((1,), (32,), (y, 0))
    assert y.all()


def test_a_fault_in_the_run_time_is_laid_to_its_caller() -> None:
    y = np.zeros(32, np.int32)
    with pytest.raises(KernelError, match=r"out of bounds: .* // here`"):
        module("fast").get_function("wild_copy")((1,), (32,), (y, 16), shared_mem=4)


@pytest.mark.parametrize("name", UNDEFINED)
def test_undefined_arithmetic(name: str) -> None:
    argument, message = UNDEFINED[name]
    with pytest.raises(KernelError, match=message):
        module("check").get_function(name)((1,), (32,), (np.zeros(32, np.int32), argument))


def test_launches_from_many_threads() -> None:
    """Some of which fail."""
    kernels = [module(mode).get_function(name) for mode in ("fast", "check") for name in FAULTS]
    fine = [module(mode).get_function("fine") for mode in ("fast", "check")]
    wrong = []

    def work(seed: int) -> None:
        for turn in range(30):
            y = np.zeros(64, np.int32)
            if (turn + seed) % 3 == 0:
                kernel = kernels[(turn + seed) // 3 % len(kernels)]
                try:
                    kernel((1,), (32,), (y, FAULTS[kernel.signature.name][0]), seed=seed)
                    wrong.append(f"{kernel.signature.name} did not fail")
                except KernelError as error:
                    if FAULTS[kernel.signature.name][1][:4] not in str(error):
                        wrong.append(str(error))
            else:
                fine[turn % 2]((1,), (64,), (y, 0), seed=seed)
                if not y.all():
                    wrong.append(str(y))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


SCRIPT = """
import ctypes, faulthandler, signal, sys
import numpy as np
from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.errors import KernelError

libc = ctypes.CDLL(None)

def handlers():
    found = []
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
        action = ctypes.create_string_buffer(256)
        libc.sigaction(int(number), None, action)
        found.append(action.raw[:8])
    stack = ctypes.create_string_buffer(64)
    libc.sigaltstack(None, stack)
    return [*found, stack.raw[:24]]

faulthandler.enable()
before = handlers()
kernel = HostModule(sys.argv[1], mode="fast").get_function("wild_pointer")
try:
    kernel((1,), (32,), (np.zeros(32, np.int32), 16))
except KernelError:
    print("caught")
print(handlers() == before, flush=True)
ctypes.string_at(16)
"""


def test_other_faults_are_not_ours(tmp_path: Path) -> None:
    """After a launch the handlers from before are back: Python's faulthandler still tells."""
    kernels = tmp_path / "kernels.cu"
    kernels.write_text(CODE)
    command = [sys.executable, "-c", SCRIPT, str(kernels)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "caught\nTrue\n"
    assert done.returncode < 0
    assert "Segmentation fault" in done.stderr
    assert "string_at" in done.stderr
