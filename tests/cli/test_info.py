"""What ``tinyyolo3 info`` prints: numbers that were counted by hand, and who disagrees.

The tiny model: a convolution 3 -> 4, 3x3/2, with batch norm on 32x32 has 4*3*9 = 108 weights and
4 biases, 4 scales, 4 means, 4 variances; its output is 16x16, so 2*108*256 FLOP. A pool halves
that. A convolution 4 -> 16, 1x1, has 64 weights and 16 biases; 2*64*64 FLOP. The head has 2 anchors
on 8x8 cells.
"""

import os
import weakref
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import WeightsFile
from tinyyolo3.engine.cpu.algorithms import PRECISIONS, plan_network
from tinyyolo3.engine.cpu.engine import CpuEngine
from tinyyolo3.engine.cpu.program import JOBS, CodePointer
from tinyyolo3.engine.cpu.report import report_plan
from tinyyolo3.engine.cpu.target import current_target
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.fold import fold_graph, fold_parameters
from tinyyolo3.network.summary import summarize
from tinyyolo3.testing.weights import random_weights


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


#: Each algorithm once: convolutions in all forms, grouped too; pools, sums, joins; a layer
#: that is left to its backend (reorg), and an activation of its own (mish).
EVERY_ALGORITHM = """\
[net]
width=64
height=64
channels=3

[convolutional]
filters=32
size=3
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=32
size=3
pad=1
activation=linear

[shortcut]
from=-2
activation=linear

[convolutional]
groups=32
filters=32
size=3
pad=1
activation=mish

[convolutional]
groups=2
filters=96
size=5
stride=2
pad=1
activation=relu

[convolutional]
filters=300
size=5
stride=2
pad=1
activation=leaky

[maxpool]
size=3
stride=1

[convolutional]
filters=20
size=1
activation=linear

[upsample]
stride=2

[reorg]
stride=2

[convolutional]
filters=18
size=1
activation=linear

[route]
layers=-1,-2

[convolutional]
filters=24
size=1
activation=linear

[yolo]
mask=0,1,2
anchors=8,8, 12,16, 20,20
classes=3
num=3
"""


@pytest.fixture
def planned(info, tmp_path):
    """Run ``tinyyolo3 info --plan`` on a cfg's text, and give its rows as lists of words."""

    def run(text: str, *argv: object) -> tuple[list[list[str]], str]:
        cfg = tmp_path / "planned.cfg"
        cfg.write_text(text)
        ending = info("--cfg", cfg, "--plan", *argv)
        assert (ending.status, ending.err) == (0, "")
        table, rest = ending.out.split("\n\n", 1)
        return [line.split() for line in table.splitlines()], rest

    return run


class TestPlan:
    def test_rows_are_the_steps_of_the_plan(self, planned):
        (head, *rows), rest = planned(EVERY_ALGORITHM)
        graph = fold_graph(build_graph(parse_config(EVERY_ALGORITHM)))
        steps = plan_network(graph).steps
        assert head[:3] == ["step", "layer", "algorithm"]
        assert [row[0] for row in rows] == [str(number) for number in range(len(steps))]
        assert [" ".join(row[2 : row.index("x") - 1]) for row in rows] == [
            step.algorithm for step in steps
        ]
        assert f"\n{len(steps)} steps, for vectors of {LANES} floats\n" in f"\n{rest}"

    def test_pooling_and_shortcut_are_named_with_the_convolutions_that_do_them(self, planned):
        (_, *rows), _ = planned(EVERY_ALGORITHM)
        assert [row[1] for row in rows][:2] == ["0+1", "2+3"]

    def test_sizes_of_one_step_counted_by_hand(self, planned):
        (_, *rows), _ = planned(EVERY_ALGORITHM)
        row = next(row for row in rows if row[1] == "13")
        blocks = -(-24 // LANES)
        plane = 8 * 8 * 4 * LANES
        plane += 64 * (plane % 1024 == 0)
        assert row[3:14] == ["8", "x", "8", "x", "98", "→", "8", "x", "8", "x", "24"]
        assert row[15] == f"{blocks * plane / 1024:.1f}"
        depth, width = -(-98 // LANES) * LANES, -(-24 // (2 * LANES)) * 2 * LANES
        assert row[16] == f"{4 * width * (depth + 1) / 1024:.1f}"
        assert row[-1] == f"{2 * 98 * 24 * 64 / 1e9:.3f}"

    def test_totals_are_the_plan_s(self, planned):
        _, rest = planned(EVERY_ALGORITHM, "--size", "128x64")
        graph = fold_graph(build_graph(parse_config(EVERY_ALGORITHM), width=128, height=64))
        plan = plan_network(graph)
        apart = sum(buffer.bytes for buffer in plan.buffers)
        assert plan.arena_bytes < apart
        assert (
            f"{plan.arena_bytes / 2**20:.2f} MiB arena for all maps; apart they would take "
            f"{apart / 2**20:.2f} MiB\n"
        ) in rest
        assert f"{len(graph.layers)} layers, input 128 x 64 x 3\n" in rest

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_report_is_what_runs(self, precision):
        if precision == "bf16" and not current_target().bf16:
            pytest.skip("this processor does not multiply bfloat16 numbers")
        graph = build_graph(parse_config(EVERY_ALGORITHM))
        parameters = fold_parameters(graph, random_weights(graph, seed=3))
        folded = fold_graph(graph)
        planned = CpuEngine(parameters, precision=precision).planned(folded)
        report = report_plan(folded, planned.plan)
        packed = [
            planned.weights[number].bytes if number in planned.weights else 0
            for number in range(len(planned.plan.steps))
        ]
        assert [step.weight_bytes for step in report.steps] == packed
        assert report.weight_bytes == sum(packed)
        assert report.flop == summarize(graph).flop
        workspace = planned.take_workspace()
        per_step = zip(workspace.ends, workspace.ends[1:], strict=False)
        assert [step.jobs for step in report.steps] == [
            workspace.table[first:last, JOBS].sum() for first, last in per_step
        ]
        assert 0 < report.scratch_bytes <= workspace.scratch[0].nbytes

    def test_cfg_of_these_tests_has_every_kind_of_step(self):
        graph = fold_graph(build_graph(parse_config(EVERY_ALGORITHM)))
        found = {step.algorithm.split()[0] for step in plan_network(graph).steps}
        assert found >= {"first", "winograd", "depthwise", "im2col", "multiply", "activation"}
        assert found >= {"maxpool", "upsample", "eager", "copy", "unpack"}

    def test_nothing_is_compiled_for_it(self, planned, monkeypatch):
        def fail(_):
            raise AssertionError("compiled")

        monkeypatch.setattr(CodePointer, "address", property(fail))
        planned(EVERY_ALGORITHM)


def test_no_layer_s_weights_are_kept_while_the_next_are_read(info, model, monkeypatch):
    earlier: list[weakref.ref] = []
    read_layer = WeightsFile.read_layer

    def read(self, index):
        assert [array() for array in earlier] == [None] * len(earlier)
        found = read_layer(self, index)
        earlier.extend(weakref.ref(array) for array in found.values())
        return found

    monkeypatch.setattr(WeightsFile, "read_layer", read)
    assert info(*model.arguments).status == 0
    assert len(earlier) == 7
