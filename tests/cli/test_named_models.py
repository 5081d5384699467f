"""Which model a verb runs: files, a name, or, where nothing is said, the bundled one."""

import json
import shutil
from pathlib import Path

import pytest

import tinyyolo3
from tinyyolo3 import models

NOTE = "note: no model is named, so digits; --cfg and --weights name another\n"


@pytest.fixture
def digits(model, tmp_path_factory, monkeypatch) -> Path:
    """The tiny model in the place of the bundled one, suppressing across classes; its folder."""
    folder = tmp_path_factory.mktemp("bundled")
    (folder / "digits.cfg").write_text(model.cfg.read_text() + "agnostic_nms=1\n")
    shutil.copy(model.weights, folder / "digits.weights")
    shutil.copy(model.names, folder / "digits.names")
    monkeypatch.setattr(models, "FOLDER", folder)
    return folder


@pytest.mark.usefixtures("digits", "pictures")
class TestDetect:
    def test_digits_are_looked_for_where_no_model_is_named(self, command):
        ending = command("detect", "a.png", "--json=-", "--threshold=.1")
        assert (ending.status, ending.err) == (0, NOTE)
        found = tinyyolo3.load().detect("a.png", threshold=0.1)
        assert json.loads(ending.out) == [found.to_dict()]
        named = command("detect", "a.png", "--json=-", "--threshold=.1", "--model=digits")
        assert (named.out, named.err) == (ending.out, "")

    def test_the_models_suppression_holds_where_nothing_is_said(self, command):
        arguments = ("detect", "a.png", "b.jpg", "--json=-", "--threshold=.1", "--model=digits")
        plain, across, apart = (
            command(*arguments, *given).out for given in ([], ["--agnostic"], ["--no-agnostic"])
        )
        assert plain == across != apart

    def test_files_by_a_common_name(self, command, model):
        stem = model.cfg.with_suffix("")
        ending = command("detect", "a.png", "--json=-", "--model", stem)
        assert ending == command("detect", "a.png", "--json=-", *model.arguments)

    def test_the_bundled_one_comes_before_files_of_its_name(self, command, model):
        for path in (model.cfg, model.weights, model.names):
            shutil.copy(path, f"digits{path.suffix}")
        bundled, own = (
            command("detect", "a.png", "--json=-", "--threshold=.1", f"--model={name}")
            for name in ("digits", "./digits")
        )
        assert own == command("detect", "a.png", "--json=-", "--threshold=.1", *model.arguments)
        assert own.out != bundled.out

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--cfg=x"], "--cfg and --weights belong together"),
            (["--weights=x"], "--cfg and --weights belong together"),
            (["--model=digits", "--cfg=x"], "expected "),
            (["--model=digit"], "model 'digit' is unknown; known are digits, which comes with"),
            (["--model=yolov3"], "yolov3 does not come with the package: get https://"),
        ],
    )
    @pytest.mark.parametrize("verb", ["detect", "profile", "evaluate"])
    def test_a_model_that_is_not_one(self, command, verb, arguments, complaint):
        subject = ["--data=x.data"] if verb == "evaluate" else ["a.png"]
        ending = command(verb, *subject, *arguments)
        assert (ending.status, ending.out) == (2, "")
        assert ending.err.startswith(f"error: {complaint}")
        assert ending.err.count("\n") == 1

    def test_files_that_are_not_there(self, command):
        ending = command("detect", "a.png", "--model=./gone")
        assert ending.status == 1
        assert ending.err == "error: gone.cfg: no such file (expected a Darknet cfg)\n"


def test_info_of_the_bundled_model(command, digits):
    ending = command("info")
    assert (ending.status, ending.err) == (0, NOTE)
    for suffix in ("cfg", "weights", "names"):
        assert f"ok     {digits / 'digits'}.{suffix}" in ending.out
    assert command("info", "--model=digits").out == ending.out


def test_info_needs_no_weights_but_a_cfg(command, model):
    assert command("info", "--cfg", model.cfg).status == 0
    ending = command("info", "--weights", model.weights)
    assert (ending.status, ending.out) == (2, "")
    assert ending.err == "error: --cfg and --weights belong together\n"


def test_info_knows_published_weights(command, model, monkeypatch):
    assert "published" not in command("info", *model.arguments).out
    monkeypatch.setattr(models, "published_name", lambda _: "yolov3")
    assert " seen, the yolov3.weights that is published\n" in command("info", *model.arguments).out


@pytest.mark.usefixtures("digits", "pictures")
def test_profile_of_the_bundled_model(command):
    ending = command("profile", "a.png", "--runs=1")
    assert (ending.status, ending.err) == (0, NOTE)
    assert "a.png: 60 x 40, input 32 x 32" in ending.out


@pytest.mark.usefixtures("pictures")
def test_evaluation_of_the_bundled_model(command, digits):
    Path("labels").mkdir()
    Path("a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    Path("set.txt").write_text("a.png\n")
    ending = command("evaluate", "--data=set.txt", "--model=digits", "--protocol=darknet")
    assert ending.status == 0
    assert f"{digits / 'digits.cfg'}, " in ending.out
    assert "suppression at IoU > 0.45 across classes\n" in ending.out
