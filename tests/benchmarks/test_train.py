"""Only steps that agree are timed, and the table says what is stored."""

from pathlib import Path

import numpy as np
import pytest

import train
from tinyyolo3.testing.tolerances import PEER_FLOAT32
from train_table import train_table


def test_our_step_is_checked_and_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "TRAINERS", (train.OURS,))
    monkeypatch.setattr(train, "PAUSE_S", 0)
    graph = train.write_task(tmp_path, 32, 2)
    assert train.check(tmp_path, graph, 1, train.largest, PEER_FLOAT32) == {train.OURS: 0.0}
    rows = train.time_rounds(tmp_path, [train.OURS], 1, 1)
    assert rows[train.OURS].keys() == {"version", "step_ms", "step_min_ms", "peak_mb"}


def test_a_trainer_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def results(name: str, *_: object) -> dict[str, np.ndarray]:
        return {"weights.0": np.array([1.0, 2.0 if name == train.OURS else 2.1])}

    monkeypatch.setattr(train, "read_results", results)
    graph = train.write_task(tmp_path, 32, 1)
    with pytest.raises(SystemExit, match=r"torch differs from tinyyolo3 by 4\.8e-02"):
        train.check(tmp_path, graph, 1, train.largest, PEER_FLOAT32)


def test_times_are_told_as_multiples_of_ours() -> None:
    row = {"version": "9", "peak_mb": 100}
    results = {
        **{"date": "2030-01-02", "device": "abacus", "python": "3", "numpy": "2", "numba": "0"},
        **{"commit": "abc", "runs": 5, "threads": 2, "batch": 8, "side": 416, "network": "yolo"},
        "trainers": {"tinyyolo3": {**row, "step_ms": 400.0}, "torch": {**row, "step_ms": 1000.0}},
    }
    lines = train_table(results).splitlines()
    assert lines[2] == "| tinyyolo3 | 1.00 | 400 | 20.0 | 100 |"
    assert lines[3] == "| PyTorch, contiguous | 2.50 | 1000 | 8.0 | 100 |"
    assert "PyTorch 9, eager" in lines[-1]
