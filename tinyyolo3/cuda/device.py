"""Whether there is a GPU that can be used, and what CUDA's errors mean.

Every way in which CUDA can be missing is one `BackendError`, which says in one sentence what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tinyyolo3.cuda.nvrtc import INSTALL, check_architecture
from tinyyolo3.errors import BackendError, KernelError

#: The oldest GPUs that the kernels are compiled for (Turing: T4, RTX 20).
OLDEST = 75
#: cudaError_t (driver_types.h).
_MEMORY_ALLOCATION, _INSUFFICIENT_DRIVER, _NO_DEVICE = 2, 35, 100


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: such as "NVIDIA H200".
        architecture: such as "sm_90".
        multiprocessors: how many it has.
        memory_bytes: of all its memory.
        shared_bytes: the most shared memory of one block.
    """

    name: str
    architecture: str
    multiprocessors: int
    memory_bytes: int
    shared_bytes: int


def find_gpu() -> tuple[Any, Gpu]:
    """Return the module `cupy` and CUDA's current device.

    Raises:
        BackendError: something is missing or too old.
    """
    cupy = _import_cupy()
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
        number = runtime.getDevice() if count else 0
        properties = runtime.getDeviceProperties(number) if count else {}
    except runtime.CUDARuntimeError as problem:
        raise BackendError(_why_not(runtime, problem)) from None
    if not count:
        raise BackendError("no NVIDIA GPU was found")
    gpu = Gpu(
        properties["name"].decode(errors="replace"),
        f"sm_{properties['major']}{properties['minor']}",
        int(properties["multiProcessorCount"]),
        int(properties["totalGlobalMem"]),
        int(properties["sharedMemPerBlockOptin"]),
    )
    if 10 * int(properties["major"]) + int(properties["minor"]) < OLDEST:
        wanted = f"kernels are for sm_{OLDEST} and later (Turing, 2018)"
        raise BackendError(f"{gpu.name} is {gpu.architecture}, the {wanted}")
    check_architecture(gpu.architecture)
    return cupy, gpu


@contextmanager
def cuda_errors(cupy: Any, what: str) -> Iterator[None]:
    """Turn CUDA's errors in the block into the project's, which name `what` failed.

    Raises:
        BackendError: the GPU's memory, or memory that it can reach, is used up.
        KernelError: anything else.
    """
    runtime, driver = cupy.cuda.runtime, cupy.cuda.driver
    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError:
        raise BackendError(_memory_message(runtime, what)) from None
    except runtime.CUDARuntimeError as problem:
        if problem.status == _MEMORY_ALLOCATION:
            raise BackendError(_memory_message(runtime, what)) from None
        raise KernelError(f"{what}: {problem}") from None
    except driver.CUDADriverError as problem:
        raise KernelError(f"{what}: {problem}") from None


def _import_cupy() -> Any:
    try:
        import cupy
    except ImportError as problem:
        if problem.name == "cupy":
            raise BackendError(f"CuPy is not installed: {INSTALL}") from None
        raise BackendError(f"CuPy cannot be imported ({problem}): {INSTALL}") from None
    return cupy


def _why_not(runtime: Any, problem: Any) -> str:
    """Return why there is no device, from what the CUDA runtime answers to the first question."""
    if problem.status == _NO_DEVICE:
        return "no NVIDIA GPU was found"
    if problem.status != _INSUFFICIENT_DRIVER:
        return f"CUDA does not start: {problem}"
    has, needs = runtime.driverGetVersion(), runtime.runtimeGetVersion() // 1000
    if not has:
        return "no NVIDIA driver is installed, or this system may not use it"
    version = f"{has // 1000}.{has % 1000 // 10}"
    other = " or install tinyyolo3[cuda12] instead of tinyyolo3[cuda]" if needs > 12 else ""
    return f"the NVIDIA driver is for CUDA {version}, CuPy for CUDA {needs}: update it{other}"


def _memory_message(runtime: Any, what: str) -> str:
    try:
        free, total = runtime.memGetInfo()
    except runtime.CUDARuntimeError:
        return f"GPU memory is used up: {what} needed"
    return f"GPU memory is used up: {what} needed, {free:,} of {total:,} bytes free"
