"""The GPU run's tables of tensor cores, without a GPU, and what is kept of them."""

import json
from pathlib import Path
from typing import Any

import pytest

import gpu_keep
import gpu_tensor
import gpu_tensor_checks
from gpu_context import Context, Record
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.layers.convolution.cuda_algorithms import Problem
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16, INSTANCES, TF32, MmaTile
from tinyyolo3.layers.convolution.cuda_tensor import tensor_instances
from tinyyolo3.layers.convolution.cuda_tensor_choice import named_tile


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("host", tmp_path, tmp_path)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "record.json", "test")


def test_tiles_of_tensor_cores_are_tried_if_their_instance_is_right(
    context: Context, record: Record, monkeypatch
) -> None:
    right = MmaTile(32, 64, 128, 2, 2, 4, 4)
    others = [named_tile(tile) for tile in tensor_instances(TF32) if tile != right]
    checks = {"shares": {}, "wrong": [], "wrong_instances": others}
    monkeypatch.setattr(gpu_tensor, "check_instances", lambda *_: checks)
    seen: dict[str, Any] = {}

    def chain_ms(*given: Any, tune_s: float, **_: Any) -> dict[str, Any]:
        _, precision, batch, _, ranked = given
        seen.update(precision=precision, batch=batch, ranked=ranked, tune_s=tune_s)
        return {}

    monkeypatch.setattr(gpu_tensor, "chain_ms", chain_ms)
    gpu_tensor.measure(context, "tf32-1", record)
    assert (seen["precision"], seen["batch"]) == (TF32, 1)
    assert 0 < seen["tune_s"] < context.deadline_s
    assert {(tile.pixels, tile.filters) for tiles in seen["ranked"].values() for tile in tiles} == {
        (32, 64)
    }
    assert record.found["7 9 3 40 3 (1, 1) 1"]["us"] <= record.found["sum"]["us"]


def test_without_time_only_the_models_tile_is_tried() -> None:
    problem, target = Problem(1, 5, 5, 16, 32, 1), HostTarget("fast")
    instances = tensor_instances(FP16)
    ranked, row = gpu_tensor.table_row(target, problem, FP16, instances, limit=0.0, tiny=False)
    assert len(ranked) == len(row["tried"]) == 1 < row["likely"]
    assert row["tile"] == row["chosen"]


def test_a_wrong_instance_of_tensor_cores_is_named(monkeypatch) -> None:
    monkeypatch.setattr(gpu_tensor_checks, "tensor_instances", lambda _: (*INSTANCES,)[-1:])
    monkeypatch.setattr(gpu_tensor_checks, "SHAPES", gpu_tensor_checks.SHAPES[:4])
    bound = gpu_tensor_checks.tolerances.tensor_cores
    assert not gpu_tensor_checks.check_instances(HostTarget("fast"), TF32, tiny=True)["wrong"]
    monkeypatch.setattr(
        gpu_tensor_checks.tolerances, "tensor_cores", lambda *given: 1e-9 * bound(*given)
    )
    found = gpu_tensor_checks.check_instances(HostTarget("fast"), TF32, tiny=True)
    assert found["wrong"]
    assert found["wrong_instances"] == [named_tile([*INSTANCES][-1])]


def test_what_a_run_found_quickest_is_kept_beside_what_earlier_ones_did(
    tmp_path: Path, monkeypatch
) -> None:
    files = {name: tmp_path / f"{name}.json" for name in ("algorithms_file", "choices_file")}
    for name, file in files.items():
        monkeypatch.setattr(gpu_keep, name, lambda device, file=file: file)  # noqa: ARG005
    problems = [[1, 13, 13, 256, filters, 3, [1, 1], 1] for filters in (64, 128, 256)]
    tiles = [["mma", 128, 64, 128, 2, 2, 4, 2, parts, False] for parts in (1, 2)]
    tiles.append(["wgmma", 64, 128, 2, 6, 1, 3, True])

    def results(*rows: list[Any]) -> dict[str, Any]:
        stages = {"device": {"all": {"name": "Abacus 9000"}}}
        return {"stages": {**stages, "tensor": {"fp16-1": {"chain": {"tiles": rows}}}}}

    first = results([problems[0], tiles[0]], [problems[1], tiles[0]])
    assert gpu_keep.keep(first) == [files["choices_file"]]
    gpu_keep.keep(results([problems[1], tiles[1]], [problems[2], tiles[2]]))
    kept = json.loads(files["choices_file"].read_text())
    assert [(row["problem"], row["tile"]) for row in kept] == [
        (problems[0], tiles[0]),
        (problems[1], tiles[1]),
        (problems[2], tiles[2]),
    ]
    assert {row["precision"] for row in kept} == {"fp16"}
    # A run without such stages changes nothing.
    assert gpu_keep.keep({"stages": {"device": {"all": {"name": "Abacus 9000"}}}}) == []
