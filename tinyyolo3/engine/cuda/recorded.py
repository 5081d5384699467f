"""Launches that run again and again, captured as one."""

from collections.abc import Callable

from tinyyolo3.cuda.target import Target


class Recorded:
    """Calls a function that launches kernels and copies; from the second time on as one graph."""

    def __init__(self, target: Target, launch: Callable[[], None]) -> None:
        """Note what to launch; nothing runs yet.

        Args:
            target: what `launch` launches on.
            launch: launches the same kernels on the same memory whenever it is called.
        """
        self._target, self._launch = target, launch
        self._replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Begin what `launch` begins."""
        if self._replay is None:
            self._replay = self._target.capture(self._launch)
        else:
            self._replay()
