"""Sixteen networks of Darknet's collection, v2 to v7, against Darknet's stored answers."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tinyyolo3
from tinyyolo3.cuda.target import Target
from tinyyolo3.loading import load_on
from tinyyolo3.testing.tolerances import COLLECTION_BOX, COLLECTION_PROBABILITY

NETWORKS = (
    *("csresnext50-panet-spp", "darknet19", "densenet201", "efficientnet_b0", "enet-coco"),
    *("extraction", "tiny", "yolov2-tiny", "yolov2-voc", "yolov3-tiny-prn", "yolov3-tiny_3l"),
    *("yolov4", "yolov4-csp", "yolov4-p5", "yolov4-tiny", "yolov7-tiny"),
)


@pytest.mark.parametrize("network", NETWORKS)
def test_network_gives_darknets_answer(
    network: str, reference: Path, random_weights: ModuleType, tmp_path: Path
) -> None:
    cfg = reference / "cfg_collection" / f"{network}.cfg"
    check_answer(cfg, random_weights, tmp_path / "random.weights", tinyyolo3.load)


@pytest.mark.parametrize("network", NETWORKS)
def test_network_on_a_gpu_gives_darknets_answer(
    network: str, gpu: Target, reference: Path, random_weights: ModuleType, tmp_path: Path
) -> None:
    cfg = reference / "cfg_collection" / f"{network}.cfg"
    check_answer(cfg, random_weights, tmp_path / "random.weights", partial(load_on, gpu))


def check_answer(
    cfg: Path,
    random_weights: ModuleType,
    weights: Path,
    load: Callable[[Path, Path], tinyyolo3.Detector],
) -> None:
    """Compare a network's output, or its candidates, with Darknet's."""
    answer = json.loads(cfg.with_suffix(".json").read_text())
    assert random_weights.write_random_weights(cfg, weights, seed=1) == answer["params"]
    detector = load(cfg, weights)
    weights.unlink()
    width, height = answer["size"]
    x = np.random.RandomState(7).random_sample((1, 3, height, width)).astype(np.float32)
    if "output" in answer:
        (output,) = detector.forward(x)
        np.testing.assert_allclose(
            output.ravel(), answer["output"], rtol=0, atol=COLLECTION_PROBABILITY
        )
        return
    found = detector.candidates(x)
    rows = np.array(answer["index"])
    assert found.probability.shape == (answer["total"], answer["classes"])
    expected = np.array(answer["box"])
    scale = np.abs(expected[:, :4]).max(axis=1, keepdims=True)
    boxes = found.boxes_cxcywh_px[rows]
    assert (np.abs(boxes - expected[:, :4]) / scale).max() < COLLECTION_BOX
    np.testing.assert_allclose(
        found.objectness[rows], expected[:, 4], rtol=0, atol=COLLECTION_PROBABILITY
    )
    best = found.probability[rows, answer["best"]]
    np.testing.assert_allclose(best, answer["best_prob"], rtol=0, atol=COLLECTION_PROBABILITY)
    np.testing.assert_allclose(
        found.probability[rows].max(axis=1), best, rtol=0, atol=COLLECTION_PROBABILITY
    )
