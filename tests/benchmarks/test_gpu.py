"""The GPU run without a GPU: every stage on the CPU, and what happens to those that fail."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpu
import gpu_compile
import gpu_models
import gpu_primitives
import gpu_profile
import gpu_tests
from gpu_context import Context, Record
from gpu_summary import best_peer, peers_of, summary_lines
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.selftest.run import run_cases
from tinyyolo3.testing.tolerances import PEER_FLOAT32, PEER_HALF

BENCHMARKS = Path(gpu.__file__).parent


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("host", tmp_path, tmp_path)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "record.json", "test")


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(target="host", logs=tmp_path, commit="abc")


@pytest.mark.parametrize("mode", ["fast", "check"])
def test_the_primitives_are_what_numpy_says_on_the_cpu_too(mode: str) -> None:
    target = HostTarget(mode, seed=1)
    for make in gpu_primitives.EXACT:
        launch, expected = make()
        assert gpu_primitives.wrong(launch.run(target), expected) == 0, launch.kernel
    errors = gpu_primitives.errors_ulp(gpu_primitives.elementary().run(target)[0])
    assert max(errors.values()) <= gpu_primitives.ELEMENTARY_ULP
    assert not gpu_primitives.contracted(target)


def test_a_wrong_primitive_is_counted(context: Context, record: Record, monkeypatch) -> None:
    launch, (expected,) = gpu_primitives.copies()
    expected[3] += 1
    monkeypatch.setattr(gpu_primitives, "EXACT", (lambda: (launch, [expected]),))
    gpu_primitives.measure(context, "all", record)
    assert record.found["copies"]["wrong"] == 1
    assert record.found["problems"] == ["copies"]


def test_a_short_run_writes_json_and_a_table(tmp_path: Path) -> None:
    output = tmp_path / "results" / "gpu.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--target", "host", "--commit", "abc"]
    command += ["--only", "device,sanitizer,profile", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads(output.read_text())
    assert list(results["stages"]) == ["device", "sanitizer", "profile"]
    assert results["commit"] == results["stages"]["device"]["all"]["commit"] == "abc"
    assert results["stages"]["sanitizer"]["host"]["clean"]
    assert set(results["stages"]["profile"]) == {"fp16", "fp32"}
    assert "skipped" in results["stages"]["profile"]["fp16"]
    assert "host: ['4 shapes of 2 kernels: all ok']" in done.stdout


BROKEN = """
import time
def measure(context, part, record):
    record("before", 1)
    if part == "hangs":
        time.sleep(60)
    raise RuntimeError("the context is gone")
"""


def test_a_part_that_fails_or_hangs_keeps_what_it_had(
    options: argparse.Namespace, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "gpu_broken.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stage = gpu.Stage("broken", 100, ("fails", "hangs", "comes late"))
    monkeypatch.setattr(gpu, "SHARE", 0.95)
    found = dict(gpu.run_stage(stage, options, tmp_path, 8.0))
    assert found["fails"]["before"] == found["hangs"]["before"] == 1
    assert found["fails"]["error"] == "RuntimeError: the context is gone"
    assert found["hangs"]["error"].startswith("stopped after ")
    assert found["comes late"]["error"] == "not begun: no time was left"


def test_a_network_is_measured_and_repeats(context: Context, record: Record) -> None:
    import gpu_networks

    gpu_networks.measure(context, "yolov3-tiny-416", record)
    for precision in gpu_models.PRECISIONS:
        assert record.found[f"{precision} same_at_any_batch"]
        for batch in gpu_models.BATCHES:
            figures = record.found[f"{precision} batch {batch}"]
            assert figures["repeats"]
            assert figures["same_in_batch"]
            assert figures["forward"]["ms"] > 0
            if precision != "fp32":
                assert figures["from_pictures"]["apart"] < PEER_HALF
    for batch in gpu_models.BATCHES:
        figures = record.found[f"fp16 persistent batch {batch}"]
        assert figures["repeats"]
        assert figures["apart"] < PEER_HALF
        assert figures["forward"]["ms"] > 0
    errors = {p: max(record.found[f"{p} errors"]["relative"]) for p in gpu_models.PRECISIONS}
    assert errors["fp32"] < 1e-6
    # Each has the precision that it is asked for.
    assert all(1e-6 < errors[precision] < 1e-3 for precision in ("fp16", "tf32"))
    assert json.loads(record.file.read_text()) == record.found


def test_the_layers_are_measured(context: Context, record: Record, monkeypatch) -> None:
    import gpu_layers

    typical = gpu_layers.typical_cases(tiny=True)
    chosen = [(name, case) for name, case in typical if name.startswith(("upsample", "maxpool 2"))]
    monkeypatch.setattr(gpu_layers, "typical_cases", lambda _: chosen)
    gpu_layers.measure(context, "others", record)
    assert record.found.pop("copy_gb_per_s") is None
    assert {row["bytes"] for row in record.found.values()} == {
        4 * 256 * 13 * (1 + 4),
        4 * 16 * 26 * 26 * 5 // 4,
    }
    assert all(row["us"] > 0 for row in record.found.values())


def test_both_ways_to_the_first_map_are_right(context: Context) -> None:
    from gpu_first import first_cases

    cases = [case for _name, case in first_cases(16)]
    assert [len(case.files) for case in cases] == [1, 2, 1, 2]
    assert all(outcome.passed for outcome in run_cases(cases, context.open_target()))


# A foreign module warns of what it likes.
@pytest.mark.filterwarnings("default")
def test_peers_agree_with_ours(context: Context, record: Record) -> None:
    pytest.importorskip("torch")
    import gpu_peers

    gpu_peers.measure(context, "yolov3-tiny-416", record)
    for precision, tolerance in (("fp32", PEER_FLOAT32), ("fp16", PEER_HALF), ("tf32", PEER_HALF)):
        for batch in gpu_models.BATCHES:
            row = record.found[f"{precision} batch {batch}, graph, channels last"]
            assert row["error"] <= tolerance
            assert row["ratio"] > 0


def test_a_peer_that_computes_something_else_is_not_timed(
    context: Context, record: Record, monkeypatch
) -> None:
    pytest.importorskip("torch")
    import gpu_peers

    monkeypatch.setattr(gpu_peers, "TOLERANCES", dict.fromkeys(gpu_models.PRECISIONS, -1.0))
    gpu_peers.measure(context, "yolov3-tiny-416", record)
    rows = [row for name, row in record.found.items() if " batch " in name]
    assert len(rows) == 6
    assert all(row["problem"] == "its logits differ from ours" for row in rows)


def test_what_a_network_launches_can_be_compiled_ahead(context: Context) -> None:
    model, target = gpu_models.find_model(context, "yolov3-tiny-416"), HostTarget("fast")
    launched: set[tuple[str, str]] = set()

    class Recording(HostTarget):
        def kernel(self, file: str, name: str) -> Any:
            launched.add((file, name))
            return target.kernel(file, name)

    recording = Recording("fast")
    for precision in gpu_models.PRECISIONS:
        detector = gpu_models.load_ours(recording, model, precision)
        for batch in gpu_models.BATCHES:
            blob = gpu_models.blobs(model, batch)
            gpu_models.prepare_forward(recording, detector, blob).outputs()
    ahead = gpu_compile.network_kernels(target, model)
    files = {file for file, _ in ahead}
    assert {kernel for kernel in launched if kernel[0] in files} <= ahead
    assert {"convolution_mma.cu"} < files


def test_the_first_and_last_of_a_batch_are_the_same(context: Context) -> None:
    model = gpu_models.find_model(context, "yolov3-tiny-416")
    eight = gpu_models.blobs(model, 8)
    assert eight.shape == (8, 3, 32, 32)
    assert np.array_equal(eight[0], eight[7])
    assert np.array_equal(eight[:1], gpu_models.blobs(model, 1))
    assert len(np.unique(eight[:7], axis=0)) == 7


def test_pytests_log_is_read() -> None:
    log = """
FAILED tests/kernels/test_nms.py::test_order[fast] - AssertionError: 3 != 4
ERROR tests/kernels/test_yolo.py::test_yolo
==== 1 failed, 1200 passed, 3 skipped, 1 error in 61.2s ====
"""
    found = gpu_tests.read_log(log)
    assert found["counts"] == {"failed": 1, "passed": 1200, "skipped": 3, "error": 1}
    assert found["failures"] == {
        "tests/kernels/test_nms.py::test_order[fast]": "AssertionError: 3 != 4",
        "tests/kernels/test_yolo.py::test_yolo": "",
    }


NCU = """==PROF== Connected to process 1
"ID","Kernel Name","Block Size","Grid Size","gpu__time_duration.sum","launch__registers_per_thread"
"","","","","ns","register/thread"
"0","conv","(256, 1, 1)","(10, 1, 1)","1,500","64"
"1","pool","(256, 1, 1)","(10, 1, 1)","900","20"
"2","conv","(256, 1, 1)","(20, 1, 1)","2500","64"
"""


def test_ncus_table_is_digested() -> None:
    rows = gpu_profile.read_rows(NCU)
    assert [row["us"] for row in rows] == pytest.approx([1.5, 0.9, 2.5])
    costliest = gpu_profile.digest(rows)
    assert [row["us"] for row in costliest] == [4.0, 0.9]
    assert (costliest[0]["launches"], costliest[0]["share"]) == (2, 0.816)
    assert costliest[0]["longest"]["grid"] == "(20, 1, 1)"
    assert gpu_profile.read_rows("==ERROR== nothing") == []


@pytest.fixture
def results() -> dict[str, Any]:
    peers = {
        "tf32 batch 1, graph": {"ms": 0.5, "ours_ms": 2.0, "ratio": 0.25},
        "fp32 batch 1, eager": {"ms": 6.0, "ours_ms": 2.0, "ratio": 3.0},
        "fp32 batch 1, graph": {"ms": 4.0, "ours_ms": 2.0, "ratio": 2.0},
        "fp32 batch 1, contiguous": {"problem": "no memory"},
    }
    compiled = {"tf32 batch 1, compiled": {"ms": 0.4, "ours_ms": 2.0, "ratio": 0.2}}
    return {
        **{"target": "cuda", "commit": "abc", "date": "2030-01-02"},
        "stages": {
            "device": {"all": {"name": "Abacus 9000"}},
            "networks": {"yolo": {"fp16 problem": "layer 3 overflows"}},
            "peers": {"yolo": {"seconds": 1, **peers}},
            "compiled": {"yolo": compiled},
            "profile": {"fp16": {"seconds": 60.0, "error": "stopped after 60 s"}},
        },
    }


def test_only_the_best_peer_of_the_same_precision_counts(results: dict[str, Any]) -> None:
    found = peers_of(results["stages"], "yolo")
    best = {p: best_peer(found, p, 1) for p in gpu_models.PRECISIONS}
    names = {p: row and (row[0], row[1]["ms"]) for p, row in best.items()}
    assert names == {"fp32": ("graph", 4.0), "fp16": None, "tf32": ("compiled", 0.4)}
    assert best_peer(found, "fp32", 8) is None


def test_the_summary_has_ratios_first_and_failures_last(results: dict[str, Any]) -> None:
    lines = [line for line in summary_lines(results) if line]
    assert lines[0] == "cuda, Abacus 9000, commit abc, 2030-01-02"
    assert lines[1].split()[:4] == ["2.00", "x", "yolo", "fp32"]
    assert "  yolo fp16 problem: layer 3 overflows" in lines
    assert lines[-1] == "  FAILED profile fp16: stopped after 60 s"
