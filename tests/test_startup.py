"""On a fresh machine plain NumPy answers while another process compiles, once for all."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tinyyolo3
from tinyyolo3 import cache, stages
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.cache import LOCK_NAME, marker
from tinyyolo3.engine.cpu import compilation, readiness
from tinyyolo3.engine.cpu.arithmetic import HAS_BFLOAT16
from tinyyolo3.engine.cpu.panels import PANEL_KERNELS
from tinyyolo3.engine.cpu.readiness import Readiness, Warmup
from tinyyolo3.errors import BackendError, InputError
from tinyyolo3.filelock import FileLock

TIMEOUT_S = 120


class FakeProcess:
    """A process that runs until the test says how it ended."""

    def __init__(self) -> None:
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


class FakeThread:
    """The same for a thread."""

    def __init__(self) -> None:
        self.alive = True

    def is_alive(self) -> bool:
        return self.alive


class Machine:
    """What `Readiness` sees and starts, without any of it being real."""

    def __init__(self, folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.processes: list[FakeProcess] = []
        self.threads: list[FakeThread] = []
        self.can_start = True
        monkeypatch.setenv("TINYYOLO3_COMPILE", "background")
        monkeypatch.setattr(readiness, "INTERVAL_S", 0.0)
        monkeypatch.setattr(readiness, "cache_folder", lambda: self.folder)
        monkeypatch.setattr(readiness, "start_process", self.start_process)
        monkeypatch.setattr(readiness, "start_thread", self.start_thread)

    def start_process(self) -> FakeProcess | None:
        if not self.can_start:
            return None
        self.processes.append(FakeProcess())
        return self.processes[-1]

    def start_thread(self) -> FakeThread:
        self.threads.append(FakeThread())
        return self.threads[-1]

    @property
    def started(self) -> tuple[int, int]:
        return len(self.processes), len(self.threads)

    def finish(self) -> None:
        assert self.folder is not None
        marker(self.folder).touch()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


class TestReadiness:
    @pytest.mark.parametrize(("policy", "answer"), [("now", True), ("never", False)])
    def test_a_policy_decides_alone(self, machine, monkeypatch, policy, answer) -> None:
        monkeypatch.setenv("TINYYOLO3_COMPILE", policy)
        assert Readiness().ask() is answer
        machine.finish()
        assert Readiness().ask() is answer
        assert machine.started == (0, 0)

    def test_an_unknown_policy_is_refused(self, monkeypatch) -> None:
        monkeypatch.setenv("TINYYOLO3_COMPILE", "later")
        with pytest.raises(InputError, match=r"'later'.*background, now and never"):
            readiness.ready()

    def test_complete_code_is_used_at_once(self, machine) -> None:
        machine.finish()
        assert Readiness().ask()
        assert machine.started == (0, 0)

    def test_one_process_is_started_and_its_end_noticed(self, machine) -> None:
        code = Readiness()
        assert [code.ask() for _ in range(3)] == [False] * 3
        machine.finish()
        assert not code.ask()  # its own process is seen to its end, or it would stay a zombie
        machine.processes[0].returncode = 0
        assert code.ask()
        assert machine.started == (1, 0)

    def test_others_who_compile_are_waited_for(self, machine) -> None:
        code, lock = Readiness(), FileLock(machine.folder / LOCK_NAME)
        lock.acquire()
        assert not code.ask()
        assert machine.started == (0, 0)
        lock.release()  # they were stopped
        assert not code.ask()
        assert machine.started == (1, 0)

    def test_a_process_that_left_it_to_others_has_not_failed(self, machine) -> None:
        code, lock = Readiness(), FileLock(machine.folder / LOCK_NAME)
        assert not code.ask()
        lock.acquire()
        machine.processes[0].returncode = 0
        assert not code.ask()
        machine.finish()
        lock.release()
        assert code.ask()
        assert machine.started == (1, 0)

    def test_a_failed_process_is_followed_by_a_thread(self, machine) -> None:
        code = Readiness()
        assert not code.ask()
        machine.processes[0].returncode = 1
        assert [code.ask(), code.ask()] == [False, False]
        assert machine.started == (1, 1)
        machine.threads[0].alive = False
        assert code.ask()

    @pytest.mark.parametrize("status", [-6, -9, 0xC0000005])
    def test_a_crash_is_not_repeated_in_this_process(self, machine, status) -> None:
        code = Readiness()
        assert not code.ask()
        machine.processes[0].returncode = status
        assert [code.ask(), code.ask()] == [False, False]
        assert machine.started == (1, 0)

    def test_a_thread_compiles_where_no_process_can_start(self, machine) -> None:
        machine.can_start = False
        code = Readiness()
        assert [code.ask(), code.ask()] == [False, False]
        assert machine.started == (0, 1)

    def test_a_thread_compiles_where_no_folder_can_be_written(self, machine) -> None:
        machine.folder = None
        code = Readiness()
        assert [code.ask(), code.ask()] == [False, False]
        assert machine.started == (0, 1)
        machine.threads[0].alive = False
        assert code.ask()

    def test_the_disk_is_looked_at_now_and_then(self, machine, monkeypatch) -> None:
        monkeypatch.setattr(readiness, "INTERVAL_S", 1e9)
        code = Readiness()
        assert not code.ask()
        machine.finish()
        assert not code.ask()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_begins_anew(self) -> None:
        before = readiness._readiness
        try:
            readiness._forget()
            assert readiness._readiness is not before
        finally:
            readiness._readiness = before


class TestStarting:
    @pytest.mark.parametrize("executable", ["", None, "/usr/bin/blender", "/no/folder/python3"])
    def test_no_process_without_an_interpreter(self, monkeypatch, executable) -> None:
        monkeypatch.setattr(sys, "executable", executable)
        assert readiness.start_process() is None

    def test_no_process_from_a_frozen_program(self, monkeypatch) -> None:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        assert readiness.start_process() is None

    def test_a_process_takes_no_module_from_the_current_folder(self, tmp_path, monkeypatch) -> None:
        trap, sprung = tmp_path / "trap", tmp_path / "sprung"
        trap.mkdir()
        for module in ("tinyyolo3", "numpy", "argparse"):
            (trap / f"{module}.py").write_text(f"open({str(sprung)!r}, 'w')\n")
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(cache._config, "CACHE_DIR", str(tmp_path))
        place = next(cache._places())
        folder = place / (cache.PREFIX + cache.package_digest(cache.PACKAGE))
        folder.mkdir(parents=True)
        marker(folder).touch()  # so it has nothing to do
        monkeypatch.setattr(sys, "path", [os.path.abspath(place) for place in sys.path])
        monkeypatch.chdir(trap)
        process = readiness.start_process()
        assert process is not None
        assert process.wait(TIMEOUT_S) == 0
        assert not sprung.exists()

    def test_a_thread_stops_between_two_pieces_at_exit(self, monkeypatch) -> None:
        running, go, done = threading.Event(), threading.Event(), []

        def first() -> None:
            running.set()
            go.wait(TIMEOUT_S)
            done.append(1)

        monkeypatch.setattr(compilation, "compilation", lambda: [first, lambda: done.append(2)])
        at_exit: list[Callable[[], None]] = []
        monkeypatch.setattr(readiness.atexit, "register", at_exit.append)
        thread = readiness.start_thread()
        assert running.wait(TIMEOUT_S)
        ending = threading.Thread(target=at_exit[0])
        ending.start()
        time.sleep(0.05)
        assert ending.is_alive()  # it waits for the piece
        go.set()
        ending.join(TIMEOUT_S)
        assert not thread.is_alive()
        assert done == [1]


class TestWarmup:
    @pytest.fixture
    def pieces(self, tmp_path, monkeypatch) -> list[str]:
        done: list[str] = []
        work = [lambda: done.append("a"), lambda: done.append("b")]
        monkeypatch.setattr(compilation, "compilation", lambda: work)
        monkeypatch.setattr(readiness, "cache_folder", lambda: tmp_path)
        return done

    def test_everything_is_compiled_once(self, pieces, tmp_path) -> None:
        shown: list[tuple[int, int]] = []
        found = tinyyolo3.warmup(lambda done, total: shown.append((done, total)))
        assert pieces == ["a", "b"]
        assert shown == [(0, 2), (1, 2)]
        assert found.folder == tmp_path
        assert found.seconds is not None
        assert marker(tmp_path).exists()
        assert not FileLock(tmp_path / LOCK_NAME).held_elsewhere()
        assert tinyyolo3.warmup() == Warmup(tmp_path, None)
        assert pieces == ["a", "b"]

    @pytest.mark.usefixtures("pieces")
    def test_what_fails_is_not_called_complete(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(compilation, "compilation", lambda: [lambda: 1 // 0])
        with pytest.raises(ZeroDivisionError):
            tinyyolo3.warmup()
        assert not marker(tmp_path).exists()
        assert not FileLock(tmp_path / LOCK_NAME).held_elsewhere()

    def test_in_the_background_it_is_left_to_who_was_first(
        self, pieces, tmp_path, monkeypatch
    ) -> None:
        monkeypatch.setattr(readiness, "GLANCE_S", 0.0)
        lock = FileLock(tmp_path / LOCK_NAME)
        lock.acquire()
        assert readiness.warmup(background=True) == Warmup(tmp_path, None)
        assert pieces == []
        lock.release()

    def test_patience_with_who_was_first_has_an_end(self, pieces, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(readiness, "PATIENCE_S", 0.0)
        lock = FileLock(tmp_path / LOCK_NAME)
        lock.acquire()
        assert tinyyolo3.warmup().seconds is not None
        assert pieces == ["a", "b"]
        lock.release()

    def test_code_that_came_while_waiting_is_not_compiled_again(self, pieces, tmp_path) -> None:
        lock = FileLock(tmp_path / LOCK_NAME)
        lock.acquire()

        def finish() -> None:
            marker(tmp_path).touch()
            lock.release()

        timer = threading.Timer(0.1, finish)
        timer.start()
        assert tinyyolo3.warmup() == Warmup(tmp_path, None)
        assert pieces == []
        timer.join()

    def test_without_a_folder_it_is_compiled_for_this_process(self, pieces, monkeypatch) -> None:
        monkeypatch.setattr(readiness, "cache_folder", lambda: None)
        assert tinyyolo3.warmup().folder is None
        assert pieces == ["a", "b"]

    def test_several_processes_at_once_compile_once(self, tmp_path) -> None:
        log = tmp_path / "log"
        script = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from tinyyolo3.engine.cpu import compilation, readiness\n"
            "def work():\n"
            "    with open(sys.argv[1], 'a') as log:\n"
            "        log.write('compiled\\n')\n"
            "    time.sleep(1)\n"
            "compilation.compilation = lambda: [work]\n"
            "readiness.cache_folder = lambda: Path(sys.argv[2])\n"
            "readiness.warmup()\n"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", script, str(log), str(tmp_path)])
            for _ in range(3)
        ]
        assert [process.wait(TIMEOUT_S) for process in processes] == [0, 0, 0]
        assert log.read_text() == "compiled\n"


class TestAnswers:
    @pytest.fixture
    def ready(self, monkeypatch) -> Iterator[list[bool]]:
        """What `ready` answers, to be changed."""
        answer = [False]
        monkeypatch.setattr(readiness, "ready", lambda: answer[0])
        monkeypatch.setattr(stages, "ready", lambda: answer[0])
        return answer

    def test_plain_numpy_and_compiled_code_find_the_same(self, tiny_model, ready) -> None:
        detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
        engine = detector.network.engine
        picture = np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)
        plain = detector.detect(picture, threshold=0.05)
        assert not engine._plans
        assert stages.stages() is stages.PLAIN
        ready[0] = True
        compiled = detector.detect(picture, threshold=0.05)
        assert engine._plans
        assert stages.stages() is stages.COMPILED
        assert len(plain) == len(compiled) > 3
        np.testing.assert_array_equal(plain.class_id, compiled.class_id)
        np.testing.assert_allclose(plain.boxes_xyxy_px, compiled.boxes_xyxy_px, atol=1e-2)
        np.testing.assert_allclose(plain.confidence, compiled.confidence, atol=1e-4)

    def test_where_compiling_is_forbidden_the_backend_is_plain(
        self, tiny_model, monkeypatch
    ) -> None:
        monkeypatch.setenv("TINYYOLO3_COMPILE", "never")
        network = tinyyolo3.load(tiny_model.cfg, tiny_model.weights).network
        assert network.backend is REFERENCE
        assert network.engine is None
        with pytest.raises(BackendError, match="TINYYOLO3_COMPILE=never"):
            tinyyolo3.load(tiny_model.cfg, tiny_model.weights, backend="cpu")


#: Counts what is loaded from disk, or compiled, in this process, and the processes it starts.
COUNT = """
import sys
from tinyyolo3.cache import CodeCache
from tinyyolo3.engine.cpu import readiness
counted, load = [], CodeCache.load_overload
def count_and_load(cache, *arguments):
    counted.append(repr(cache))
    return load(cache, *arguments)
CodeCache.load_overload = count_and_load
class Endless:
    returncode = None
    def poll(self):
        return None
started = []
readiness.start_process = lambda: started.append("process") or Endless()
"""


def count(code: str, *arguments: object, **environment: str) -> str:
    """Run code after `COUNT` in a process of its own and return the last line that it prints."""
    result = subprocess.run(
        [sys.executable, "-c", COUNT + code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_the_package_loads_what_it_is_asked_for_and_no_more() -> None:
    code = """
import tinyyolo3
heavy = {"numpy", "numba", "PIL", "tinyyolo3.data", "tinyyolo3.evaluate"}
before = sorted(heavy & set(sys.modules))
missing = [name for name in tinyyolo3.__all__ if not hasattr(tinyyolo3, name)]
print(before, missing, tinyyolo3.evaluate.evaluate_coco.__name__)
"""
    # Without COUNT: it imports what the test is about.
    command = [sys.executable, "-c", "import sys" + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.stdout == "[] [] evaluate_coco\n", done.stderr


def test_a_fresh_machine_compiles_nothing_in_the_foreground(tiny_model, tmp_path) -> None:
    code = """
from tinyyolo3.cli import main
import numpy as np
from PIL import Image
Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(sys.argv[3])
status = main(["detect", sys.argv[3], "--cfg", sys.argv[1], "--weights", sys.argv[2]])
print(status, counted, started)
"""
    found = count(
        code,
        tiny_model.cfg,
        tiny_model.weights,
        tmp_path / "picture.png",
        NUMBA_CACHE_DIR=str(tmp_path / "cache"),
        TINYYOLO3_COMPILE="background",
    )
    assert found == "0 [] ['process']"


def test_only_code_that_the_processor_runs_is_compiled(monkeypatch) -> None:
    # Of an instruction that there is not, LLVM makes an end of the process.
    chosen = set(compilation.code_pointers())
    one = next(iter(chosen))
    monkeypatch.setattr(one, "supported", False)
    assert set(compilation.code_pointers()) == chosen - {one}
    bfloat16 = {pointer for pair in PANEL_KERNELS.values() for pointer in pair} - chosen
    assert bool(bfloat16) is not HAS_BFLOAT16


def test_warmup_leaves_nothing_to_compile(tiny_model) -> None:
    code = """
import numpy as np, tinyyolo3
from tinyyolo3.engine.cpu import packing
from tinyyolo3.engine.cpu.compilation import compilation
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
for piece in compilation():
    piece()
counted.clear()
detector = tinyyolo3.load(*sys.argv[1:3])
for size in ((32, 32), (96, 64)):
    for kind in ("greedy", "diou"):
        picture = np.full((50, 60, 3), 99, np.uint8)
        detector.detect([picture, picture], threshold=0.01, size=size, nms_kind=kind)
half = np.zeros((1, 64, 1, 1), np.float32)
packing.round_panels(packing.pack_panels(half, 16), half)
packing.pack_winograd(np.zeros((1, 1, 3, 3), np.float32), FILTERINGS["F(4,3)"])
print(counted)
"""
    assert count(code, tiny_model.cfg, tiny_model.weights, TINYYOLO3_COMPILE="now") == "[]"
