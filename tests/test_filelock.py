"""A lock belongs to one at a time, and to nobody when its process is gone."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tinyyolo3.filelock import FileLock

HOLD = """
import sys, time
from pathlib import Path
from tinyyolo3.filelock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_one_at_a_time(place: Path) -> None:
    first, second = FileLock(place), FileLock(place)
    assert not first.held_elsewhere()
    assert first.acquire()
    assert second.held_elsewhere()
    assert not first.held_elsewhere()
    assert not second.acquire()
    second.release()  # of what it has not
    assert second.held_elsewhere()
    first.release()
    assert not second.held_elsewhere()
    assert second.acquire()
    second.release()


def test_waiting_ends_when_the_other_lets_go(place: Path) -> None:
    first, second = FileLock(place), FileLock(place)
    first.acquire()
    timer = threading.Timer(0.1, first.release)
    timer.start()
    assert second.acquire(timeout_s=30)
    timer.join()
    second.release()


def test_a_killed_process_lets_go(place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert FileLock(place).held_elsewhere()
        process.kill()
    assert FileLock(place).acquire()


def test_where_no_file_can_be_everybody_gets_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "no folder" / "lock")
    assert lock.acquire()
    lock.release()
    assert not lock.held_elsewhere()
