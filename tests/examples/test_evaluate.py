"""What is measured: of a perfect reader everything, of one that mistakes 7 for 1 that."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import digits.evaluate
from digits.evaluate import SHOWN, evaluate_sets, result_lines
from digits.scenes import Scene
from digits.sets import SETS
from tinyyolo3.detections import Detections

PAGES = replace(SETS[2], count=2)


class Reader:
    """Stands in for a detector that finds what the labels say, with classes changed."""

    def __init__(self, scenes: list[Scene], **read_as: int) -> None:
        self._scenes, self._read_as = scenes, {int(k[1:]): v for k, v in read_as.items()}
        self.options: list[dict[str, Any]] = []

    def detect(self, images: list[np.ndarray], **options: Any) -> list[Detections]:
        self.options.append(options)
        return [self._read(image) for image in images]

    def _read(self, image: np.ndarray) -> Detections:
        (scene,) = (one for one in self._scenes if np.array_equal(one.picture, image))
        digits = np.array([self._read_as.get(int(d), int(d)) for d in scene.digits])
        sure = np.full(len(digits), 0.9, np.float32)
        boxes = scene.boxes_xyxy_px.astype(np.float32)
        return Detections(boxes, sure, digits, sure, None, "", image)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(PAGES.pictures())


def test_a_perfect_reader_reaches_everything(scenes: list[Scene]) -> None:
    reader: Any = Reader(scenes)
    (result,) = evaluate_sets(reader, [PAGES])
    assert (result.pictures, result.objects) == (2, sum(len(one.digits) for one in scenes))
    assert result.measures["AP"] == pytest.approx(1)
    assert (result.precision, result.recall, result.passed) == (1, 1, True)
    strict, shown = reader.options
    assert strict["size"] == shown["size"] == (416, 416)
    assert (strict["agnostic"], shown["agnostic"]) == (False, True)
    assert strict["threshold"] < shown["threshold"] == SHOWN


def test_a_reader_of_sevens_as_ones_is_found_out(scenes: list[Scene]) -> None:
    reader: Any = Reader(scenes, d7=1)
    (result,) = evaluate_sets(reader, [PAGES])
    sevens = sum(int((one.digits == 7).sum()) for one in scenes)
    assert sevens > 2
    assert result.confusion[7, 1] == sevens
    assert result.confusion[7, 7] == 0
    assert result.precision == result.recall == pytest.approx(1 - sevens / result.objects)
    assert not result.passed
    assert result.classes[7] == 0
    lines = "\n".join(result_lines([result]))
    assert f"of {sevens} 7s, {sevens} read as 1, 0 as 7, 0 as others, 0 not seen" in lines
    assert "missed" in lines
    assert result.as_json()["confusion"][7][1] == sevens


def test_a_part_of_a_set_reaches_no_goal(scenes: list[Scene]) -> None:
    reader: Any = Reader(scenes)
    (result,) = evaluate_sets(reader, [PAGES], most=1)
    assert (result.pictures, result.passed) == (1, None)


def test_what_is_told_of_the_model_is_what_was_stored() -> None:
    folder = Path(digits.evaluate.__file__).parent
    told = (folder / "README.md").read_text(encoding="utf-8")
    stored = json.loads((folder / "evaluation.json").read_text())
    assert [one["set"] for one in stored["sets"]] == [one.name for one in SETS]
    for one, own in zip(stored["sets"], SETS, strict=True):
        assert one["AP50"] >= own.least_AP50
        assert one["AP"] >= own.least_AP
        row = (
            f"| {own.name} | {one['AP50']:.3f} ({own.least_AP50:.2f}) "
            f"| {one['AP']:.3f} ({own.least_AP:.2f}) "
            f"| {one['precision']:.3f} | {one['recall']:.3f} |"
        )
        assert row in told
