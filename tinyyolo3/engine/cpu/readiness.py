"""Whether compiled code is there, and who makes it while it is not.

On a fresh machine compiling takes longer than plain NumPy needs for the first pictures. So those
are answered by NumPy, while a *process* of its own compiles everything into the cache on disk. It
goes on when its parent ends, so that a command that runs for a second makes the next one quick.
A thread would not do: Numba's front end holds the interpreter's lock nearly all the time, and NumPy
would crawl. A thread does it all the same where no process can: no folder to keep code in, no
interpreter to start, a process that came to nothing.
"""

import atexit
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinyyolo3.cache import LOCK_NAME, PACKAGE, cache_folder, marker
from tinyyolo3.filelock import FileLock
from tinyyolo3.policy import VARIABLE, compile_policy

#: How a process ends that was not ended by a signal, or an exception of Windows'.
EXIT_STATUSES = range(128)
#: Seconds between two looks at the disk.
INTERVAL_S = 0.05
#: Seconds for which a compiler waits for one that was there before it; a look at the lock, which
#: takes it for a moment, must not send anybody away.
GLANCE_S, PATIENCE_S = 1.0, 300.0


class Readiness:
    """Finds out whether compiled code is there, and has it made once."""

    def __init__(self) -> None:
        self._ready = False
        self._next_look = 0.0
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def ask(self) -> bool:
        """Answer `ready`."""
        policy = compile_policy()
        if policy != "background" or self._ready:
            return policy != "never"
        with self._lock:
            if not self._ready and time.monotonic() >= self._next_look:
                self._ready = self._look()
                self._next_look = time.monotonic() + INTERVAL_S
            return self._ready

    def _look(self) -> bool:
        if self._thread is not None:
            # If it failed, compiling once more in the call that needs it will say how.
            return not self._thread.is_alive()
        folder = cache_folder()
        if folder is not None:
            if self._child is not None and self._child.poll() is None:
                return False
            if marker(folder).exists():
                return True
            if FileLock(folder / LOCK_NAME).held_elsewhere():
                return False
            if marker(folder).exists():  # made between the two questions
                return True
            if self._child is None:
                self._child = start_process()
        status = None if self._child is None else self._child.poll()
        # One that crashed in the compiler would take us along: then it is NumPy for good.
        if self._child is None or status in EXIT_STATUSES:
            self._thread = start_thread()
        return False


class _Detached(subprocess.Popen[bytes]):
    """A process that is meant to outlive this one: Python would warn of it at exit."""

    def __del__(self) -> None:
        pass


def start_process() -> subprocess.Popen[bytes] | None:
    """Start ``tinyyolo3 warmup --background`` on its own; None where that cannot be done."""
    interpreter = Path(sys.executable or "")
    # An embedded interpreter may name its host here, which would do who knows what.
    if getattr(sys, "frozen", False) or not interpreter.name.lower().startswith("python"):
        return None
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    try:
        return _Detached(
            # Not from the current folder (-P), where any module may lie, but from where we are.
            [str(interpreter), "-P", "-m", "tinyyolo3", "warmup", "--background"],
            env=os.environ | {"PYTHONPATH": _search_path(), VARIABLE: "now"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=flags,
            start_new_session=os.name == "posix",
        )
    except OSError:
        return None


def _search_path() -> str:
    """Return where this process imports from, in the same order."""
    own = [os.path.abspath(place) for place in sys.path if isinstance(place, str)]
    return os.pathsep.join(dict.fromkeys([*own, str(PACKAGE.parent)]))


def start_thread() -> threading.Thread:
    """Start compiling in a thread of this process; it stops between two pieces at exit."""
    stop = threading.Event()
    thread = threading.Thread(
        target=_compile, kwargs={"stop": stop}, name="tinyyolo3-compile", daemon=True
    )
    thread.start()

    def finish() -> None:
        # A thread that the end of the process meets inside LLVM could crash it.
        stop.set()
        thread.join()

    atexit.register(finish)
    return thread


@dataclass(frozen=True)
class Warmup:
    """What `warmup` did.

    Attributes:
        folder: where the code is kept; None if it is not.
        seconds: how long compiling took; None if it was not needed.
    """

    folder: Path | None
    seconds: float | None


def warmup(
    progress: Callable[[int, int], None] | None = None, *, background: bool = False
) -> Warmup:
    """Compile all that detection needs, and keep it on disk for this and later processes.

    Without it a fresh machine answers the first pictures by plain NumPy, and compiles meanwhile.

    Args:
        progress: called with the number of finished pieces, and of all.
        background: leave it to another process that is compiling already, rather than wait for it.
    """
    folder = cache_folder()
    if folder is None:
        return Warmup(None, _compile(progress))
    if marker(folder).exists():
        return Warmup(folder, None)
    lock = FileLock(folder / LOCK_NAME)
    # Compiling at the same time as somebody else is not wrong, so waiting has an end.
    if not lock.acquire(GLANCE_S if background else PATIENCE_S) and background:
        return Warmup(folder, None)
    try:
        if marker(folder).exists():
            return Warmup(folder, None)
        seconds = _compile(progress)
        marker(folder).touch()
        return Warmup(folder, seconds)
    finally:
        lock.release()


def _compile(
    progress: Callable[[int, int], None] | None = None, stop: threading.Event | None = None
) -> float:
    """Compile everything and return how many seconds it took; `stop` ends it early."""
    start = time.perf_counter()
    # It imports the engine, which imports this module.
    from tinyyolo3.engine.cpu.compilation import compilation

    pieces = compilation()
    for done, piece in enumerate(pieces):
        if stop is not None and stop.is_set():
            break
        if progress is not None:
            progress(done, len(pieces))
        piece()
    return time.perf_counter() - start


#: Of this process.
_readiness = Readiness()


def ready() -> bool:
    """Return whether compiled code is to be used now; have it compiled where it is missing.

    Raises:
        InputError: the environment names no known policy.
    """
    return _readiness.ask()


def _forget() -> None:
    """Begin anew in a forked child, where the parent's thread and process are not."""
    global _readiness
    _readiness = Readiness()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
