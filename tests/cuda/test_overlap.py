"""A launch that may overlap the one before, as the driver's function is asked for it."""

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinyyolo3.cuda.overlap import launch_overlapping
from tinyyolo3.errors import KernelError

driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")

SIZES = (7, 3, 2), (128, 1, 1)


ADDRESS = 0x1234567890
#: What a CuPy array has that the launch asks for.
ARRAY = SimpleNamespace(data=SimpleNamespace(ptr=ADDRESS))


def launched(monkeypatch: pytest.MonkeyPatch, status: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def launch(config: Any, function: Any, arguments: int, extra: int) -> tuple[Any]:
        seen["grid"] = (config.gridDimX, config.gridDimY, config.gridDimZ)
        seen["block"] = (config.blockDimX, config.blockDimY, config.blockDimZ)
        seen["shared"], seen["stream"] = config.sharedMemBytes, int(config.hStream)
        seen["attributes"] = [
            (a.id, a.value.programmaticStreamSerializationAllowed) for a in config.attrs
        ]
        seen["function"], seen["extra"] = int(function), extra
        addresses = (ctypes.c_void_p * 4).from_address(arguments)
        kinds = ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int, ctypes.c_float
        seen["arguments"] = [
            kind.from_address(address).value for kind, address in zip(kinds, addresses, strict=True)
        ]
        return (status,)

    monkeypatch.setattr(driver, "cuLaunchKernelEx", launch)
    values: list[Any] = [ARRAY, None, np.array([5], np.int32), np.array([0.5], np.float32)]
    launch_overlapping("some_kernel", 11, SIZES, values, 4096, 12)
    return seen


def test_the_driver_gets_sizes_arguments_and_the_wish_to_overlap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = launched(monkeypatch, driver.CUresult.CUDA_SUCCESS)
    wish = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
    assert seen == {
        "grid": SIZES[0],
        "block": SIZES[1],
        "shared": 4096,
        "stream": 12,
        "attributes": [(wish, 1)],
        "function": 11,
        "extra": 0,
        "arguments": [ADDRESS, 0, 5, 0.5],
    }


def test_what_the_driver_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KernelError, match=r"some_kernel\(7, 3, 2\).*CUDA_ERROR_INVALID_VALUE"):
        launched(monkeypatch, driver.CUresult.CUDA_ERROR_INVALID_VALUE)
