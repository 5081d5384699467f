"""``tinyyolo3 adapt``: three files for other classes, a line about each."""

import shlex
from pathlib import Path

import pytest

from tinyyolo3.cli.adapt import EXAMPLES
from tinyyolo3.cli.command import make_parser
from tinyyolo3.darknet.config import read_config


@pytest.fixture
def adapt(command, model, tmp_path, monkeypatch):
    """Run ``tinyyolo3 adapt`` on the tiny model, of the classes dog, red fox and 7."""
    monkeypatch.chdir(tmp_path)
    Path("mine.names").write_text("owl\ndog\n")
    return lambda *argv: command("adapt", "mine.names", *model.arguments, "--out=mine", *argv)


def test_says_what_was_written(adapt):
    ending = adapt("--size=64x32", "--net=batch=4", "--net", "subdivisions = 2")
    assert (ending.status, ending.err) == (0, "")
    assert ending.out.splitlines() == [
        "mine.cfg: 2 classes, input 64 x 32",
        "mine.weights: 1 layer as trained; of 1 head the boxes, the objectness and dog",
        "mine.names: owl, dog",
    ]
    net = read_config("mine.cfg").net
    assert [net.integer(n) for n in ("width", "height", "batch", "subdivisions")] == [64, 32, 4, 2]


def test_the_result_is_a_model(adapt, command):
    adapt()
    assert command("info", "--model=mine").status == 0


def test_a_cfg_alone(command, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.names").write_text("owl\n")
    anchors = "anchors = 1,2,  3,4.5"
    ending = command("adapt", "a.names", "--cfg", model.cfg, "--anchors", anchors, "--out=mine")
    assert ending.out == "mine.cfg: 1 class, input 32 x 32\nmine.names: owl\n"
    assert not Path("mine.weights").exists()
    assert read_config("mine.cfg").layers[-1].numbers("anchors") == (1, 2, 3, 4.5)


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--anchors=1,2,3", "expected widths and heights with commas between, found '1,2,3'"),
        ("--anchors=1,x", "expected widths and heights"),
        ("--anchors=1,inf", "expected widths and heights"),
        ("--anchors=", "expected widths and heights"),
        ("--anchors=1,2", "[yolo] has num=2 anchors, not 1"),
        ("--net=batch", "expected an option as batch=16, found 'batch'"),
        ("--net=batch=", "expected an option as batch=16"),
        ("--net=[net]=3", "expected an option as batch=16"),
        ("--net=batch=1\n[maxpool]", "expected an option as batch=16"),
    ],
)
def test_bad_value_is_one_line_and_status_2(adapt, argument, complaint):
    ending = adapt(argument)
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert complaint in ending.err
    assert not Path("mine.cfg").exists()


def test_a_model_is_not_written_over(adapt):
    assert adapt().status == 0
    ending = adapt()
    assert (ending.status, ending.out) == (1, "")
    assert ending.err == "error: mine.cfg: is there already\n"


def test_examples_are_understood():
    lines = EXAMPLES.replace("\\\n", "").splitlines()[1:]
    assert len(lines) == 3
    for line in lines:
        make_parser().parse_args(shlex.split(line)[1:])
