"""``tinyyolo3 train``: Darknet's own steps by the command, files that others read, bad input."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinyyolo3
from tinyyolo3.darknet.config import read_config
from tinyyolo3.darknet.weights import Header, read_weights, write_weights
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.testing.tolerances import (
    TRAINED_5_ITERATIONS,
    TRAINED_20_ITERATIONS,
    TRAINING_LOSS,
)
from tinyyolo3.testing.training import CFG
from tinyyolo3.testing.weights import random_weights

#: No process for pictures, no random change of them: a test of a second.
STILL = "hue=0\nsaturation=1\nexposure=1\nflip=0\n"


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A set of four pictures with a bright object each, in the current folder; its .data file."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for index in range(4):
        pixels = rng.integers(0, 80, (16, 32, 3), dtype=np.uint8)
        pixels[4:12, 8:20, index % 2] = 255
        Image.fromarray(pixels).save(f"{index}.png")
        Path(f"{index}.txt").write_text(f"{index % 2} 0.4375 0.5 0.375 0.5\n")
    Path("train.txt").write_text("0.png\n1.png\n2.png\n3.png\n")
    Path("x.names").write_text("red\ngreen\n")
    Path("x.data").write_text("classes=2\ntrain=train.txt\nvalid=train.txt\nnames=x.names\n")
    Path("x.cfg").write_text(CFG.replace("[net]\n", f"[net]\n{STILL}"))
    return Path("x.data")


@pytest.fixture
def train(command, data):
    """Run the command on the set, in this process."""
    usual = ["--data", data, "--cfg=x.cfg", "--out=out", "--workers=0"]
    return lambda *argv: command("train", *usual, *argv)


def arrays(path, cfg) -> np.ndarray:
    _, layers = read_weights(path, network_slots(build_graph(read_config(cfg))))
    flat = [array.ravel() for own in layers.values() for array in own.values()]
    return np.concatenate(flat).astype(np.float64)


@pytest.mark.reference
class TestDarknetsSteps:
    """The same files that Darknet was given, by the command alone."""

    @pytest.mark.parametrize("backend", ["cpu", "reference"])
    @pytest.mark.parametrize(
        ("iterations", "tolerance"),
        [(1, TRAINED_5_ITERATIONS), (5, TRAINED_5_ITERATIONS), (20, TRAINED_20_ITERATIONS)],
    )
    def test_weights_and_losses(
        self, command, reference, tmp_path, monkeypatch, backend, iterations, tolerance
    ):
        monkeypatch.chdir(tmp_path)
        folder = reference / "training"
        Path("train.txt").write_text(f"{folder / 'image.png'}\n")
        Path("x.names").write_text("a\nb\nc\n")
        Path("x.data").write_text("classes=3\ntrain=train.txt\nnames=x.names\n")
        cfg, before = folder / "step.cfg", folder / "before.weights"
        ending = command(
            *("train", "--data=x.data", "--cfg", cfg, "--weights", before, "--workers=0"),
            *("--iterations", iterations, "--backend", backend, "--out=out"),
        )
        assert (ending.status, ending.err) == (0, "")
        wanted = arrays(folder / f"after_{iterations}.weights", cfg)
        change = np.linalg.norm(wanted - arrays(before, cfg))
        error = np.linalg.norm(wanted - arrays("out/final.weights", cfg))
        assert error <= tolerance * change
        losses = json.loads((folder / "loss.json").read_text())["loss"][:iterations]
        rows = Path("out/log.csv").read_text().splitlines()[1:]
        found = [float(row.split(",")[3]) for row in rows]
        np.testing.assert_allclose(found, losses, rtol=TRAINING_LOSS)


class TestTraining:
    def test_from_random_numbers_to_a_detector(self, train):
        learn = CFG.replace("[net]\n", f"[net]\n{STILL}").replace("=.01", "=.02")
        Path("x.cfg").write_text(learn)
        ending = train("--iterations=150", "--validate-every=75", "--seed=3")
        assert (ending.status, ending.err) == (0, "")
        assert "iteration 100 of 150: loss " in ending.out
        assert "iteration 75: mAP@0.50 " in ending.out
        assert "written: out/final.weights, after iteration 150\n" in ending.out
        assert "best: out/best.weights, of iteration " in ending.out
        detector = tinyyolo3.load("x.cfg", "out/final.weights", names="x.names", device="cpu")
        for index, name in enumerate(("red", "green")):
            best = detector.detect(f"{index}.png", threshold=0.05, resize="stretch")[0]
            assert best.name == name
            np.testing.assert_allclose(best.xyxy, (8, 4, 20, 12), atol=2)

    def test_workers_give_the_same_bits(self, train):
        train("--out=a", "--iterations=2")
        train("--out=b", "--iterations=2", "--workers=2")
        assert Path("a/final.weights").read_bytes() == Path("b/final.weights").read_bytes()

    def test_a_partial_file_and_frozen_layers(self, train):
        graph = build_graph(read_config("x.cfg"))
        first = [slot for slot in network_slots(graph) if slot.layer == 0]
        start = random_weights(graph, 4)
        write_weights("part.conv.1", first, start, Header(seen=0))
        ending = train("--weights=part.conv.1", "--freeze=1", "--iterations=2")
        assert (
            "part.conv.1: 1 of 2 layers with parameters taken; from layer 1 on they are random"
            in ending.out
        )
        _, found = read_weights("out/final.weights", network_slots(graph))
        for name, array in start[0].items():
            np.testing.assert_array_equal(found[0][name], array)

    def test_the_same_command_goes_on(self, train):
        train("--out=whole", "--iterations=4")
        train("--iterations=2")
        ending = train("--iterations=4", "--resume")
        assert ending.out.startswith("going on after iteration 2\n")
        assert Path("out/final.weights").read_bytes() == Path("whole/final.weights").read_bytes()

    def test_a_terminal_gets_a_bar(self, train, monkeypatch):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr("tinyyolo3.cli.progress.INTERVAL_S", 0.0)
        monkeypatch.setenv("COLUMNS", "160")
        ending = train()
        assert "iteration 6 of 6" not in ending.out
        shown = terminal.getvalue()
        assert "[####--------------------] 1/6  loss " in shown
        assert re.search(
            r"2/6  [0-9.]+ pictures/s  0:0\d left  loss .* \(box .*, objectness ", shown
        )

    def test_a_long_wait_for_the_first_iteration_is_explained(self, train, monkeypatch):
        monkeypatch.setattr("tinyyolo3.cli.train.PATIENCE_S", 0.0)
        ending = train("--backend=reference")
        assert "the first iteration takes a minute where nothing is compiled yet\n" in ending.out

    def test_other_readers_find_the_same_boxes(self, train):
        """OpenCV has a reader of weights and a network of its own."""
        cv2 = pytest.importorskip("cv2")
        train("--iterations=20")
        network = cv2.dnn.readNetFromDarknet("x.cfg", "out/final.weights")
        pixels = np.asarray(Image.open("0.png"))
        network.setInput(cv2.dnn.blobFromImage(pixels, 1 / 255, swapRB=False))
        theirs = network.forward()
        detector = tinyyolo3.load("x.cfg", "out/final.weights", device="cpu")
        ours = detector.candidates(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        boxes_unit = ours.boxes_cxcywh_px / [32, 16, 32, 16]
        np.testing.assert_allclose(theirs[:, :4], boxes_unit, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(theirs[:, 4], ours.objectness, rtol=1e-4, atol=1e-5)


class TestBadInput:
    """One line each, nothing half written."""

    def refused(self, ending, status: int, message: str) -> None:
        assert ending.status == status
        assert message in ending.err
        assert ending.err.startswith("error: ")
        assert ending.err.count("\n") == 1

    def test_an_empty_set(self, train):
        Path("train.txt").write_text("\n")
        self.refused(train(), 1, "train.txt: expected a picture a line, found only blank lines")
        assert not Path("out").exists()

    def test_a_set_without_objects(self, train):
        for place in Path().glob("[0-3].txt"):
            place.write_text("")
        self.refused(train(), 1, "x.data: none of its 4 pictures has a labelled object")

    def test_more_classes_than_the_network_has(self, train):
        Path("x.names").write_text("red\ngreen\nblue\n")
        Path("x.data").write_text("train=train.txt\nnames=x.names\n")
        self.refused(train(), 1, "x.data: has 3 classes, but x.cfg:")

    def test_a_label_of_a_class_that_has_no_name(self, train):
        Path("1.txt").write_text("0 .5 .5 .2 .2\n2 .5 .5 .2 .2\n")
        self.refused(train(), 1, "1.txt line 2")
        assert not Path("out").exists()

    def test_a_layer_without_backward(self, train):
        text = Path("x.cfg").read_text()
        Path("x.cfg").write_text(text.replace("[yolo]", "[dropout]\n[yolo]"))
        line = text[: text.index("[yolo]")].count("\n") + 1
        self.refused(train(), 1, f"x.cfg:{line} [dropout] cannot be trained: the layer has no back")

    def test_a_checkpoint_of_another_size(self, train):
        train("--iterations=1")
        Path("out/checkpoint.npz").write_bytes(b"PK not a checkpoint")
        self.refused(train(), 1, "out/checkpoint.npz: expected a whole checkpoint, found: ")

    def test_a_loss_that_is_no_number(self, train):
        text = Path("x.cfg").read_text()
        Path("x.cfg").write_text(text.replace("learning_rate=.01", "learning_rate=1e6"))
        self.refused(train("--iterations=60"), 1, "x.cfg: training stopped in iteration ")
        assert Path("out/checkpoint.npz").exists()

    def test_too_little_memory(self, train, monkeypatch):
        def refuse(*_, **__):
            raise MemoryError

        monkeypatch.setattr("tinyyolo3.train.backends.Propagations._make", refuse)
        self.refused(train(), 1, "not enough memory; a larger subdivisions=, or smaller width=")

    def test_nothing_to_go_on_with(self, train):
        self.refused(train("--resume"), 1, "out/checkpoint.npz: no such file, so there is nothing")

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (["--freeze=9"], "freeze=9 leaves nothing to learn"),
            (["--ema=1"], "expected a number between 0 and 1, found '1'"),
            (["--valid=x.data"], "--valid needs --validate-every N"),
            (["--data=train.txt", "--names=x.names", "--validate-every=2"], "no part to validate"),
        ],
    )
    def test_arguments_that_cannot_be(self, train, argv, message):
        self.refused(train(*argv), 2, message)
        assert not Path("out").exists()


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(train):
    """The whole process group gets it, the processes that make pictures, too."""
    argv = ["--data=x.data", "--cfg=x.cfg", "--workers=1", "--out=out", "--iterations=9999"]
    with subprocess.Popen(
        [sys.executable, "-m", "tinyyolo3", "train", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("iteration 100 of"):
                break
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping after this iteration" in out
    assert err == (
        "warning: out/checkpoint.npz keeps what is done; the same command goes on from it\n"
        "error: interrupted\n"
    )
    rows = Path("out/log.csv").read_text().splitlines()
    assert len(rows) > 100
    again = train(f"--iterations={len(rows)}")
    assert again.out.startswith(f"going on after iteration {len(rows) - 1}\n")
    assert again.status == 0
