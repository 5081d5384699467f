"""Only what agrees is timed, and what cannot run says why."""

import math
from pathlib import Path

import numpy as np
import pytest

import measure
from networks import Source, reference_logits, written
from peers.base import Model

KEYS = {"version", "precision", "logit_error", "load_s", "first_ms", "peak_mb"} | {
    f"{what}_{kind}" for what in ("network", "detect") for kind in ("ms", "min_ms")
}


@pytest.fixture
def source(tiny_model) -> Source:
    def write(model: Model) -> None:
        model.cfg.write_bytes(tiny_model.cfg.read_bytes())
        model.weights.write_bytes(tiny_model.weights.read_bytes())

    return Source("tiny", 32, write)


def test_engines_that_agree_get_a_row(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAUSE_S", 0)
    monkeypatch.setattr(measure, "WARM_UP", 0)
    with written(source) as model:
        reference = reference_logits(model, ["alexeyab"])
        rows = measure.compare(model, reference, ["tinyyolo3"], threads=1, runs=1)
    assert rows.keys() == {"tinyyolo3"}
    assert rows["tinyyolo3"].keys() == KEYS
    assert rows["tinyyolo3"]["precision"] == "float32"


def test_an_engine_that_disagrees_is_refused(
    source: Source, capfd: pytest.CaptureFixture[str]
) -> None:
    with written(source) as model:
        reference = reference_logits(model, ["alexeyab"])
        reference["alexeyab"][1][0, 0, 0, 0] += 0.1
        assert measure.compare(model, reference, ["tinyyolo3"], threads=1, runs=1) == {}
    assert "tinyyolo3 is refused: its logits differ" in capfd.readouterr().out


def test_an_engine_that_is_not_installed_is_skipped(
    source: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "ncnn.py").write_text("raise ModuleNotFoundError(name='ncnn')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with written(source) as model:
        reference = reference_logits(model, ["alexeyab"])
        assert measure.compare(model, reference, ["ncnn"], threads=1, runs=1) == {}
    assert "ncnn is skipped: ncnn is not installed" in capfd.readouterr().out


def test_the_error_is_relative_to_the_largest_logit() -> None:
    expected = [np.array([1.0, -8.0]), np.array([2.0])]
    assert measure.logit_error([np.array([1.5, -8.0]), np.array([2.0])], expected) == 0.5 / 8
    assert measure.logit_error(expected, expected) == 0


def test_outputs_of_other_shapes_and_nan_never_agree() -> None:
    expected = [np.ones(2), np.ones(3)]
    assert measure.logit_error(expected[:1], expected) == math.inf
    assert measure.logit_error([np.ones(2), np.ones(2)], expected) == math.inf
    for broken in ([np.ones(2), np.full(3, np.nan)], [np.full(2, np.nan), np.ones(3)]):
        assert not measure.logit_error(broken, expected) <= math.inf
