"""The evaluation is what it was before there was a model."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from digits.scenes import Scene
from digits.sets import SETS, EvaluationSet

#: Of the first two and the last picture of each set: the SHA-256 of their labels, and the grey
#: levels of each picture made four pixels wide and high.
FIXED = {
    "held-out digits": (
        "ab97494647002756989d23d33ae35f93a88126a90731066d8ab94a5ca1d2fdf6",
        (
            "fdf7dafcced289f0c2dbe9fff8f4e5db",
            "7f80a4ab7d578aaa7d707d9f7d717d88",
            "4f4a3634595c4f4552523c3d4233303a",
        ),
    ),
    "unseen writers": (
        "32716b81637a49a7fdac2162baea53eeb5ad448533948b8a25328c0af2ab7289",
        (
            "d5d7d8e1cadfc9d8c3e0d3c3c2d4d8e0",
            "b8a88475919291967488adce6889caeb",
            "d2e8d3c2ead9e6cae4cdc9e4c8c5d2da",
        ),
    ),
    "pen-drawn pages": (
        "c5803f18338af2e13d639a722953884186fa7b358ef8021b0d4dd5da333d36b5",
        (
            "799bbeb790b3c5b791b2c5c57e97b8db",
            "837e7a937b7a8caf898bb2bd9caaadb7",
            "c79eb4c2bab6c1dcc1c3d0ccb6bcc1b5",
        ),
    ),
}
#: Grey levels by which other decoders of JPEG and other processors' powers may differ, averaged.
ALIKE = 2


@pytest.mark.parametrize("evaluation", SETS, ids=lambda one: one.name)
def test_sets_are_as_they_were_fixed(evaluation: EvaluationSet) -> None:
    pictures = list(evaluation.pictures((0, 1, evaluation.count - 1)))
    labels, thumbnails = FIXED[evaluation.name]
    assert digest(pictures) == labels
    for scene, expected in zip(pictures, thumbnails, strict=True):
        difference = thumbnail(scene) - np.frombuffer(bytes.fromhex(expected), np.uint8)
        assert np.abs(difference).max() <= ALIKE


def test_sets_are_of_the_sizes_that_were_promised() -> None:
    sizes = [(one.name, one.count, one.input_px, one.least_AP50, one.least_AP) for one in SETS]
    assert sizes == [
        ("held-out digits", 500, (256, 256), 0.97, 0.75),
        ("unseen writers", 500, (256, 256), 0.95, 0.73),
        ("pen-drawn pages", 60, (416, 416), 0.88, 0.65),
    ]


def digest(pictures: list[Scene]) -> str:
    rows = [
        [scene.digits.tolist(), np.rint(scene.boxes_xyxy_px * 10).astype(int).tolist()]
        for scene in pictures
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def thumbnail(scene: Scene) -> np.ndarray:
    grey = Image.fromarray(scene.picture).convert("L")
    return np.asarray(grey.resize((4, 4), Image.Resampling.BOX), np.int16).ravel()
