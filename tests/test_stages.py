"""The compiled and the plain steps around the network: the same boxes, whichever are in use."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import tinyyolo3
from tinyyolo3.pipeline import cpu as pipeline_module
from tinyyolo3.stages import COMPILED, PLAIN, stages

MODELS = ("yolo-fastest-1.1", "yolo-fastest-1.1-xl", "mobilenetv2-yolov3-nano-coco", "yoloface-50k")
IMAGES = ("dog.png", "eagle.png", "kite.png", "person.png")


def detect_with(using, monkeypatch, detector, picture, **options):
    monkeypatch.setattr(pipeline_module, "stages", lambda: using)
    return detector.detect(picture, **options)


def assert_same(a: tinyyolo3.Detections, b: tinyyolo3.Detections) -> None:
    for name in ("boxes_xyxy_px", "confidence", "class_id", "objectness"):
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"resize": "stretch", "multi_label": False},
        {"nms": 0.2, "nms_kind": "diou"},
        {"nms": 0.3, "agnostic": True},
        {"nms": None, "size": (64, 96)},
    ],
)
def test_both_find_the_same(tiny_model, monkeypatch, options) -> None:
    detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
    picture = np.random.default_rng(5).integers(0, 256, (48, 80, 3), np.uint8)
    options = {"threshold": 0.05, **options}
    found = detect_with(PLAIN, monkeypatch, detector, picture, **options)
    assert len(found) > 3
    assert_same(found, detect_with(COMPILED, monkeypatch, detector, picture, **options))


@pytest.mark.parametrize("model", MODELS)
def test_both_find_the_same_in_photographs(model: str, reference: Path, monkeypatch) -> None:
    folder = reference / "models" / model
    detector = tinyyolo3.load(folder / "model.cfg", folder / "model.weights")
    for image in IMAGES:
        picture = reference / "images" / image
        found = detect_with(PLAIN, monkeypatch, detector, picture, threshold=0.1)
        assert_same(found, detect_with(COMPILED, monkeypatch, detector, picture, threshold=0.1))


@pytest.mark.parametrize("step", [field.name for field in dataclasses.fields(PLAIN)])
def test_the_detector_asks_for_its_steps_at_every_call(tiny_model, monkeypatch, step) -> None:
    detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
    picture = np.zeros((9, 9, 3), np.uint8)
    detector.detect(picture)

    def refuse(*_arguments, **_options):
        raise RuntimeError(step)

    broken = dataclasses.replace(PLAIN, **{step: refuse})
    with pytest.raises(RuntimeError, match=step):
        detect_with(broken, monkeypatch, detector, picture, threshold=0.0)
    detect_with(PLAIN, monkeypatch, detector, picture)


def test_the_compiled_steps_are_in_use() -> None:
    assert stages() is COMPILED
