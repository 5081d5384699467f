"""The training of the bundled model from its first line to its last, in small."""

import json
from pathlib import Path

import numpy as np
import pytest

import tinyyolo3
import train_digits
from digits.writer import Writer, make_writer
from tinyyolo3.darknet.config import read_config
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.train.folder import LogRow, TrainingFolder

CONVOLUTION = """
[convolutional]
batch_normalize=1
filters=4
size=3
stride=4
pad=1
activation=leaky
"""
TINY = f"""\
[net]
batch=2
width=256
height=256
channels=3
learning_rate=0.001
policy=poly
power=1
max_batches=900
{CONVOLUTION}{CONVOLUTION}
[convolutional]
filters=45
size=1
stride=1
activation=linear

[yolo]
mask=0,1,2
anchors=10,20, 30,50, 90,120
classes=10
num=3
iou_loss=ciou
"""


def few(positions: np.ndarray, strokes: float) -> Writer:
    return make_writer(positions[:60], strokes)


def test_a_training_ends_with_a_model_and_its_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, out = tmp_path / "tiny.cfg", tmp_path / "out"
    cfg.write_text(TINY)
    cfg.with_suffix(".names").write_text("\n".join("0123456789"))
    monkeypatch.setattr(train_digits, "CFG", cfg)
    monkeypatch.setattr(train_digits, "make_writer", few)
    train_digits.main(["--out", str(out), "--iterations", "2", "--most", "1"])
    printed = capsys.readouterr().out
    assert "2 of 2: box" in printed
    assert "pen-drawn pages" in printed
    detector = tinyyolo3.load(
        out / "digits.cfg", out / "digits.weights", names=out / "digits.names"
    )
    assert detector.network.graph.input_shape == (3, 416, 416)
    assert detector.network.graph.heads[-1].agnostic_nms
    assert "max_batches=2\n" in (out / "training.cfg").read_text()
    assert (out / "log.csv").read_text().count("\n") == 3
    stored = json.loads((out / "evaluation.json").read_text())
    assert [one["pictures"] for one in stored["sets"]] == [1, 1, 1]
    assert (stored["training"]["iterations"], stored["training"]["pictures"]) == (2, 4)


def test_the_log_is_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_digits, "MEAN_OF", 2)
    rows = [LogRow(n, 8 * n, 0.1, 10.0 * n, 1, 1, 1, 0.5, 256, 256, 4 / 60) for n in (1, 2, 3)]
    text = "\n".join(",".join(map(str, row)) for row in [LogRow._fields, *rows])
    (tmp_path / "log.csv").write_text(text + "\n")
    spent = train_digits.summarize_log(TrainingFolder(tmp_path))
    assert spent == {"iterations": 3, "pictures": 24, "minutes": 6.0}
    lines = (tmp_path / "log-means.csv").read_text().splitlines()
    assert lines[0] == ",".join(LogRow._fields)
    assert [line.split(",")[:2] for line in lines[1:]] == [["2", "16"], ["3", "24"]]
    assert [line.split(",")[3] for line in lines[1:]] == ["15", "30"]


def test_the_network_is_a_small_yolov3() -> None:
    graph = build_graph(read_config(train_digits.CFG))
    bytes_stored = 20 + 4 * sum(slot.count for slot in network_slots(graph))
    assert bytes_stored < 2_000_000
    assert [head.classes for head in graph.heads] == [10, 10, 10]
    assert graph.input_shape == (3, 256, 256)


def test_heads_begin_by_expecting_nothing() -> None:
    graph = build_graph(read_config(train_digits.CFG))
    parameters = train_digits.initial_parameters(graph, 1)
    for head in graph.heads:
        biases = parameters[head.index - 1]["biases"].reshape(3, 15)
        assert (biases[:, :4] == 0).all()
        assert (biases[:, 4] == -4.5).all()
        assert (biases[:, 5:] == -2).all()
        assert parameters[head.index - 1]["weights"].std() == pytest.approx(0.01, rel=0.1)
    first = parameters[1]
    assert first["weights"].std() == pytest.approx(np.sqrt(2 / (1.01 * 16 * 9)), rel=0.1)
    assert set(first) == {"weights", "biases", "scales", "mean", "variance"}
    assert (first["variance"] == 1).all()
    again = train_digits.initial_parameters(graph, 1)
    assert np.array_equal(again[1]["weights"], first["weights"])
