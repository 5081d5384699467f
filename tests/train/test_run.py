"""A whole training: its files, going on to the same bits, and every way in which it ends early."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import Header, read_weights, write_weights
from tinyyolo3.errors import InputError, OutputError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.testing.training import CFG, Noise
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train import TrainingResult, TrainingSettings, train
from tinyyolo3.train.averaging import average_decay, average_reference
from tinyyolo3.train.initial import initial_parameters

#: Everything by plain loops: what is tested here is the same whatever computes it.
SETTINGS = TrainingSettings(backend="reference", checkpoint_every=2)


@pytest.fixture(autouse=True)
def without_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the plot out, which takes longer than everything else; but for its own test."""
    if "plot" not in request.node.name:
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


def arrays(path: Path, cfg: str = CFG) -> dict[str, np.ndarray]:
    _, layers = read_weights(path, network_slots(build_graph(parse_config(cfg))))
    return {f"{n} {name}": array for n, own in layers.items() for name, array in own.items()}


def names(out: Path) -> set[str]:
    return {place.name for place in out.iterdir()}


class TestWhatItWrites:
    def test_files_and_rows(self, cfg: Path, out: Path) -> None:
        rows, said = [], []
        result = run(cfg, out, progress=lambda row, last: rows.append((row, last)), say=said.append)
        assert (result.iteration, result.seen, result.weights) == (6, 12, out / "final.weights")
        files = {"checkpoint.npz", "log.csv", "last.weights", "final.weights", ".training.lock"}
        assert names(out) - {"training.png"} == files
        header, *lines = (out / "log.csv").read_text().splitlines()
        assert header.startswith("iteration,seen,rate,loss,box,objectness,classes,iou,width,height")
        assert [line.split(",")[:3] for line in lines] == [
            [str(n), str(2 * n), "0.01"] for n in range(1, 7)
        ]
        assert [(row.iteration, last) for row, last in rows] == [(n, 6) for n in range(1, 7)]
        for row, _ in rows:
            assert row.box + row.objectness + row.classes == pytest.approx(row.loss, rel=1e-6)
        assert said == ["beginning with random weights, seed 0"]

    def test_there_is_a_plot(self, cfg: Path, out: Path) -> None:
        pytest.importorskip("matplotlib")
        run(cfg, out)
        assert (out / "training.png").read_bytes().startswith(b"\x89PNG")

    def test_without_matplotlib_it_goes_on_without_a_plot_and_says_so(
        self, cfg: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path) -> None:
            raise OutputError(f"{path}: a chart needs matplotlib")

        monkeypatch.setattr("tinyyolo3.train.loop.require_matplotlib", refuse)
        said: list[str] = []
        run(cfg, out, say=said.append)
        assert (
            said[1] == f"{out / 'training.png'}: a chart needs matplotlib; going on without a plot"
        )
        assert "training.png" not in names(out)

    def test_weights_say_what_they_have_seen(self, cfg: Path, out: Path) -> None:
        run(cfg, out)
        header, _ = read_weights(
            out / "final.weights", network_slots(build_graph(parse_config(CFG)))
        )
        assert header == Header(0, 2, 5, 12)

    def test_the_same_seed_gives_the_same_bits_and_another_does_not(
        self, cfg: Path, tmp_path: Path
    ) -> None:
        contents = []
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            run(cfg, tmp_path / name, replace(SETTINGS, seed=seed))
            contents.append((tmp_path / name / "final.weights").read_bytes())
        assert contents[0] == contents[1] != contents[2]


class TestSettings:
    def test_iterations_are_more_than_the_weights_have(self, cfg: Path, out: Path) -> None:
        graph = build_graph(parse_config(CFG))
        weights = out.with_name("start.weights")
        write_weights(weights, network_slots(graph), random_weights(graph, 0), Header(seen=10))
        said: list[str] = []
        found = run(cfg, out, replace(SETTINGS, iterations=3), weights=weights, say=said.append)
        assert (found.iteration, found.seen) == (8, 16)
        assert said == [
            f"{weights}: 2 of 2 layers with parameters taken",
            f"going on after iteration 5, as {weights} says",
        ]

    def test_max_batches_counts_what_the_weights_have_seen_unless_cleared(
        self, cfg: Path, tmp_path: Path
    ) -> None:
        graph = build_graph(parse_config(CFG))
        weights = tmp_path / "start.weights"
        write_weights(weights, network_slots(graph), random_weights(graph, 0), Header(seen=12))
        with pytest.raises(InputError, match="12 pictures, 6 iterations, and max_batches=6 ends"):
            run(cfg, tmp_path / "a", weights=weights)
        cleared = replace(SETTINGS, clear=True)
        assert run(cfg, tmp_path / "b", cleared, weights=weights).seen == 12

    def test_without_max_batches_iterations_are_needed(self, cfg: Path, out: Path) -> None:
        cfg.write_text(CFG.replace("max_batches=6\n", ""))
        with pytest.raises(InputError, match=r"x.cfg:2 \[net\] has no max_batches=; give iterati"):
            run(cfg, out)
        assert run(cfg, out, replace(SETTINGS, iterations=2)).iteration == 2

    def test_frozen_layers_keep_what_the_weights_say(self, cfg: Path, out: Path) -> None:
        run(cfg, out, replace(SETTINGS, freeze=1))
        found = arrays(out / "final.weights")
        start = initial_parameters(build_graph(parse_config(CFG)).layers[0], 0)
        for name, array in start.items():
            np.testing.assert_array_equal(found[f"0 {name}"], array)
        assert found["1 biases"].any()

    def test_averages_become_the_weights(self, cfg: Path, tmp_path: Path) -> None:
        steps = []
        for count in (1, 2):
            run(cfg, tmp_path / str(count), replace(SETTINGS, iterations=count))
            steps.append(arrays(tmp_path / str(count) / "final.weights"))
        run(cfg, tmp_path / "ema", replace(SETTINGS, iterations=2, ema=0.9))
        found = arrays(tmp_path / "ema" / "final.weights")
        graph = build_graph(parse_config(CFG))
        for index in (0, 1):
            for name, average in initial_parameters(graph.layers[index], 0).items():
                for updates, step in enumerate(steps, 1):
                    decay = average_decay(0.9, updates)
                    average = average_reference(average, step[f"{index} {name}"], decay)
                np.testing.assert_array_equal(found[f"{index} {name}"], average)

    def test_sizes_may_change(self, cfg: Path, out: Path) -> None:
        sizes = ((32, 16), (48, 32), (16, 16))
        run(cfg, out, source=Noise(sizes))
        lines = (out / "log.csv").read_text().splitlines()[1:]
        assert [line.split(",")[8:10] for line in lines[:3]] == [
            ["48", "32"],
            ["16", "16"],
            ["32", "16"],
        ]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"iterations": 0}, "iterations must be from 1 to"),
            ({"seed": -1}, "seed must be from 0"),
            ({"checkpoint_every": 1.5}, "checkpoint_every must be an integer, not 1.5"),
            ({"ema": 1.0}, "ema must be between 0 and 1, not 1.0"),
            ({"loss": "mse"}, "loss must be 'darknet' or .*, not 'mse'"),
            ({"backend": "gpu"}, "backend must be 'cpu' or 'reference', not 'gpu'"),
            ({"freeze": 2}, "freeze=2 leaves nothing to learn: the last layer .* is layer 1"),
            ({"threads": 0}, "threads must be a positive integer, not 0"),
            ({"validate_every": 2}, "validate_every needs a set for validation"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, cfg: Path, out: Path, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            run(cfg, out, replace(SETTINGS, **changes))
        assert not out.exists()
