"""The target that is a GPU: CuPy for memory, streams and launches; the kernels are our own cubins.

CuPy compiles nothing here: no CUDA toolkit and none of its headers are needed, only a driver. It is
imported when the target is opened, so that the package works without it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.cuda.arguments import check_copy, check_launch, check_outputs, convert_arguments
from tinyyolo3.cuda.cubins import find_cubin
from tinyyolo3.cuda.device import Gpu, cuda_errors, find_gpu
from tinyyolo3.cuda.overlap import LEAST_ARCHITECTURE, WAITS, launch_overlapping
from tinyyolo3.cuda.signature import Signature, kernel_names, read_signature
from tinyyolo3.cuda.sources import kernel_folder, read_source
from tinyyolo3.cuda.target import DeviceArray, Kernel
from tinyyolo3.errors import BackendError, InputError

#: Dynamic shared memory that every kernel may have; for more it must be asked (sm_70 and later).
PLAIN_SHARED_BYTES = 48 * 1024


def open_cuda() -> "CudaTarget":
    """Return the GPU as a target: CUDA's current device, which CUDA_VISIBLE_DEVICES chooses.

    Raises:
        BackendError: CuPy, NVRTC, the driver or a GPU that is new enough is missing, in one
            sentence that says what to do.
    """
    cupy, gpu = find_gpu()
    return CudaTarget(_Modules(cupy, gpu))


class CudaTarget:
    """A GPU with a stream of its own, in which launches and copies run in order.

    It belongs to one thread at a time. Arrays are `cupy.ndarray`; those of one target may be used
    by its forks when nothing writes to them any more. An array must live until the launches and
    copies that use it are done.

    Attributes:
        gpu: what it runs on.
        overlap: whether kernels that wait for the launch before them by themselves may begin
            before it has ended, where the GPU can do that (`cuda.overlap`); they may.
    """

    name = "cuda"

    def __init__(self, modules: "_Modules") -> None:
        self.gpu = modules.gpu
        self._modules, self._cupy = modules, modules.cupy
        self._runtime: Any = self._cupy.cuda.runtime
        with cuda_errors(self._cupy, "a new stream"):
            # Not even the default stream is waited for.
            self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self._capturing = False
        self.overlap = True

    @property
    def stream(self) -> Any:
        """The stream, a `cupy.cuda.Stream`: events on it time what is launched."""
        return self._stream

    def kernel(self, file: str, name: str) -> Kernel:
        """Return a kernel that is launched on this target's stream."""
        loaded = self._modules.load(file, name)
        signature, raw = loaded.signature, loaded.raw

        def launch(
            grid: tuple[int, ...],
            block: tuple[int, ...],
            args: Sequence[Any],
            *,
            shared_mem: int = 0,
            outputs: Sequence[DeviceArray] = (),
        ) -> None:
            sizes = check_launch(signature, grid, block)
            values = convert_arguments(signature, args, self._cupy.ndarray)
            check_outputs(signature, args, outputs)
            with cuda_errors(self._cupy, f"{name}{grid}{block}"), self._stream:
                self._modules.allow_shared(loaded, shared_mem)
                if self.overlap and loaded.overlaps:
                    function, stream = raw.kernel.ptr, self._stream.ptr
                    launch_overlapping(name, function, sizes, values, shared_mem, stream)
                else:
                    raw(*sizes, tuple(values), shared_mem=shared_mem)

        return launch

    def upload(self, array: NDArray[Any]) -> DeviceArray:
        """Return a copy of `array` on the GPU, which is there when this returns."""
        array = np.ascontiguousarray(array)
        copy = self._allocate(array.shape, array.dtype)
        self.copy_in(copy, array)
        self.synchronize()
        return copy

    def empty(self, count: int, dtype: DTypeLike = np.float32) -> DeviceArray:
        """Return a new array of one dimension, its contents undefined."""
        return self._allocate((count,), np.dtype(dtype))

    def download(self, array: DeviceArray) -> NDArray[Any]:
        """Return a copy of `array`, once everything on this stream is done."""
        copy = np.empty(array.shape, array.dtype)
        self.copy_out(copy, array)
        self.synchronize()
        return copy

    def synchronize(self) -> None:
        """Wait until everything on this stream is done.

        Raises:
            KernelError: a kernel failed; on a GPU that shows only now.
        """
        with cuda_errors(self._cupy, "the kernels so far"):
            self._stream.synchronize()

    def pinned(self, count: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return an array that the system keeps in place, so that the GPU can reach it."""
        from cupyx import empty_pinned

        bytes_ = count * np.dtype(dtype).itemsize
        with cuda_errors(self._cupy, f"{bytes_:,} bytes of page-locked memory"):
            array: NDArray[Any] = empty_pinned(count, dtype)
        return array

    def copy_in(self, destination: DeviceArray, source: NDArray[Any]) -> None:
        """Begin to copy `source` to the GPU; at once only if it is `pinned`."""
        self._copy(destination, source, destination.data.ptr, source.ctypes.data, "HostToDevice")

    def copy_out(self, destination: NDArray[Any], source: DeviceArray) -> None:
        """Begin to copy from the GPU to `destination`; at once only if it is `pinned`."""
        self._copy(destination, source, destination.ctypes.data, source.data.ptr, "DeviceToHost")

    def capture(self, record: Callable[[], None]) -> Callable[[], None]:
        """Run `record`, then run it again into a CUDA graph, and return the graph's launch.

        The first run loads what is loaded only when it is first used, which must not happen while
        a graph is made.

        Raises:
            InputError: `record` allocates memory.
            KernelError: a launch fails, or `record` waits.
        """
        record()
        self.synchronize()
        # Python collects garbage when it likes: it may free other graphs, streams or modules in
        # the middle of this. In every other mode that is an error, which takes the capture with it.
        mode = self._runtime.streamCaptureModeRelaxed
        with cuda_errors(self._cupy, "a CUDA graph"), self._stream:
            self._stream.begin_capture(mode=mode)
            self._capturing = True
            try:
                record()
            except BaseException:
                self._abandon_capture()
                raise
            self._capturing = False
            graph = self._stream.end_capture()
            graph.upload(self._stream)

        def replay() -> None:
            with cuda_errors(self._cupy, "a CUDA graph"):
                graph.launch(self._stream)

        # The graph has only the addresses of the arrays: this keeps them alive.
        replay.record = record  # type: ignore[attr-defined]
        return replay

    def fork(self) -> "CudaTarget":
        """Return the same GPU with the same kernels and a stream of its own."""
        return CudaTarget(self._modules)

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> DeviceArray:
        if self._capturing:
            raise InputError("CudaTarget: memory is allocated before a graph is captured")
        bytes_ = int(np.prod(shape)) * dtype.itemsize
        # CuPy's pool gives memory back to the stream that it was taken for.
        with cuda_errors(self._cupy, f"{bytes_:,} bytes"), self._stream:
            return self._cupy.empty(shape, dtype)

    def _copy(self, destination: Any, source: Any, to: int, come_from: int, kind: str) -> None:
        check_copy(destination, source)
        if source.nbytes:
            direction = getattr(self._runtime, f"memcpy{kind}")
            with cuda_errors(self._cupy, "a copy"):
                self._runtime.memcpyAsync(to, come_from, source.nbytes, direction, self._stream.ptr)

    def _abandon_capture(self) -> None:
        """End a capture that failed; what it has recorded so far is of no use."""
        self._capturing = False
        try:
            self._stream.end_capture()
        except Exception:  # the failure itself is on its way to the caller
            return


@dataclass
class _Loaded:
    """A kernel on the GPU.

    Attributes:
        signature: as its source declares it.
        raw: `cupy.RawKernel`.
        overlaps: it may begin before the launch before it has ended.
        shared_bytes: the dynamic shared memory that it may have.
    """

    signature: Signature
    raw: Any
    overlaps: bool
    shared_bytes: int = PLAIN_SHARED_BYTES


class _Modules:
    """The kernels that a GPU has loaded; one target and its forks share them."""

    def __init__(self, cupy: Any, gpu: Gpu) -> None:
        self.cupy, self.gpu = cupy, gpu
        self._loaded: dict[tuple[str, str], _Loaded] = {}
        self._lock = threading.Lock()

    def load(self, file: str, name: str) -> _Loaded:
        """Return a kernel, compiled and loaded if need be."""
        with self._lock:
            if (file, name) not in self._loaded:
                self._load_file(file, name)
            return self._loaded[file, name]

    def allow_shared(self, loaded: _Loaded, shared_bytes: int) -> None:
        """Let a kernel have so much dynamic shared memory."""
        if shared_bytes <= loaded.shared_bytes:
            return
        if shared_bytes > self.gpu.shared_bytes:
            raise BackendError(
                f"{loaded.signature.name}: {shared_bytes:,} bytes of shared memory needed, "
                f"{self.gpu.name} has {self.gpu.shared_bytes:,} for a block"
            )
        loaded.raw.max_dynamic_shared_size_bytes = shared_bytes
        loaded.shared_bytes = shared_bytes

    def _load_file(self, file: str, name: str) -> None:
        """Load a template's instance, or all plain kernels of the file at once."""
        source = read_source(kernel_folder() / file)
        read_signature(source.everything, name, file=file)  # refuses what is not there
        names = [name] if "<" in name else kernel_names(source.text)[0]
        cubin = find_cubin(source, names, self.gpu.architecture)
        new_enough = int(self.gpu.architecture.removeprefix("sm_")) >= LEAST_ARCHITECTURE
        overlaps = new_enough and WAITS in source.everything
        with cuda_errors(self.cupy, file):
            module = self.cupy.RawModule(path=str(cubin.file))
            for each in names:
                raw = module.get_function(cubin.symbols[each])
                # The driver loads a kernel's code when it is first used; asking for an attribute
                # makes it do so now, and not while a graph is captured.
                _ = raw.num_regs
                declared = read_signature(source.everything, each, file=file)
                self._loaded[file, each] = _Loaded(declared, raw, overlaps)
