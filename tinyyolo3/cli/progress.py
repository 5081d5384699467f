"""A progress bar on standard error, for a terminal and a run worth watching."""

import shutil
import sys
import time
from types import TracebackType

#: Fewer pictures than this are done before anyone wonders.
FEWEST = 5
BAR_WIDTH = 24
#: A terminal is not written to more often, though `show` be called for each of a million pictures.
INTERVAL_S = 0.1


class Progress:
    """The bar: `show` draws it, `clear` takes it away before something else is printed."""

    def __init__(self, total: int, *, pictures: int = 1) -> None:
        """Begin with nothing done.

        Args:
            total: what `show` counts up to.
            pictures: how many pictures each of these has.
        """
        self._total, self._pictures = total, pictures
        self._start = time.monotonic()
        self._before: int | None = None
        self._visible = False
        self._drawn = 0.0  # when
        #: Whether there is a terminal, and enough to do, for a bar.
        self.wanted = total >= FEWEST and sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def show(self, done: int, note: str = "") -> None:
        """Draw the bar, if it is not there or was drawn a while ago.

        What is done at the first call took no time, another run did it.

        Args:
            done: of the total.
            note: what else to say, after the bar.
        """
        if not self.wanted:
            return
        now = time.monotonic()
        if self._before is None:
            self._before, self._start = done, now
        if self._visible and now - self._drawn < INTERVAL_S:
            return
        self._visible, self._drawn = True, now
        columns = shutil.get_terminal_size().columns
        line = describe_progress(
            done, self._total, now - self._start, self._before, pictures=self._pictures, note=note
        )[: columns - 1]
        print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._visible:
            self._visible = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def describe_progress(
    done: int, total: int, seconds: float, before: int = 0, *, pictures: int = 1, note: str = ""
) -> str:
    """Return the bar as text: how far, how fast, how much longer.

    Args:
        done: how many are done.
        total: of how many.
        seconds: the time that it took.
        before: how many of those done had been done before.
        pictures: how many pictures each has.
        note: what else to say.
    """
    filled = BAR_WIDTH * done // total
    text = f"[{'#' * filled}{'-' * (BAR_WIDTH - filled)}] {done}/{total}"
    if done != before and seconds > 0:
        speed = (done - before) / seconds
        minutes, rest = divmod(round((total - done) / speed), 60)
        text += f"  {speed * pictures:.1f} pictures/s  {minutes}:{rest:02d} left"
    return f"{text}  {note}" if note else text
