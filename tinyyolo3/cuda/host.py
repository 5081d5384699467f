"""The target that needs no GPU: kernels run on the CPU, their memory is NumPy's."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.cuda.arguments import check_copy
from tinyyolo3.cuda.host_memory import Untouched, guarded_empty
from tinyyolo3.cuda.host_module import HostKernel, HostModule
from tinyyolo3.cuda.sources import kernel_folder
from tinyyolo3.cuda.target import DeviceArray, Kernel
from tinyyolo3.errors import KernelError

__all__ = ["HostKernel", "HostModule", "HostTarget", "KernelError"]


class HostTarget:
    """Runs kernels on the CPU, one after the other, each to its end before the launch returns.

    Args:
        mode: "fast" or "check", see `HostModule`.
        seed: of the order of threads and blocks, other for each launch; 0 is the natural order.
    """

    name = "host"

    def __init__(self, mode: str = "fast", seed: int = 0) -> None:
        self.mode, self.seed = mode, seed
        self._modules: dict[tuple[str, str], HostModule] = {}
        self._kernels: dict[tuple[str, str], Kernel] = {}
        self._untouched = Untouched()
        self._launches = 0

    def kernel(self, file: str, name: str) -> Kernel:
        """Return a kernel; plain ones of a file are built together, each template on its own."""
        if (file, name) not in self._kernels:
            self._kernels[file, name] = self._launcher(self._function(file, name))
        return self._kernels[file, name]

    def upload(self, array: NDArray[Any]) -> DeviceArray:
        """Return a copy of `array` that ends before a page without access."""
        copy = guarded_empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def empty(self, count: int, dtype: DTypeLike = np.float32) -> DeviceArray:
        """Return an array full of NaN (-1 as integers); in check mode reading it is an error."""
        array = guarded_empty(count, dtype)
        if self.mode == "check":
            self._untouched.add(array)
        return array

    def download(self, array: DeviceArray) -> NDArray[Any]:
        """Return a copy of `array`."""
        return np.array(array)

    def synchronize(self) -> None:
        """Do nothing: every launch is done when it returns."""

    def pinned(self, count: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return a plain array."""
        return np.empty(count, dtype)

    def copy_in(self, destination: DeviceArray, source: NDArray[Any]) -> None:
        """Copy `source` to `destination`."""
        check_copy(destination, source)
        self._untouched.remove(destination)
        destination[...] = source

    def copy_out(self, destination: NDArray[Any], source: DeviceArray) -> None:
        """Copy `source` to `destination`."""
        check_copy(destination, source)
        destination[...] = source

    def capture(self, record: Callable[[], None]) -> Callable[[], None]:
        """Run `record`, and return it."""
        record()
        return record

    def fork(self) -> "HostTarget":
        """Return this target: there is one stream."""
        return self

    def _function(self, file: str, name: str) -> HostKernel:
        instance = name if "<" in name else ""
        if (file, instance) not in self._modules:
            self._modules[file, instance] = HostModule(
                kernel_folder() / file,
                name_expressions=[name] if instance else [],
                mode=self.mode,
            )
        return self._modules[file, instance].get_function(name)

    def _launcher(self, kernel: HostKernel) -> Kernel:
        """Return a kernel that keeps account of what has been written."""

        def launch(
            grid: tuple[int, ...],
            block: tuple[int, ...],
            args: Sequence[Any],
            *,
            shared_mem: int = 0,
            outputs: Sequence[DeviceArray] = (),
        ) -> None:
            self._launches += 1
            arrays = [a for a in args if isinstance(a, np.ndarray)]
            unwritten = [a for a in arrays if self._untouched.has(a)]
            seed = self.seed and self.seed + self._launches
            kernel(
                grid, block, args, shared_mem=shared_mem, outputs=outputs, unwritten=unwritten,
                seed=seed,
            )  # fmt: skip
            for parameter, value in zip(kernel.signature.parameters, args, strict=True):
                if isinstance(value, np.ndarray) and not parameter.is_const:
                    self._untouched.remove(value)

        return launch
