"""Validation: the detector's numbers, the best weights, and an end in the midst of it."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tinyyolo3
from tinyyolo3.data.open import open_dataset
from tinyyolo3.data.samples import DataSet
from tinyyolo3.errors import DataError
from tinyyolo3.evaluate.evaluation import evaluate_detector
from tinyyolo3.evaluate.run import RunSettings
from tinyyolo3.testing.training import CFG, Noise
from tinyyolo3.train import TrainingResult, TrainingSettings, train
from tinyyolo3.train.folder import TrainingFolder, ValidationRow
from tinyyolo3.train.table import read_table
from tinyyolo3.train.validation import StoppedError, validate

SETTINGS = TrainingSettings(backend="reference", checkpoint_every=100, validate_every=2)


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyyolo3.train.loop._can_draw", lambda *_: False)


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    place = tmp_path / "x.cfg"
    place.write_text(CFG)
    return place


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.txt").write_text(f"{index % 2} .5 .5 .6 .7\n")
    (tmp_path / "list.txt").write_text("0.png\n1.png\n2.png\n")
    return open_dataset(tmp_path / "list.txt", names=["a", "b"])


def run(cfg: Path, data: DataSet, out: Path, **more: Any) -> TrainingResult:
    return train(cfg, Noise(), out, settings=SETTINGS, validation=data, **more)


def rows(out: Path) -> list[ValidationRow]:
    place = TrainingFolder(out).validations
    return [ValidationRow(*row) for row in read_table(place, ValidationRow._fields)]


def test_it_gives_the_numbers_of_the_detector(cfg: Path, data: DataSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(cfg, data, out)
    assert [row.iteration for row in rows(out)] == [2, 4, 6]
    detector = tinyyolo3.load(cfg, out / "final.weights", device="cpu")
    wanted = evaluate_detector(detector, data, RunSettings(resize="stretch"))
    assert wanted.coco is not None
    assert wanted.darknet is not None
    last = rows(out)[-1]
    assert last.average_precision == pytest.approx(wanted.coco["AP"], rel=1e-9)
    assert last.average_precision_50 == pytest.approx(wanted.coco["AP50"], rel=1e-9)
    found = pytest.approx(wanted.darknet.mean_average_precision, rel=1e-9)
    assert last.darknet_map == found
    assert result.validation is not None
    assert result.validation.darknet_map == max(row.darknet_map for row in rows(out))


def test_the_best_weights_are_kept(
    cfg: Path, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {2: 0.2, 4: 0.9, 6: 0.9}
    seen: dict[int, bytes] = {}

    def fake(_cfg: Path, weights: Path, _data: DataSet, iteration: int, **_: Any) -> ValidationRow:
        seen[iteration] = weights.read_bytes()
        return ValidationRow(iteration, 0.1, 0.5, measured[iteration])

    monkeypatch.setattr("tinyyolo3.train.run.validate", fake)
    said: list[str] = []
    result = run(cfg, data, tmp_path / "out", say=said.append)
    assert (tmp_path / "out" / "best.weights").read_bytes() == seen[4]
    assert result.validation == ValidationRow(4, 0.1, 0.5, 0.9)
    assert "iteration 4: mAP@0.50 0.9000, AP50 0.5000, AP 0.1000" in said


def test_the_last_iteration_is_validated_whatever_its_number(
    cfg: Path, data: DataSet, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, iterations=3)
    train(cfg, Noise(), tmp_path / "out", settings=settings, validation=data)
    assert [row.iteration for row in rows(tmp_path / "out")] == [2, 3]


def test_ctrl_c_ends_it_and_it_comes_again(
    cfg: Path, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(cfg, data, tmp_path / "whole")

    def interrupted(*arguments: Any, **options: Any) -> ValidationRow:
        if arguments[3] == 4:
            signal.raise_signal(signal.SIGINT)
        return validate(*arguments, **options)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("tinyyolo3.train.run.validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(cfg, data, out)
    assert [row.iteration for row in rows(out)] == [2]
    said: list[str] = []
    run(cfg, data, out, say=said.append)
    assert said[0] == "going on after iteration 4"
    assert rows(out) == rows(tmp_path / "whole")
    whole = (tmp_path / "whole" / "best.weights").read_bytes()
    assert (out / "best.weights").read_bytes() == whole


def test_asked_to_stop_it_stops(cfg: Path, data: DataSet, tmp_path: Path) -> None:
    run(cfg, data, tmp_path / "out")
    with pytest.raises(StoppedError):
        validate(cfg, tmp_path / "out" / "last.weights", data, 1, stopped=lambda: True)


def test_a_set_of_other_classes_is_refused(cfg: Path, data: DataSet, tmp_path: Path) -> None:
    other = replace(data, names=("a", "c"))
    run(cfg, data, tmp_path / "out")
    weights = tmp_path / "out" / "last.weights"
    with pytest.raises(DataError, match="1 of its 2 classes is unknown to the model: c"):
        validate(cfg, weights, other, 1, names=("a", "b"))
