"""One launch of a primitive, and what of its outputs is wrong."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.target import Target

Array = NDArray[Any]
KERNELS = Path(__file__).parent / "kernels"


@dataclass(frozen=True)
class Launch:
    """One launch of a primitive.

    Attributes:
        kernel: its name in `file`.
        args: the arguments before the outputs; arrays are uploaded.
        outputs: the outputs as they are before the launch.
        grid: blocks.
        block: threads of a block.
        shared_mem: bytes of dynamic shared memory.
        file: of the folder ``kernels``.
        least_architecture: the oldest GPU that has the primitive: 80 for sm_80.
    """

    kernel: str
    args: tuple[Any, ...]
    outputs: tuple[Array, ...]
    grid: int = 1
    block: int = 64
    shared_mem: int = 0
    file: str = "primitives.cu"
    least_architecture: int = 75

    def runs_on(self, target: Target) -> bool:
        """Whether the target has the primitive."""
        gpu: Any = getattr(target, "gpu", None)
        return gpu is None or int(gpu.architecture.removeprefix("sm_")) >= self.least_architecture

    def run(self, target: Target) -> list[Array]:
        """Return the outputs after a launch on `target`."""
        args = [target.upload(a) if isinstance(a, np.ndarray) else a for a in self.args]
        outputs = [target.upload(array) for array in self.outputs]
        target.kernel(str(KERNELS / self.file), self.kernel)(
            (self.grid,), (self.block,), (*args, *outputs), shared_mem=self.shared_mem
        )
        target.synchronize()
        return [target.download(array) for array in outputs]


def poison(count: int, dtype: type = np.int32) -> Array:
    """Return an output that nobody has written yet."""
    return np.full(count * np.dtype(dtype).itemsize, 0xFF, np.uint8).view(dtype)


def wrong(found: list[Array], expected: list[Array]) -> int:
    """Return how many numbers differ in a bit."""
    return sum(
        int((a.view(np.uint8) != b.view(np.uint8)).reshape(len(a), -1).any(axis=1).sum())
        for a, b in zip(found, expected, strict=True)
    )
