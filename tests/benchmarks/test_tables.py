"""The tables say what is stored."""

import json
from pathlib import Path
from typing import Any

import pytest

import tables
from evaluate_table import evaluate_table


def row(network_ms: float, precision: str = "float32", **more: float) -> dict[str, Any]:
    return {"version": "1.2", "precision": precision, "network_ms": network_ms} | {
        "peak_mb": round(10 * network_ms),
        **more,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    rows = {
        "tinyyolo3": row(10, detect_ms=16),
        "opencv": row(30, detect_ms=40),
        "ncnn": row(15),
        "openvino": row(20),
        "tinyyolo3-bf16": row(5, "bfloat16", detect_ms=9),
        "openvino-default": row(7, "bfloat16"),
    }
    return {
        **{"date": "2030-01-02", "device": "abacus", "cores": 2, "python": "3", "numpy": "2"},
        **{"numba": "0", "commit": "abc"},
        "networks": {"yolo": {"gflop": 1.5, "runs": 5, "threads": {"2": rows}}},
    }


def lines_of(results: dict[str, Any]) -> list[list[str]]:
    """Return the cells of every line for the network `yolo`."""
    found = [line for line in tables.cpu_tables(results).splitlines() if line.startswith("| yolo")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in found]


def test_ratios_are_peer_to_ours_and_the_best_peer_is_of_the_same_precision(results) -> None:
    ratios, figures = lines_of(results)
    assert ratios[:6] == ["yolo", "1.50", "2", "1.50 (ncnn)", "3.00", "2.50"]
    assert ratios[6:] == ["10.0", "100 / 150 / 300", "1.40 (OpenVINO default)"]
    assert figures[2:4] == ["10.0 (100)", "30.0 (300)"]


def test_it_says_where_there_were_more_rounds(results) -> None:
    assert "Medians of 5 interleaved rounds" in tables.cpu_tables(results)
    results["networks"]["small"] = {**results["networks"]["yolo"], "runs": 9}
    assert "Medians of 5 (small: 9) interleaved rounds" in tables.cpu_tables(results)


def test_evaluation_is_compared_from_files_to_measures() -> None:
    times = {"read_s": 1.0, "evaluate_s": 1.0, "total_s": 2.0}
    peer = {"read_s": 1.0, "evaluate_s": 49.0, "total_s": 50.0}
    results = {
        **{"date": "2030-01-02", "device": "abacus", "cores": 2, "python": "3", "numpy": "2"},
        **{"numba": "0", "commit": "abc", "runs": 5, "pycocotools": "2", "images": 5000},
        **{"classes": 80, "objects": 36500, "detections": 500000, "largest_difference": 1e-16},
        "engines": {"tinyyolo3, 1 threads": times, "pycocotools": peer},
    }
    lines = evaluate_table(results).splitlines()
    assert lines[2] == "| tinyyolo3, 1 threads | 25 | 2.0 | 1.0 | 1.0 |"
    assert "5,000 pictures" in lines[-1]


def test_what_was_not_measured_is_a_dash(results) -> None:
    rows = results["networks"]["yolo"]["threads"]["2"]
    results["networks"]["yolo"]["threads"]["2"] = {"tinyyolo3": rows["tinyyolo3"]}
    (ratios, figures) = lines_of(results)
    assert ratios[3:6] == ["–", "–", "–"]
    assert figures == ["yolo", "2", "10.0 (100)"]


def test_an_engine_may_lack_one_network(results) -> None:
    rows = results["networks"]["yolo"]["threads"]["2"]
    results["networks"]["yolo"]["threads"]["1"] = {"tinyyolo3": rows["tinyyolo3"]}
    _, _, _, figures = lines_of(results)
    assert figures[1:4] == ["1", "10.0 (100)", "–"]


def test_versions_and_precisions_are_named_once(results) -> None:
    last = tables.cpu_tables(results).splitlines()[-1]
    assert "tinyyolo3 1.2, OpenCV 1.2, OpenVINO 1.2, ncnn 1.2; NumPy 2" in last
    assert "float32 (in bfloat16: tinyyolo3 bf16, OpenVINO default)" in last


def test_only_what_is_between_the_markers_changes() -> None:
    begin, end = tables.markers("gpu")
    readme = f"before\n{begin}\nold\n{end}\nafter\n"
    assert tables.with_table(readme, "new", "gpu") == readme.replace("old", "new")


def test_a_readme_without_the_markers_is_refused() -> None:
    with pytest.raises(SystemExit, match="has no lines <!-- benchmark:cpu --> and"):
        tables.with_table("before", "new", "cpu")


@pytest.fixture
def files(results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A README with markers, and the CPU's results, in a folder of their own."""
    monkeypatch.setattr(tables, "README", tmp_path / "README.md")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    lines = [marker for name in ("cpu", "gpu") for marker in tables.markers(name)]
    tables.README.write_text("\n".join(lines))
    (tmp_path / "cpu.json").write_text(json.dumps(results))
    return tmp_path


def check(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["tables.py", *arguments])
    tables.main()


GPU = {
    **{"target": "cuda", "commit": "abc", "date": "2030-01-02"},
    "stages": {
        "device": {
            "all": {
                "name": "Abacus 9000",
                "nvrtc": "13.5",
                "versions": {"torch": "2", "numpy": "3"},
            }
        },
        "networks": {
            "yolo": {
                "fp32 batch 1": {"forward": {"ms": 2.2}, "detect_ms": 2.6},
                "fp32 errors": {"relative": [1e-7, 4e-7]},
            },
            "other": {"fp32 batch 8": {"forward": {"ms": 12.0}, "detect_ms": 1.5}},
        },
        "peers": {
            "yolo": {
                "torch": {"version": "2", "cudnn": 91002},
                "fp32 batch 1, graph, channels last": {"ms": 3.0, "ours_ms": 2.0, "ratio": 1.5},
                "fp16 batch 1, eager, channels last": {"ms": 1.0, "ours_ms": 0.5, "ratio": 2.0},
            }
        },
        "compiled": {
            "yolo": {"fp16 batch 1, compiled, graph": {"ms": 0.6, "ours_ms": 0.5, "ratio": 1.2}}
        },
        "ceilings": {
            "all": {
                **{"copy_gb_per_s": 4300.0, "fp32_tflop_per_s": 51.0, "fp16_tflop_per_s": 740.0}
            }
        },
    },
}


def test_the_gpus_table_is_there_if_its_results_are(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(monkeypatch)
    with pytest.raises(SystemExit, match=r"^0$"):
        check(monkeypatch, "--check")
    assert "Abacus" not in tables.README.read_text()
    (files / "gpu.json").write_text(json.dumps(GPU))
    with pytest.raises(SystemExit, match=r"^1$"):
        check(monkeypatch, "--check")
    check(monkeypatch)
    lines = tables.README.read_text().splitlines()
    rows = [line for line in lines if line.startswith("| yolo | fp")]
    exact, half = ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows)
    assert exact[1:5] == ["fp32", "1", "1.50 (graph, channels last)", "2.00"]
    assert exact[5:] == ["3.00", "–", "2.60", "4e-07"]
    # The best of the same precision, compiled or not.
    assert half[1:] == ["fp16", "1", "1.20 (compiled, graph)", "0.50", "0.60", "1.00", "–", "–"]
    assert "| other | fp32 | 8 | – | 12.0 | – | – | 1.50 | – |" in lines
    (conditions,) = [line for line in lines if "Abacus 9000" in line]
    assert "torch 2, NumPy 3, cuDNN 91002, NVRTC 13.5; commit abc, 2030-01-02." in conditions
    assert "matrices of float32 at 51 TFLOP/s, of float16 at 740 TFLOP/s (cuBLAS)" in conditions
