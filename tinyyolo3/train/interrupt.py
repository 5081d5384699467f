"""Ctrl-C at a moment when nothing is half done.

An iteration changes parameters in place; an exception in the midst of it would leave them neither
old nor new. So signals that ask a training to end are noted, and it ends when it can.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: Ctrl-C, and what systems send before they end a process by force.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred_signals(told: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Hold the first `SIGNALS` back until the block ends; a second one acts at once.

    Only the main thread may ask for this; elsewhere nothing is changed, and nothing ever stops.

    Args:
        told: is called when the first one comes.

    Yields:
        Returns whether one has come, so that the block should end soon.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            restore()
            signal.raise_signal(number)
        else:
            told()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        restore()
    if received:
        signal.raise_signal(received[0])
