"""The full-size networks with seeded random weights, every decoded box as Darknet has it."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tinyyolo3
from tinyyolo3.cuda.target import Target
from tinyyolo3.image.files import read_image
from tinyyolo3.image.geometry import boxes_image_from_network_unit, letterbox_geometry
from tinyyolo3.image.resize import network_input_numba
from tinyyolo3.loading import load_on
from tinyyolo3.testing.tolerances import (
    HALF_NETWORK_BOX,
    HALF_NETWORK_PROBABILITY,
    RANDOM_NETWORK_BOX,
    RANDOM_NETWORK_PROBABILITY,
)

NETWORKS = {
    "yolov3-416": "yolov3",
    "yolov3-tiny-416": "yolov3-tiny",
    "yolov3-spp-608": "yolov3-spp",
}


#: The one that runs on a target of kernels without a GPU in seconds.
QUICK_CASE = "yolov3-tiny-416"

Load = Callable[..., tinyyolo3.Detector]


@pytest.fixture
def load_random(reference: Path, random_weights: ModuleType, tmp_path: Path) -> Load:
    """A function that loads one of the cfgs with its seeded random weights."""

    def load(name: str, target: Target | None = None, **options: object) -> tinyyolo3.Detector:
        cfg, weights = reference / "cfg" / f"{name}.cfg", tmp_path / "random.weights"
        random_weights.write_random_weights(cfg, weights, seed=0)
        if target is None:
            detector = tinyyolo3.load(cfg, weights, **options)
        else:
            detector = load_on(target, cfg, weights, **options)
        weights.unlink()
        return detector

    return load


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("case", NETWORKS)
def test_every_candidate_is_darknets(
    case: str, backend: str, reference: Path, load_random: Load
) -> None:
    side = int(case.rsplit("-", 1)[1])
    detector = load_random(NETWORKS[case], backend=backend, size=(side, side))
    check_candidates(case, detector, reference)


@pytest.mark.parametrize("case", NETWORKS)
def test_every_candidate_of_the_kernels_is_darknets(
    case: str, quick_target: Target, reference: Path, load_random: Load
) -> None:
    if case != QUICK_CASE and quick_target.name != "cuda":
        pytest.skip("takes a GPU: TINYYOLO3_TARGET=cuda")
    side = int(case.rsplit("-", 1)[1])
    detector = load_random(NETWORKS[case], quick_target, size=(side, side))
    check_candidates(case, detector, reference)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["tf32", "fp16"])
@pytest.mark.parametrize("case", NETWORKS)
def test_every_candidate_on_tensor_cores_is_darknets(
    case: str, precision: str, quick_target: Target, reference: Path, load_random: Load
) -> None:
    if case != QUICK_CASE and quick_target.name != "cuda":
        pytest.skip("takes a GPU: TINYYOLO3_TARGET=cuda")
    side = int(case.rsplit("-", 1)[1])
    size = (side, side)
    detector = load_random(NETWORKS[case], quick_target, size=size, precision=precision)
    check_candidates(case, detector, reference, HALF_NETWORK_BOX, HALF_NETWORK_PROBABILITY)


def check_candidates(
    case: str,
    detector: tinyyolo3.Detector,
    reference: Path,
    box: float = RANDOM_NETWORK_BOX,
    probability: float = RANDOM_NETWORK_PROBABILITY,
) -> None:
    """Compare a picture's candidates with Darknet's: boxes relatively, the rest absolutely."""
    _, side, _ = detector.network.graph.input_shape
    image = read_image(reference / "images/dog.png")
    pixels = network_input_numba(image, side, side, "letterbox")
    found = detector.candidates(pixels[None])

    expected = np.load(reference / f"expected/{case}-random.npz")
    rows = expected["index"]
    assert len(found.objectness) == expected["total"]
    geometry = letterbox_geometry(image.shape[1], image.shape[0], side, side)
    boxes_unit = boxes_image_from_network_unit(found.boxes_cxcywh_px[rows] / side, geometry)
    boxes_px = boxes_unit * np.tile([image.shape[1], image.shape[0]], 2)
    scale = np.abs(expected["box_cxcywh_pixels"]).max(axis=1, keepdims=True)
    assert (np.abs(boxes_px - expected["box_cxcywh_pixels"]) / scale).max() < box
    close = {"rtol": 0, "atol": probability}
    np.testing.assert_allclose(found.objectness[rows], expected["objectness"], **close)
    np.testing.assert_allclose(found.probability[rows], expected["class_probability"], **close)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_darknet53_gives_darknets_softmax(backend: str, reference: Path, load_random: Load) -> None:
    check_softmax(load_random("darknet53", backend=backend), reference)


def test_darknet53_on_a_gpu_gives_darknets_softmax(
    gpu: Target, reference: Path, load_random: Load
) -> None:
    check_softmax(load_random("darknet53", gpu), reference)


def check_softmax(detector: tinyyolo3.Detector, reference: Path) -> None:
    """Compare a classifier's output with Darknet's."""
    x = np.random.RandomState(7).random_sample((1, 3, 256, 256)).astype(np.float32)
    (output,) = detector.forward(x)
    expected = np.load(reference / "expected/darknet53-256-random.npz")["probability"]
    np.testing.assert_allclose(output.ravel(), expected, rtol=0, atol=RANDOM_NETWORK_PROBABILITY)
