"""A target that is as late as a GPU may be: nothing runs before it is waited for.

On the host every launch is done when it returns, so that whoever forgets to wait, or writes into
memory that a copy has yet to read, is never found out. Here launches and copies are only noted, and
carried out in order when the stream is waited for; while a graph is captured, nothing may allocate
or wait.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import DeviceArray, Kernel


class DeferredTarget:
    """A host target with streams: each fork runs its own work, when it is waited for."""

    name = "host"

    def __init__(self, host: HostTarget) -> None:
        """Take the target that is to do the work in the end."""
        self._host = host
        self._working = Lock()  # the host does one thing at a time, whichever stream waits
        self._pending: list[Callable[[], None]] = []
        self._captured: list[Callable[[], None]] | None = None

    @property
    def done(self) -> bool:
        """Whether nothing waits."""
        return not self._pending

    def _later(self, work: Callable[[], None]) -> None:
        (self._pending if self._captured is None else self._captured).append(work)

    def _not_captured(self) -> None:
        assert self._captured is None, "this may not happen while a graph is captured"

    def kernel(self, file: str, name: str) -> Kernel:
        """Return a kernel whose launches wait."""
        launch = self._host.kernel(file, name)

        def later(
            grid: tuple[int, ...],
            block: tuple[int, ...],
            args: Sequence[Any],
            *,
            shared_mem: int = 0,
            outputs: Sequence[DeviceArray] = (),
        ) -> None:
            self._later(lambda: launch(grid, block, args, shared_mem=shared_mem, outputs=outputs))

        return later

    def upload(self, array: NDArray[Any]) -> DeviceArray:
        """Copy, after all that waits."""
        self.synchronize()
        return self._host.upload(array)

    def empty(self, count: int, dtype: DTypeLike = np.float32) -> DeviceArray:
        """Return a new array."""
        self._not_captured()
        return self._host.empty(count, dtype)

    def download(self, array: DeviceArray) -> NDArray[Any]:
        """Do all that waits, and copy."""
        self.synchronize()
        return self._host.download(array)

    def synchronize(self) -> None:
        """Do all that waits."""
        self._not_captured()
        pending, self._pending = self._pending, []
        with self._working:
            for work in pending:
                work()

    def pinned(self, count: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return a new array."""
        self._not_captured()
        return self._host.pinned(count, dtype)

    def copy_in(self, destination: DeviceArray, source: NDArray[Any]) -> None:
        """Copy what `source` holds when it is waited for."""
        self._later(lambda: self._host.copy_in(destination, source))

    def copy_out(self, destination: NDArray[Any], source: DeviceArray) -> None:
        """Copy when it is waited for."""
        self._later(lambda: self._host.copy_out(destination, source))

    def capture(self, record: Callable[[], None]) -> Callable[[], None]:
        """Run `record`, and note what it does for replaying."""
        record()
        self.synchronize()
        captured: list[Callable[[], None]] = []
        self._captured = captured
        try:
            record()
        finally:
            self._captured = None
        return lambda: self._pending.extend(captured)

    def fork(self) -> "DeferredTarget":
        """Return a stream of its own."""
        other = DeferredTarget(self._host)
        other._working = self._working
        return other
