"""The table of `tinyyolo3 info`, against a network counted by hand and against known totals."""

import pytest

from tinyyolo3.darknet.config import parse_config, read_config
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.summary import Summary, summarize

CFG = """\
[net]
width=8
height=6
[conv]
batch_normalize=1
filters=4
size=3
pad=1
stride=2
[conv]
filters=4
size=3
stride_x=2
pad=1
groups=2
dilation=2
[maxpool]
size=2
stride=2
[upsample]
stride=2
[route]
layers=3
[route]
layers=-1
groups=2
group_id=1
[shortcut]
from=-2
[conv]
filters=14
[yolo]
classes=2
num=2
anchors=1,2,3,4
[reorg]
stride=1
[connected]
output=3
batch_normalize=1
"""


def summary() -> Summary:
    return summarize(build_graph(parse_config(CFG)))


def test_every_row_of_a_network_counted_by_hand():
    rows = [
        (row.kind, row.line, row.filters, row.size_stride, row.output_shape)
        for row in summary().rows
    ]
    assert rows == [
        ("convolutional", 4, 4, "3x3/2", (4, 3, 4)),
        ("convolutional", 10, 4, "3x3/1,2 d2 g2", (4, 3, 2)),
        ("maxpool", 17, None, "2x2/2", (4, 2, 1)),
        ("upsample", 20, None, "x2", (4, 4, 2)),
        ("route", 22, None, "3", (4, 4, 2)),
        ("route", 24, None, "4 1/2", (2, 4, 2)),
        ("shortcut", 28, None, "4", (2, 4, 2)),
        ("convolutional", 30, 14, "1x1/1", (14, 4, 2)),
        ("yolo", 32, None, "2 anchors", (14, 4, 2)),
        ("reorg", 36, None, "/1", (14, 4, 2)),
        ("connected", 38, 3, "", (3, 1, 1)),
    ]
    assert [row.index for row in summary().rows] == list(range(11))
    assert summary().rows[1].input_shape == (4, 3, 4)


def test_parameters_and_operations_counted_by_hand():
    counts = {
        row.index: (row.trainable, row.statistics, row.flop)
        for row in summary().rows
        if row.parameters or row.flop
    }
    assert counts == {
        0: (4 + 4 + 4 * 3 * 9, 4 + 4, 2 * (4 * 3 * 9) * (3 * 4)),
        1: (4 + 4 * 2 * 9, 0, 2 * (4 * 2 * 9) * (3 * 2)),  # groups=2: 2 channels each
        7: (14 + 14 * 2, 0, 2 * (14 * 2) * (4 * 2)),
        10: (3 + 3 + 3 * 112, 3 + 3, 2 * 3 * 112),
    }


def test_totals_are_the_sums():
    found = summary()
    assert (found.trainable, found.statistics) == (116 + 76 + 42 + 342, 8 + 6)
    assert found.parameters == found.trainable + found.statistics
    assert found.flop == 2592 + 864 + 448 + 672
    assert found.boxes == 2 * 4 * 2


def test_a_classifier_predicts_no_boxes():
    text = "[net]\nwidth=4\nheight=4\n[conv]\n[avgpool]\n[softmax]"
    assert summarize(build_graph(parse_config(text))).boxes == 0


def test_yolov3_at_416(reference):
    config = read_config(reference / "cfg" / "yolov3.cfg")
    found = summarize(build_graph(config, width=416, height=416))
    assert (found.trainable, found.statistics) == (61_949_149, 52_608)
    assert found.boxes == 10_647
    assert found.flop / 1e9 == pytest.approx(65.86, abs=0.01)  # as Darknet prints it
