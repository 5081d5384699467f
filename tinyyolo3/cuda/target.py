"""Where kernels run: an NVIDIA GPU, or the CPU for checking them.

Everything above this room is written once for both. Arrays of a target are NumPy's on the host and
CuPy's on a GPU, and support slicing and `view` alike.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: A contiguous array in the target's memory: `numpy.ndarray` or `cupy.ndarray`.
DeviceArray = Any


class Kernel(Protocol):
    """One kernel, ready to be launched."""

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        outputs: Sequence[DeviceArray] = (),
    ) -> None:
        """Launch it on the target's stream.

        Args:
            grid: blocks along x, y, z.
            block: threads along x, y, z.
            args: arrays, None for a null pointer, Python or NumPy numbers, `ctypes.Structure`s;
                numbers are converted to the types that the kernel declares.
            shared_mem: bytes of dynamic shared memory.
            outputs: those arrays of `args` of which the kernel must write every element; checked
                where the target can.
        """


class Target(Protocol):
    """A place where kernels run.

    Attributes:
        name: "host" or "cuda".
    """

    name: str

    def kernel(self, file: str, name: str) -> Kernel:
        """Return a kernel of ``kernels/<file>``, compiled if need be.

        Args:
            file: such as "maxpool.cu".
            name: the function, with its template arguments if it has any:
                "convolution_blocked<128, 64, 8, 4>".
        """

    def upload(self, array: NDArray[Any]) -> DeviceArray:
        """Return a copy of `array` in the target's memory."""

    def empty(self, count: int, dtype: DTypeLike = np.float32) -> DeviceArray:
        """Return a new array of one dimension, its contents undefined."""

    def download(self, array: DeviceArray) -> NDArray[Any]:
        """Return a copy of `array` in NumPy's memory, once all launches so far are done."""

    def synchronize(self) -> None:
        """Wait until all launches so far are done."""

    def pinned(self, count: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return a NumPy array that the target copies to and from without delay."""

    def copy_in(self, destination: DeviceArray, source: NDArray[Any]) -> None:
        """Begin to copy a pinned array to the target's memory, after the launches so far."""

    def copy_out(self, destination: NDArray[Any], source: DeviceArray) -> None:
        """Begin to copy from the target's memory to a pinned array, after the launches so far."""

    def capture(self, record: Callable[[], None]) -> Callable[[], None]:
        """Run `record`, and return a function that repeats what it launched and copied.

        On a GPU that is a CUDA graph: `record` is run twice, and may neither allocate nor wait.
        """

    def fork(self) -> "Target":
        """Return the same target with a stream of its own: it does not wait for this one's work."""
