"""A training that ends early, in whatever way, goes on to the same bits."""

import errno
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import Header, write_weights
from tinyyolo3.errors import OutputError, TrainingError, WeightsError
from tinyyolo3.filelock import FileLock
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.testing.training import CFG, Noise
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train import TrainingResult, TrainingSettings, train
from tinyyolo3.train.folder import LogRow
from tinyyolo3.train.table import read_table

SETTINGS = TrainingSettings(backend="reference", checkpoint_every=2, ema=0.9)
LAST = 6


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyyolo3.train.loop._can_draw", lambda *_: False)


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    place = tmp_path / "x.cfg"
    place.write_text(CFG)
    return place


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(cfg: Path, out: Path, settings: TrainingSettings = SETTINGS, **more: Any) -> TrainingResult:
    return train(cfg, more.pop("source", Noise()), out, settings=settings, **more)


@pytest.fixture
def whole(cfg: Path, tmp_path: Path) -> bytes:
    """The weights of a training that nothing has interrupted."""
    return run(cfg, tmp_path / "whole").weights.read_bytes()


def iterations(out: Path) -> list[float]:
    return [row[0] for row in read_table(out / "log.csv", LogRow._fields)]


class Trap:
    """Batches that do something else when one iteration's are asked for."""

    def __init__(self, iteration: int, action: Callable[[], None]) -> None:
        self._iteration, self._action = iteration, action

    def batch(self, iteration: int) -> Any:
        if iteration == self._iteration:
            self._action()
        return Noise().batch(iteration)


class TestGoingOn:
    @pytest.mark.parametrize("iteration", [1, 2, 3, 6])
    def test_after_an_error_it_goes_on_from_the_checkpoint(
        self, cfg: Path, out: Path, whole: bytes, iteration: int
    ) -> None:
        def fail() -> None:
            raise OutputError("a picture was taken away")

        with pytest.raises(OutputError):
            run(cfg, out, source=Trap(iteration, fail))
        assert iterations(out) == list(range(1, iteration))
        said: list[str] = []
        assert run(cfg, out, say=said.append).weights.read_bytes() == whole
        assert said == [f"going on after iteration {(iteration - 1) // 2 * 2}"]
        assert iterations(out) == list(range(1, LAST + 1))

    def test_a_finished_one_may_go_on_for_more(self, cfg: Path, out: Path, whole: bytes) -> None:
        run(cfg, out, replace(SETTINGS, iterations=3))
        assert run(cfg, out, replace(SETTINGS, iterations=LAST)).weights.read_bytes() == whole
        again = run(cfg, out, replace(SETTINGS, iterations=LAST))
        assert (again.iteration, again.weights.read_bytes()) == (LAST, whole)

    def test_another_cfg_or_setting_is_refused(self, cfg: Path, out: Path) -> None:
        run(cfg, out, replace(SETTINGS, iterations=1))
        kept = (out / "checkpoint.npz").read_bytes()
        with pytest.raises(WeightsError, match=r"checkpoint.npz: was begun with ema=0.9, not None"):
            run(cfg, out, replace(SETTINGS, ema=None))
        cfg.write_text(CFG.replace("learning_rate=.01", "learning_rate=.02"))
        with pytest.raises(WeightsError, match=r"belongs to another cfg than .*x.cfg"):
            run(cfg, out)
        assert (out / "checkpoint.npz").read_bytes() == kept

    def test_two_at_once_are_refused(self, cfg: Path, out: Path) -> None:
        out.mkdir()
        lock = FileLock(out / ".training.lock")
        assert lock.acquire()
        with pytest.raises(TrainingError, match="another training is writing to this folder"):
            run(cfg, out)
        lock.release()
        run(cfg, out, replace(SETTINGS, iterations=1))


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_iteration_is_finished_and_kept(
        self, cfg: Path, out: Path, whole: bytes, number: int
    ) -> None:
        said: list[str] = []
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                run(cfg, out, source=Trap(3, lambda: signal.raise_signal(number)), say=said.append)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert said[-1].startswith("stopping after this iteration")
        assert iterations(out) == [1, 2, 3]
        assert not (out / "final.weights").exists()
        said.clear()
        assert run(cfg, out, say=said.append).weights.read_bytes() == whole
        assert said == ["going on after iteration 3"]

    def test_the_second_ctrl_c_acts_at_once(self, cfg: Path, out: Path, whole: bytes) -> None:
        def twice() -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            run(cfg, out, source=Trap(4, twice))
        said: list[str] = []
        assert run(cfg, out, say=said.append).weights.read_bytes() == whole
        assert said == ["going on after iteration 2"]


class TestFullDisk:
    def test_the_last_checkpoint_stays(
        self, cfg: Path, out: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        savez, calls = np.savez, []

        def full(file: Any, **arrays: Any) -> None:
            calls.append(1)
            savez(file, **arrays)
            if len(calls) == 3:  # the first is written before the first iteration
                raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(np, "savez", full)
            with pytest.raises(OutputError, match=r"checkpoint.npz: cannot be written: No space"):
                run(cfg, out)
        assert not list(out.glob("*.part"))
        assert iterations(out) == [1, 2, 3, 4]
        said: list[str] = []
        assert run(cfg, out, say=said.append).weights.read_bytes() == whole
        assert said == ["going on after iteration 2"]

    def test_no_room_at_all_is_found_before_the_first_iteration(
        self, cfg: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(np, "savez", full)
        source = Trap(1, lambda: pytest.fail("an iteration began"))
        with pytest.raises(OutputError, match="No space left"):
            run(cfg, out, source=source)


class TestNumbersThatAreNone:
    def test_a_loss_that_is_none_stops_and_the_checkpoint_stays(self, cfg: Path, out: Path) -> None:
        class Broken:
            def batch(self, iteration: int) -> Any:
                batch = Noise().batch(iteration)
                return replace(batch, pictures=batch.pictures * (np.nan if iteration == 4 else 1))

        message = r"x.cfg: training stopped in iteration 4: the loss is nan; .*checkpoint.npz stays"
        with pytest.raises(TrainingError, match=message):
            run(cfg, out, source=Broken())
        said: list[str] = []
        run(cfg, out, say=said.append)
        assert said == ["going on after iteration 2"]

    def test_a_rate_of_a_million(self, cfg: Path, out: Path) -> None:
        cfg.write_text(CFG.replace("learning_rate=.01", "learning_rate=1e6"))
        with pytest.raises(TrainingError, match=r"training stopped in iteration [1-9]: .*learning"):
            run(cfg, out, replace(SETTINGS, checkpoint_every=1, iterations=50))
        text = "a checkpoint is never written of parameters that are no numbers"
        with np.load(out / "checkpoint.npz") as archive:
            for name in archive.files:
                if name != "about":
                    assert np.isfinite(archive[name]).all(), text

    def test_the_last_update_is_looked_at(self, cfg: Path, out: Path) -> None:
        """Its loss is from before it: that of the next iteration would be no number."""
        steep = "learning_rate=1e6\npolicy=step\nscale=100\nstep=1"
        cfg.write_text(CFG.replace("learning_rate=.01", steep))
        graph = build_graph(parse_config(CFG))
        weights = out.with_name("start.weights")
        write_weights(weights, network_slots(graph), random_weights(graph, 0), Header(seen=40))
        message = r"stopped in iteration 21: layer 0 \[convolutional\] .* are NaN or infinite"
        with pytest.raises(TrainingError, match=message):
            run(cfg, out, replace(SETTINGS, iterations=1), weights=weights)
        assert not (out / "final.weights").exists()


#: Trains as `run` does, in a process of its own.
SCRIPT = """
import sys
from tinyyolo3.testing.training import Noise
from tinyyolo3.train import TrainingSettings, train
settings = TrainingSettings(backend="reference", checkpoint_every=1, ema=0.9, iterations=120)
train(sys.argv[1], Noise(), sys.argv[2], settings=settings, progress=lambda *_: print(flush=True))
"""


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(
    cfg: Path, out: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(cfg), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # an iteration is done
        time.sleep(np.random.default_rng(time.time_ns()).uniform(0, 0.3))
        process.kill()
    (out / ".tinyyolo3-0123.part").write_bytes(b"half a checkpoint")
    settings = replace(SETTINGS, iterations=120)
    found = run(cfg, out, settings).weights.read_bytes()
    assert not list(out.glob(".*.part"))
    assert found == run(cfg, tmp_path / "whole", settings).weights.read_bytes()
    assert iterations(out) == list(range(1, 121))
