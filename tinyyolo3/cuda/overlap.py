"""Launches that may begin before the launch before them has ended.

*Programmatic dependent launch*, from compute capability 9.0 on: a kernel comes to multiprocessors
while the one before still runs, makes its preparations and waits, by an instruction of its own, for
that one's end (``kernels/tensor_cores.cuh``, ``wait_for_launch_before``). Only kernels that wait so
may be launched this way. CuPy cannot ask for it; the driver's own function can.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyyolo3.cuda.arguments import Converted
from tinyyolo3.errors import KernelError

#: What a kernel's text has that waits for the launch before it by itself.
WAITS = "dev::wait_for_launch_before();"
#: The first GPUs that overlap launches.
LEAST_ARCHITECTURE = 90


def launch_overlapping(
    name: str,
    function: int,
    sizes: tuple[tuple[int, int, int], tuple[int, int, int]],
    values: Sequence[Converted],
    shared_mem: int,
    stream: int,
) -> None:
    """Launch a kernel that waits for the one before it by itself.

    Args:
        name: for messages.
        function: the driver's handle.
        sizes: of the grid and of a block.
        values: the arguments, from `convert_arguments`.
        shared_mem: bytes of dynamic shared memory.
        stream: the driver's handle.

    Raises:
        KernelError: the driver refuses.
    """
    from cuda.bindings import driver

    config = driver.CUlaunchConfig()
    config.gridDimX, config.gridDimY, config.gridDimZ = sizes[0]
    config.blockDimX, config.blockDimY, config.blockDimZ = sizes[1]
    config.sharedMemBytes = shared_mem
    config.hStream = driver.CUstream(stream)
    attribute = driver.CUlaunchAttribute()
    attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
    attribute.value.programmaticStreamSerializationAllowed = 1
    config.attrs = [attribute]
    config.numAttrs = 1
    # The driver takes the addresses of the arguments; of an array the argument is its address.
    held = [_argument(value) for value in values]
    addresses = np.array([value.ctypes.data for value in held], np.uint64)
    (status,) = driver.cuLaunchKernelEx(
        config, driver.CUfunction(function), int(addresses.ctypes.data), 0
    )
    if status != driver.CUresult.CUDA_SUCCESS:
        raise KernelError(f"{name}{sizes[0]}{sizes[1]}: {status.name}")


def _argument(value: Converted) -> Any:
    if value is None:
        return np.zeros(1, np.uint64)
    return value if isinstance(value, np.ndarray) else np.array([value.data.ptr], np.uint64)
