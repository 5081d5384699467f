"""``tinyyolo3 anchors``: what it prints can be pasted, and what it draws is there."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.cli import main
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.network.build import build_graph

#: A cfg with three heads in the order of yolov3.cfg; each [yolo] and its filters are to be filled.
CFG = """\
[net]
width=416
height=416
channels=3
"""
HEAD = """\
[convolutional]
filters={filters}
size=1
stride=1
activation=linear

[yolo]
{anchors}
{num}
{mask}
classes=2
"""


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a COCO file with boxes (N, 2) of given sizes in 640 x 480 px."""

    def write(sizes_px: np.ndarray, crowds: int = 0, name: str = "set.json") -> Path:
        annotations = [
            {
                "id": number,
                "image_id": 1 + number % 3,
                "category_id": 1 + number % 2,
                "bbox": [1, 2, float(width), float(height)],
                "area": float(width * height),
                "iscrowd": int(number < crowds),
            }
            for number, (width, height) in enumerate(sizes_px)
        ]
        images = [
            {"id": i, "file_name": f"{i}.png", "width": 640, "height": 480} for i in (1, 2, 3)
        ]
        categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        file = tmp_path / name
        file.write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories})
        )
        return file

    return write


def spread_sizes(count: int = 300) -> np.ndarray:
    return np.exp(np.random.default_rng(0).normal(4, 0.8, (count, 2)))


def value(line: str) -> str:
    return line.split("=")[1].strip()


def test_the_report(command, write_coco) -> None:
    # Two sizes, of a tenth and a half of the picture, and a crowd.
    sizes = np.array([[64.0, 48], [320, 240]])[[0] + [0] * 30 + [1] * 10]
    ending = command("anchors", write_coco(sizes, crowds=1), "--clusters=2", "--size=320x160")
    assert (ending.status, ending.err) == (0, "")
    lines = ending.out.splitlines()
    assert lines[0].endswith("set.json: 40 boxes in 3 pictures, input 320 x 160, stretch")
    assert lines[1] == "left out: 1 crowds"
    assert lines[2] == (
        "mean IoU 100.00 %, before rounding 100.00 %; 10 starts led to 100.00 to 100.00 %"
    )
    assert lines[4].split("  ")[0] == "anchor"
    assert lines[5].split() == ["0", "32", "16", "30", "75.0%", "100.0%"]
    assert lines[6].split() == ["1", "160", "80", "10", "25.0%", "100.0%"]
    assert lines[8:] == [
        "# in every [yolo]",
        "anchors = 32,16,  160,80",
        "num = 2",
        "",
        "# 2 heads, in the order of yolov3-tiny.cfg",
        "# [yolo] 1, stride 32; filters=7 in the [convolutional] before it",
        "mask = 1",
        "# [yolo] 2, stride 16; filters=7 in the [convolutional] before it",
        "mask = 0",
    ]


def test_what_it_prints_makes_a_network(command, write_coco) -> None:
    out = command("anchors", write_coco(spread_sizes()), "--clusters=8", "--restarts=2").out
    lines = out.splitlines()
    start = lines.index("# 3 heads, in the order of yolov3.cfg")
    anchors = next(line for line in lines if line.startswith("anchors"))
    num = next(line for line in lines if line.startswith("num"))
    cfg = CFG
    for place in range(start + 1, start + 7, 2):
        filters = lines[place].split("filters=")[1].split()[0]
        cfg += HEAD.format(filters=filters, anchors=anchors, num=num, mask=lines[place + 1])
        cfg += "[route]\nlayers=-3\n" if place < start + 5 else ""
    # `-3` is the input of the convolution before; the first has the network's.
    cfg = cfg.replace("channels=3\n", "channels=3\n[maxpool]\nsize=2\nstride=2\n")
    heads = build_graph(parse_config(cfg)).heads
    pairs = np.array([float(v) for v in value(anchors).split(",")]).reshape(-1, 2)
    assert [len(head.anchors) for head in heads] == [2, 3, 3]
    assert [a for head in reversed(heads) for a in head.anchors] == [tuple(p) for p in pairs]


def test_the_whole_tail_may_be_pasted(command, write_coco) -> None:
    out = command("anchors", write_coco(spread_sizes()), "--restarts=1").out
    tail = out[out.index("# in every [yolo]") :].splitlines()
    assert all(not line or line[0] == "#" or " = " in line for line in tail)


def test_a_seed_gives_the_same_again(command, write_coco) -> None:
    file = write_coco(spread_sizes())
    outs = [
        command("anchors", file, "--restarts=1", *more).out
        for more in ((), ("--seed=0", "--threads=1"), ("--seed=1",))
    ]
    assert outs[0] == outs[1] != outs[2]


def test_letterbox_keeps_the_shapes(command, write_coco) -> None:
    file = write_coco(np.array([[100.0, 100]]))
    arguments = ("anchors", file, "--clusters=1", "--size=384", "--restarts=1")
    assert "anchors = 60,80\n" in command(*arguments).out
    assert "anchors = 60,60\n" in command(*arguments, "--resize=letterbox").out


def test_darknets_training_list_is_read(command, tmp_path) -> None:
    for name, label in (("train", "0 .5 .5 .25 .5"), ("valid", "0 .5 .5 1 1")):
        Image.new("RGB", (40, 20)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(label + "\n")
        (tmp_path / f"{name}.list").write_text(f"{tmp_path / name}.png\n")
    (tmp_path / "a.names").write_text("cat\n")
    data = tmp_path / "a.data"
    data.write_text(
        f"classes=1\ntrain={tmp_path}/train.list\nvalid={tmp_path}/valid.list\n"
        f"names={tmp_path}/a.names\n"
    )
    found = command("anchors", data, "--clusters=1", "--size=64")
    assert found.status == 0, found.err
    assert "anchors = 16,32\n" in found.out
    assert (
        "anchors = 64,64\n"
        in command("anchors", data, "--clusters=1", "--size=64", "--split=valid").out
    )


def test_a_chart_is_drawn(command, write_coco, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    png = tmp_path / "chart.png"
    ending = command("anchors", write_coco(spread_sizes()), "--restarts=1", f"--png={png}")
    assert (ending.status, ending.err) == (0, "")
    with Image.open(png) as chart:
        assert chart.format == "PNG"
        assert min(chart.size) > 500


def test_help_has_an_example(capsys) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["anchors", "--help"])
    assert ending.value.code == 0
    assert "tinyyolo3 anchors data/obj.data" in capsys.readouterr().out.split("examples:")[1]


class TestRefused:
    """Each mistake is one line that names the file, and nothing is written."""

    def check(self, ending, status: int, *parts: str) -> None:
        assert (ending.status, ending.out) == (status, "")
        assert ending.err.startswith("error: ")
        assert ending.err.count("\n") == 1
        for part in parts:
            assert part in ending.err

    def test_more_clusters_than_sizes(self, command, write_coco) -> None:
        file = write_coco(np.array([[10.0, 20], [20, 10]])[[0, 1] * 20])
        ending = command("anchors", file)
        self.check(ending, 1, f"{file}: 9 clusters need", "found 2 among 40 boxes")

    def test_no_boxes(self, command, write_coco) -> None:
        file = write_coco(np.empty((0, 2)))
        self.check(command("anchors", file), 1, f"{file}: no boxes to find anchors for")

    def test_only_crowds(self, command, write_coco) -> None:
        file = write_coco(np.array([[10.0, 20]] * 3), crowds=3)
        self.check(command("anchors", file), 1, f"{file}: no boxes", "3 crowds")

    def test_a_box_that_is_none(self, command, write_coco) -> None:
        file = write_coco(np.array([[10.0, 20], [np.nan, 3]]))
        self.check(command("anchors", file), 1, str(file))

    def test_no_file(self, command, tmp_path) -> None:
        self.check(command("anchors", tmp_path / "no.json"), 1, f"{tmp_path / 'no.json'}: ")

    @pytest.mark.parametrize(
        "argument",
        ["--clusters=0", "--clusters=x", "--size=0", "--size=1x", "--seed=-1", "--seed=1.5",
         "--restarts=0", "--resize=crop", "--png=set.json", "--png=", "--threads=0"],
    )  # fmt: skip
    def test_arguments(self, command, write_coco, argument) -> None:
        file = write_coco(spread_sizes())
        before = file.read_bytes()
        self.check(command("anchors", file, argument), 2, argument.split("=")[0])
        assert file.read_bytes() == before

    def test_a_chart_in_no_folder(self, command, write_coco, tmp_path) -> None:
        pytest.importorskip("matplotlib")
        png = tmp_path / "no" / "chart.png"
        ending = command("anchors", write_coco(spread_sizes()), f"--png={png}")
        self.check(ending, 1, f"{png}: cannot be written: {os.strerror(2)}")

    def test_a_chart_without_matplotlib(self, command, monkeypatch, write_coco, tmp_path) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
        ending = command("anchors", write_coco(spread_sizes()), f"--png={tmp_path / 'a.png'}")
        self.check(ending, 1, "a.png", "matplotlib")
