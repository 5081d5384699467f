"""The example that teaches a trained model new classes: its pages, and its way from end to end."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import finetune
import tinyyolo3
from tinyyolo3.data.open import open_dataset
from tinyyolo3.models import bundled_model

EXAMPLE = Path(finetune.__file__)
#: What the example prints before and after, on two pages.
LINES = r"before: AP50 +(\S+) %, AP50:95 +\S+ %\n.*\nafter:  AP50 +(\S+) %, AP50:95 +\S+ %\n"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune.write_pages(tmp_path_factory.mktemp("work") / "pages", 12, 3)


def test_pages_are_labelled_without_a_mistake(pages: Path) -> None:
    for split, count in (("train", 12), ("valid", 3)):
        samples = list(open_dataset(pages, split=split))
        assert len(samples) == count
        assert all(len(sample.classes) for sample in samples)
    everything = np.concatenate([s.classes for s in open_dataset(pages, split="train")])
    assert set(everything) == {0, 1, 2}


def test_ink_is_in_the_boxes_and_fills_them(monkeypatch: pytest.MonkeyPatch) -> None:
    side = finetune.SIDE * finetune.FINE
    monkeypatch.setattr(finetune, "paper", lambda _: Image.new("RGB", (side, side), "white"))
    for seed in range(10):
        page, found = finetune.page_with_shapes(np.random.default_rng(seed))
        ink = np.asarray(page.convert("L")) < 140
        for _, box in found:
            left, top, right, bottom = np.round(box).astype(int)
            inside = ink[top - 1 : bottom + 1, left - 1 : right + 1]
            # Thin strokes end a little before their box does.
            for axis in (0, 1):
                touched = np.flatnonzero(inside.any(axis=axis))
                assert touched[0] <= 4
                assert touched[-1] >= inside.shape[1 - axis] - 5
            inside[:] = False
        assert not ink.any()


def test_pages_depend_on_their_seed_alone() -> None:
    first, again, other = (
        np.asarray(finetune.page_with_shapes(np.random.default_rng(seed))[0]) for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()


def run_example(*arguments: object) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_goes_from_a_trained_model_to_one_of_the_new_classes(tiny_model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = ("--pages", 4, 2, "--iterations", 2, "--size", 32)
    printed = run_example("--model", tiny_model.cfg, "--out", out, *few)
    assert re.fullmatch(LINES, printed, re.DOTALL), printed
    detector = tinyyolo3.load(
        out / "shapes.cfg", out / "training" / "final.weights", names=out / "shapes.names"
    )
    assert detector.names == ("star", "arrow", "smiley")
    with Image.open(out / "found.png") as drawn:
        assert drawn.size == (finetune.SIDE, 2 * finetune.SIDE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "yolo-fastest-1.1"])
def test_new_classes_are_learnt(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> None:
    """The example as it stands, for minutes: it finds what it could not tell apart before."""
    if name == "digits":
        model: object = name
        if not os.path.exists(bundled_model(name).weights):
            pytest.skip("the package has no digits.weights yet")
    else:
        model = request.getfixturevalue("reference") / "models" / name / "model.cfg"
    printed = run_example("--model", model, "--out", tmp_path / "out")
    found = re.fullmatch(LINES, printed, re.DOTALL)
    assert found is not None
    before, after = map(float, found.groups())
    assert before < 60
    assert after > 90
