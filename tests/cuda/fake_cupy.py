"""A CuPy whose GPU is the host build, and as late as a GPU may be.

What is put into a stream is done when somebody waits for the stream, so a result that nobody has
waited for is not there yet. Only what `tinyyolo3.cuda.gpu` uses is here, and it is as picky as CUDA
where CUDA would be wrong silently. `test_gpu.py` compares its names with the real module's.
"""

import ctypes
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import get_ident
from types import SimpleNamespace, TracebackType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from tinyyolo3.cuda.host_memory import guarded_empty
from tinyyolo3.cuda.host_module import HostKernel, HostModule

Work = Callable[[], None]

#: cudaStreamCaptureMode.
GLOBAL, THREAD_LOCAL, RELAXED = range(3)


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, name: str = "cudaErrorUnknown") -> None:
        super().__init__(f"{name}: fake")
        self.status = status


class CUDADriverError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class FakeArray:
    """`cupy.ndarray`: memory that NumPy must not see."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.data = SimpleNamespace(ptr=memory.ctypes.data)
        self.flags = SimpleNamespace(c_contiguous=memory.flags.c_contiguous)
        self.shape, self.dtype, self.strides = memory.shape, memory.dtype, memory.strides
        self.nbytes, self.size, self.itemsize = memory.nbytes, memory.size, memory.itemsize
        self.__cuda_array_interface__ = memory.__array_interface__

    def __getitem__(self, where: Any) -> "FakeArray":
        return FakeArray(self.memory[where])

    def __len__(self) -> int:
        return len(self.memory)

    def view(self, dtype: Any) -> "FakeArray":
        return FakeArray(self.memory.view(dtype))

    def reshape(self, *shape: Any) -> "FakeArray":
        return FakeArray(self.memory.reshape(*shape))

    def __array__(self, *_: Any, **__: Any) -> None:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


FakeArray.__name__ = "ndarray"
FakeArray.__module__ = "cupy"


class FakeStream:
    """`cupy.cuda.Stream`.

    What is not allowed while it is captured makes the capture invalid, as the driver has it.
    """

    def __init__(self, gpu: "FakeGpu", non_blocking: bool) -> None:
        assert non_blocking, "it would wait for the default stream"
        self.gpu, self.ptr = gpu, next(gpu.stream_numbers)
        self.work: list[Work] = []
        self.captured: list[Work] | None = None
        self.mode, self.thread, self.invalid = RELAXED, 0, False
        gpu.streams[self.ptr] = self

    def __del__(self) -> None:
        self.gpu.call_unsafe()

    def __enter__(self) -> "FakeStream":
        self.gpu.current.append(self)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self.gpu.current.pop() is self

    def put(self, work: Work) -> None:
        if self.invalid:
            raise CUDADriverError("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED: fake")
        (self.work if self.captured is None else self.captured).append(work)

    def synchronize(self) -> None:
        if self.captured is not None:
            self.invalid = True
            raise CUDARuntimeError(900, "cudaErrorStreamCaptureUnsupported")
        work, self.work = self.work, []
        for each in work:
            each()

    def begin_capture(self, mode: int | None = None) -> None:
        assert self.captured is None
        assert mode != GLOBAL, "other threads could not allocate meanwhile"
        self.captured, self.thread = [], get_ident()
        self.mode = RELAXED if mode is None else mode

    def end_capture(self) -> "FakeGraph":
        assert self.captured is not None
        work, self.captured = self.captured, None
        invalid, self.invalid = self.invalid, False
        if invalid:
            raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated")
        return FakeGraph(self.gpu, work)


class FakeGraph:
    def __init__(self, gpu: "FakeGpu", work: list[Work]) -> None:
        self.gpu, self.work = gpu, work

    def __del__(self) -> None:
        self.gpu.call_unsafe()

    def upload(self, stream: FakeStream) -> None:
        assert stream.captured is None

    def launch(self, stream: FakeStream) -> None:
        for each in self.work:
            stream.put(each)


class FakeKernel:
    """`cupy.RawKernel`, which converts nothing and checks nothing but what CuPy does."""

    num_regs = 32

    def __init__(self, gpu: "FakeGpu", kernel: HostKernel) -> None:
        self.gpu, self.kernel = gpu, kernel
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(
        self, grid: Any, block: Any, args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        assert isinstance(args, tuple)
        assert self.gpu.current, "it would run on the default stream"
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        parameters = self.kernel.signature.parameters
        given = [self._read(p, a) for p, a in zip(parameters, args, strict=True)]
        self.gpu.current[-1].put(lambda: self.kernel(grid, block, given, shared_mem=shared_mem))

    @staticmethod
    def _read(parameter: Any, value: Any) -> Any:
        """Return what the device would find at that place of the launch's arguments."""
        if value is None or isinstance(value, FakeArray):
            assert parameter.is_pointer
            return None if value is None else value.memory
        assert isinstance(value, np.ndarray)
        assert value.size == 1
        assert not parameter.is_pointer
        assert value.nbytes == parameter.bytes
        if parameter.dtype.names:
            return np.ctypeslib.as_ctypes_type(parameter.dtype).from_buffer_copy(value.tobytes())
        assert value.dtype == parameter.dtype
        return value[0]


class FakeModule:
    def __init__(self, gpu: "FakeGpu", path: str) -> None:
        gpu.call_unsafe()
        self.gpu, self.made_from = gpu, json.loads(Path(path).read_text())

    def get_function(self, symbol: str) -> FakeKernel:
        file, names = self.made_from["file"], self.made_from["names"]
        name = {f"symbol_of_{each}": each for each in names}[symbol]
        templates = [each for each in names if "<" in each]
        module = HostModule(file, name_expressions=templates, mode="fast")
        return FakeKernel(self.gpu, module.get_function(name))


class FakeGpu:
    """A GPU with `memory_bytes`, and the modules `cupy` and `cupyx` that would be imported."""

    def __init__(self, memory_bytes: int = 1 << 30) -> None:
        self.free_bytes, self.memory_bytes = memory_bytes, memory_bytes
        self.stream_numbers = count(1000)
        self.streams: WeakValueDictionary[int, FakeStream] = WeakValueDictionary()
        self.current: list[FakeStream] = []
        self.pinned: list[np.ndarray] = []
        self.properties = {
            "name": b"Fake GPU",
            "major": 9,
            "minor": 0,
            "multiProcessorCount": 132,
            "totalGlobalMem": memory_bytes,
            "sharedMemPerBlockOptin": 227 * 1024,
        }
        runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=lambda: 1,
            getDevice=lambda: 0,
            getDeviceProperties=lambda _: self.properties,
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13020,
            memGetInfo=lambda: (self.free_bytes, self.memory_bytes),
            memcpyAsync=self.copy,
            memcpyHostToDevice=1,
            memcpyDeviceToHost=2,
            streamCaptureModeThreadLocal=THREAD_LOCAL,
            streamCaptureModeRelaxed=RELAXED,
        )
        self.cupy = SimpleNamespace(
            ndarray=FakeArray,
            empty=self.empty,
            RawModule=lambda *, path: FakeModule(self, path),
            cuda=SimpleNamespace(
                runtime=runtime,
                driver=SimpleNamespace(CUDADriverError=CUDADriverError),
                memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
                Stream=lambda *, non_blocking: FakeStream(self, non_blocking),
            ),
        )
        self.cupyx = SimpleNamespace(empty_pinned=self.empty_pinned)

    def call_unsafe(self) -> None:
        """Do what a thread that captures must not do, unless its capture is relaxed."""
        for stream in self.streams.values():
            if stream.captured is None or stream.mode == RELAXED or stream.thread != get_ident():
                continue
            stream.invalid = True
            raise CUDARuntimeError(900, "cudaErrorStreamCaptureUnsupported")

    def empty(self, shape: tuple[int, ...], dtype: Any) -> FakeArray:
        assert self.current, "the memory would belong to the default stream"
        self.call_unsafe()
        bytes_ = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if bytes_ > self.free_bytes:
            raise OutOfMemoryError
        self.free_bytes -= bytes_
        return FakeArray(guarded_empty(shape, dtype))

    def empty_pinned(self, shape: int, dtype: Any) -> np.ndarray:
        self.pinned.append(np.empty(shape, dtype))
        return self.pinned[-1]

    def copy(self, to: int, come_from: int, size: int, kind: int, stream_ptr: int) -> None:
        stream = self.streams[stream_ptr]
        host = come_from if kind == 1 else to
        if any(p.ctypes.data <= host < p.ctypes.data + p.nbytes for p in self.pinned):
            stream.put(lambda: _move(to, come_from, size))
            return
        assert stream.captured is None, "a graph cannot copy from or to memory that may move"
        if kind == 1:  # CUDA reads all of it before it returns
            content = ctypes.string_at(come_from, size)
            stream.put(lambda: _move(to, content, size))
        else:  # CUDA may return early or late
            stream.put(lambda: _move(to, come_from, size))


def _move(to: int, come_from: int | bytes, size: int) -> None:
    ctypes.memmove(to, come_from, size)
