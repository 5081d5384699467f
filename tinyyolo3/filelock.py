"""A lock among processes: an open file that the system holds for one of them.

The system lets go of it when its process ends, however that happens, so a lock is never stale and
nobody has to judge whether a process with some number is still the one that wrote it down.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: Seconds between two attempts.
PAUSE = 0.05


class FileLock:
    """A lock on a file, which is made if need be and stays; for one thread at a time.

    Where the file system knows no locks, or the file cannot be written, everybody gets it: what
    the lock guards must be right without it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self, timeout_s: float = 0.0) -> bool:
        """Take the lock within so many seconds, and return whether that succeeded."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return True
        end = time.monotonic() + timeout_s
        while not _lock(file):
            if time.monotonic() >= end:
                os.close(file)
                return False
            time.sleep(PAUSE)
        self._file = file
        return True

    def release(self) -> None:
        """Let go of the lock, if it is held."""
        if self._file is not None:
            _unlock(self._file)
            os.close(self._file)
            self._file = None

    def held_elsewhere(self) -> bool:
        """Return whether another process, or another `FileLock`, holds it now."""
        if self._file is not None:
            return False
        if not self.acquire():
            return True
        self.release()
        return False


if sys.platform == "win32":

    def _lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        except OSError:
            return True
        return True

    def _unlock(file: int) -> None:
        with suppress(OSError):
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks on this file system
            return True
        return True

    def _unlock(file: int) -> None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
