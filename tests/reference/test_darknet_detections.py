"""Darknet's own detections on real photographs: same boxes, same classes, same confidences."""

import json
from pathlib import Path

import numpy as np
import pytest

import tinyyolo3
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cpu.arithmetic import HAS_BFLOAT16
from tinyyolo3.loading import load_on
from tinyyolo3.testing.tolerances import (
    BFLOAT16_CONFIDENCE,
    BFLOAT16_CORNER_PX,
    DARKNET_CONFIDENCE,
    DARKNET_CORNER_PX,
    HALF_CONFIDENCE,
    HALF_CORNER_PX,
)

MODELS = ("yolo-fastest-1.1", "yolo-fastest-1.1-xl", "mobilenetv2-yolov3-nano-coco", "yoloface-50k")
IMAGES = ("dog.png", "eagle.png", "kite.png", "person.png")
#: Those that run on a target of kernels without a GPU in seconds.
QUICK_MODELS = ("yolo-fastest-1.1", "yoloface-50k")
#: How far a target of kernels may be off in each precision.
TOLERANCES = {
    "fp32": {"confidence": DARKNET_CONFIDENCE, "corner_px": DARKNET_CORNER_PX},
    "tf32": {"confidence": HALF_CONFIDENCE, "corner_px": HALF_CORNER_PX},
    "fp16": {"confidence": HALF_CONFIDENCE, "corner_px": HALF_CORNER_PX},
}
#: What Darknet's file has: 4 models, 4 images, 2 ways to resize.
CASES = len(MODELS) * len(IMAGES) * 2


@pytest.fixture(scope="module")
def answers(reference: Path) -> list[dict]:
    return json.loads((reference / "expected/zoo_detections.json").read_text())


def test_the_answers_cover_every_model_image_and_resize(answers: list[dict]) -> None:
    assert len({(a["model"], a["image"], a["resize"]) for a in answers}) == CASES


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("model", MODELS)
def test_detections_are_darknets(
    model: str, backend: str, reference: Path, answers: list[dict]
) -> None:
    folder = reference / "models" / model
    detector = tinyyolo3.load(
        folder / "model.cfg",
        folder / "model.weights",
        names=folder / "model.names",
        backend=backend,
    )
    for answer in (a for a in answers if a["model"] == model):
        found = detector.detect(
            reference / "images" / answer["image"],
            threshold=answer["threshold"],
            nms=answer["nms_iou"],
            resize=answer["resize"],
        )
        problems = compare(found, answer["detections"], answer["threshold"])
        assert not problems, (answer["image"], answer["resize"], problems)


@pytest.mark.skipif(not HAS_BFLOAT16, reason="this processor has no bfloat16 instructions")
@pytest.mark.parametrize("model", MODELS)
def test_bfloat16_finds_the_same_boxes(model: str, reference: Path, answers: list[dict]) -> None:
    folder = reference / "models" / model
    detector = tinyyolo3.load(folder / "model.cfg", folder / "model.weights", precision="bf16")
    for answer in (a for a in answers if a["model"] == model):
        found = detector.detect(
            reference / "images" / answer["image"],
            threshold=answer["threshold"],
            nms=answer["nms_iou"],
            resize=answer["resize"],
        )
        problems = compare(
            found,
            answer["detections"],
            answer["threshold"],
            confidence=BFLOAT16_CONFIDENCE,
            corner_px=BFLOAT16_CORNER_PX,
        )
        assert not problems, (answer["image"], answer["resize"], problems)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("model", MODELS)
def test_kernels_find_darknets_boxes(
    model: str, precision: str, quick_target: Target, reference: Path, answers: list[dict]
) -> None:
    if model not in QUICK_MODELS and quick_target.name != "cuda":
        pytest.skip("takes a GPU: TINYYOLO3_TARGET=cuda")
    folder = reference / "models" / model
    files = folder / "model.cfg", folder / "model.weights"
    detector = load_on(quick_target, *files, precision=precision)
    for resize in ("letterbox", "stretch"):
        cases = [a for a in answers if a["model"] == model and a["resize"] == resize]
        options = {"threshold": cases[0]["threshold"], "nms": cases[0]["nms_iou"]}
        images = [reference / "images" / answer["image"] for answer in cases]
        together = detector.detect(images, resize=resize, batch=3, **options)
        for answer, found in zip(cases, together, strict=True):
            assert (answer["threshold"], answer["nms_iou"]) == tuple(options.values())
            expected, threshold = answer["detections"], answer["threshold"]
            problems = compare(found, expected, threshold, **TOLERANCES[precision])
            assert not problems, (answer["image"], resize, problems)


def compare(
    found: tinyyolo3.Detections,
    expected: list[dict],
    threshold: float,
    *,
    confidence: float = DARKNET_CONFIDENCE,
    corner_px: float = DARKNET_CORNER_PX,
) -> list[str]:
    """Pair every expected box with one found; return what is left over on either side.

    A box within the tolerance of the threshold may be missing on either side.
    """
    free = list(range(len(found)))
    problems = []
    for box in expected:
        cx, cy, w, h = box["box_cxcywh"]
        corners = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        partners = [
            i
            for i in free
            if found.class_id[i] == box["class_id"]
            and abs(found.confidence[i] - box["confidence"]) <= confidence
            and abs(found.objectness[i] - box["objectness"]) <= confidence
            and np.abs(found.boxes_xyxy_px[i] - corners).max() <= corner_px
        ]
        if partners:
            free.remove(partners[0])
        elif abs(box["confidence"] - threshold) > confidence:
            problems.append(f"not found: {box}")
    for i in free:
        if abs(found.confidence[i] - threshold) > confidence:
            problems.append(f"not Darknet's: {found[i]}")
    return problems
