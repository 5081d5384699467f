"""What ``tinyyolo3 info`` prints: numbers that were counted by hand, and who disagrees.

The tiny model: a convolution 3 -> 4, 3x3/2, with batch norm on 32x32 has 4*3*9 = 108 weights and
4 biases, 4 scales, 4 means, 4 variances; its output is 16x16, so 2*108*256 FLOP. A pool halves
that. A convolution 4 -> 16, 1x1, has 64 weights and 16 biases; 2*64*64 FLOP. The head has 2 anchors
on 8x8 cells.
"""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def info(command):
    """Run ``tinyyolo3 info``."""
    return lambda *argv: command("info", *argv)


def test_numbers_of_a_small_network_counted_by_hand(info, model):
    ending = info("--cfg", model.cfg)
    parameters = 108 + 4 * 4 + 64 + 16
    assert (ending.status, ending.err) == (0, "")
    assert (
        f"{parameters} parameters: {parameters - 8} trainable, 8 running statistics" in ending.out
    )
    assert "128 boxes from 1 head, 3 classes" in ending.out
    assert "4 layers, input 32 x 32 x 3" in ending.out


def test_operations_grow_with_the_size(info, model):
    width, height = 6400, 3200
    first = 2 * 108 * (width // 2) * (height // 2)
    second = 2 * 64 * (width // 4) * (height // 4)
    ending = info("--cfg", model.cfg, "--size", f"{width}x{height}")
    assert f"input {width} x {height} x 3" in ending.out
    assert f" {width} x {height} x  3 → {width // 2} x {height // 2} x  4 " in ending.out
    assert f"{(first + second) / 1e9:.2f} GFLOP for one picture" in ending.out
    rows = ending.out.splitlines()[1:5]
    assert rows[0].endswith(f"124  {first / 1e9:.3f}")
    assert rows[2].endswith(f" 80  {second / 1e9:.3f}")


def test_table_is_aligned(info, model):
    head, *rows = info("--cfg", model.cfg).out.splitlines()[:5]
    cells = [" ".join(row.split()) for row in rows]
    assert cells[0] == "0 convolutional 4 3x3/2 32 x 32 x 3 → 16 x 16 x 4 124 0.000"
    assert cells[1] == "1 maxpool 2x2/2 16 x 16 x 4 → 8 x 8 x 4"
    assert len({row.index("→") for row in rows}) == 1
    assert head.index("output") == rows[0].index("16 x 16")
    assert head.index("parameters") + len("parameters") == rows[0].index("124") + 3


def test_files_that_agree(info, model):
    ending = info(*model.arguments)
    assert (ending.status, ending.err) == (0, "")
    assert f"weights  ok     {model.weights}: 204 floats, version 0.2.5, 1,234,567 " in ending.out
    assert f"names    ok     {model.names}: 3 names" in ending.out


def test_everything_else_is_printed_when_one_file_disagrees(info, model, tmp_path):
    short = tmp_path / "short.weights"
    short.write_bytes(model.weights.read_bytes()[:-4])
    ending = info("--cfg", model.cfg, "--weights", short, "--names", model.names)
    assert ending.status == 1
    assert "204 parameters" in ending.out
    assert f"weights  WRONG  {short}" in ending.out
    assert "names    ok" in ending.out
    assert ending.err.startswith(f"error: {short}: too short: it ends inside layer 2 ")
    assert ending.err.count("\n") == 1


@pytest.mark.parametrize("extra", [b"\0\0\0\0", b"\0"])
def test_weights_that_are_too_long_disagree(info, model, tmp_path, extra):
    long = tmp_path / "long.weights"
    long.write_bytes(model.weights.read_bytes() + extra)
    ending = info("--cfg", model.cfg, "--weights", long)
    assert ending.status == 1
    assert "too long" in ending.err


def test_names_of_another_count_disagree(info, model, tmp_path):
    names = tmp_path / "two.names"
    names.write_text("dog\ncat\n")
    ending = info("--cfg", model.cfg, "--weights", model.weights, "--names", names)
    assert ending.status == 1
    assert "weights  ok" in ending.out
    assert f"names    WRONG  {names}" in ending.out
    assert "has 2 names" in ending.err


def test_values_that_are_not_numbers_are_a_warning(info, model, tmp_path):
    doubtful = tmp_path / "nan.weights"
    data = bytearray(model.weights.read_bytes())
    data[20:24] = np.float32("nan").tobytes()
    doubtful.write_bytes(data)
    ending = info("--cfg", model.cfg, "--weights", doubtful)
    assert ending.status == 0
    assert ending.err.startswith(f"warning: {doubtful}: layer 0 [convolutional] biases: 1 of 4 ")


def test_broken_cfg_is_one_line(info, tmp_path):
    cfg = tmp_path / "broken.cfg"
    cfg.write_text("[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=x\n")
    ending = info("--cfg", cfg)
    assert (ending.status, ending.out) == (1, "")
    assert ending.err.startswith(f"error: {cfg}:5 [convolutional] filters=x")


def test_classifier_has_no_boxes(info, tmp_path):
    cfg = tmp_path / "classifier.cfg"
    cfg.write_text("[net]\nwidth=8\nheight=8\n[avgpool]\n[softmax]\n")
    assert "no boxes: it is a classifier" in info("--cfg", cfg).out


@pytest.mark.reference
def test_totals_of_yolov3(info):
    root = os.environ.get("TINYYOLO3_REFERENCE")
    if not root:
        pytest.skip("TINYYOLO3_REFERENCE does not point to Darknet's cfgs")
    cfg, names = Path(root, "cfg", "yolov3.cfg"), Path(root, "cfg", "coco.names")
    ending = info("--cfg", cfg, "--names", names, "--size", "416")
    assert ending.status == 0
    for expected in (
        "62,001,757 parameters: 61,949,149 trainable, 52,608 running statistics",
        "65.86 GFLOP for one picture",
        "10,647 boxes from 3 heads, 80 classes",
        "107 layers, input 416 x 416 x 3",
    ):
        assert expected in ending.out
