"""The tables say what is stored."""

from typing import Any

import pytest

import tables


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
        **{"numba": "0", "commit": "abc", "runs": 5},
        "networks": {"yolo": {"gflop": 1.5, "threads": {"2": rows}}},
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
    readme = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    assert tables.with_table(readme, "new") == readme.replace("old", "new")
