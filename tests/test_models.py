"""Models by name: which files are meant, and the one that comes with the package."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

import tinyyolo3
from tinyyolo3 import models
from tinyyolo3.darknet.config import Config, read_config
from tinyyolo3.errors import InputError, WeightsError
from tinyyolo3.models import BUNDLED, DEFAULT, PUBLISHED, ModelFiles, bundled_model, find_model
from tinyyolo3.testing.tolerances import RANDOM_NETWORK_BOX, RANDOM_NETWORK_PROBABILITY

DIGITS = bundled_model("digits")
#: What is written on the page that the README begins with, without blanks.
PAGE = ("3172048", "641905", "8762350", "149736")
#: The cfg that the bundled weights were trained with.
TRAINED = Path(__file__).parent.parent / "examples" / "digits" / "digits.cfg"

packaged = pytest.mark.skipif(
    not os.path.exists(DIGITS.weights), reason="the package has no digits.weights yet"
)


@pytest.fixture
def bundled(write_model, tiny_cfg, monkeypatch) -> ModelFiles:
    """A tiny model in the place of the bundled one, with names from 0."""
    files = write_model(tiny_cfg + "agnostic_nms=1\n", names=("0", "1"))
    for path in (files.cfg, files.weights, files.names):
        path.rename(path.with_stem("digits"))
    monkeypatch.setattr(models, "FOLDER", files.cfg.parent)
    return bundled_model("digits")


def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (48, 80, 3), np.uint8)


class TestFindModel:
    def test_paths_are_taken_as_they_are(self):
        assert find_model("a.cfg", "a.weights", ["x"]) == ModelFiles("a.cfg", "a.weights", ["x"])
        assert find_model("digits", "a.weights") == ModelFiles("digits", "a.weights", None)

    def test_nothing_and_a_name_mean_the_bundled_model(self):
        assert find_model() == find_model(DEFAULT) == bundled_model(DEFAULT)
        assert DEFAULT in BUNDLED
        assert find_model(names="own.names").names == "own.names"
        assert find_model(names="own.names").weights == DIGITS.weights

    def test_unknown_name_lists_what_is_known(self):
        with pytest.raises(InputError, match=r"'digit' is unknown; known are digits.*yolov3-tiny"):
            find_model("digit")

    @pytest.mark.parametrize("name", list(PUBLISHED))
    def test_published_name_says_where_its_files_are(self, name):
        with pytest.raises(InputError) as caught:
            find_model(name)
        assert f"/{name}.cfg and https://" in str(caught.value)
        assert f"/{name}.weights," in str(caught.value)

    @pytest.mark.parametrize("cfg", ["yolov3.cfg", "models/digits", Path("digits"), "", 3])
    def test_a_cfg_alone_is_no_model(self, cfg):
        with pytest.raises(InputError, match="needs weights"):
            find_model(cfg)

    def test_weights_alone_are_no_model(self):
        with pytest.raises(InputError, match=r"^yolov3\.weights needs a cfg"):
            find_model(weights="yolov3.weights")


class TestLoading:
    def test_loads_the_bundled_model_without_any_name(self, bundled):
        expected = tinyyolo3.load(bundled.cfg, bundled.weights, names=bundled.names)
        found = expected.detect(pixels(), threshold=0.1)
        assert len(found)
        for detector in (tinyyolo3.load(), tinyyolo3.load("digits")):
            assert detector.names == ("0", "1")
            assert detector.detect(pixels(), threshold=0.1).to_dict() == found.to_dict()

    @pytest.mark.usefixtures("bundled")
    def test_classes_suppress_each_other_where_nothing_else_is_said(self):
        detector = tinyyolo3.load()
        by_default = detector.detect(pixels(), threshold=0.1, nms=0.3)
        wanted = detector.detect(pixels(), threshold=0.1, nms=0.3, agnostic=True)
        apart = detector.detect(pixels(), threshold=0.1, nms=0.3, agnostic=False)
        assert by_default.to_dict() == wanted.to_dict()
        assert len(by_default) < len(apart)

    def test_names_may_be_others(self, bundled):  # noqa: ARG002
        assert tinyyolo3.load(names=["zero", "one"]).names == ("zero", "one")
        with pytest.raises(tinyyolo3.ConfigError, match="has 3 names"):
            tinyyolo3.load("digits", names=["a", "b", "c"])

    def test_missing_weights_are_named(self, bundled):
        os.remove(bundled.weights)
        with pytest.raises(WeightsError, match=r"digits\.weights: no such file"):
            tinyyolo3.load()


class TestPublished:
    def test_weights_are_known_by_their_digest(self, tmp_path, monkeypatch):
        place = tmp_path / "any name"
        place.write_bytes(b"weights" * 200_000)
        assert models.published_name(place) is None
        digest = hashlib.sha256(place.read_bytes()).hexdigest()
        entry = models.Published("https://a/b.cfg", "https://a/b.weights", digest)
        monkeypatch.setitem(PUBLISHED, "b", entry)
        assert models.published_name(place) == "b"

    def test_digests_are_sha256(self):
        digests = [entry.sha256 for entry in PUBLISHED.values() if entry.sha256]
        assert all(len(digest) == 64 and int(digest, 16) for digest in digests)
        assert len(set(digests)) == len(digests)


@packaged
class TestDigits:
    """What is promised of the model that comes with the package."""

    def test_is_small(self):
        assert sum(map(os.path.getsize, (DIGITS.cfg, DIGITS.weights, DIGITS.names))) < 2_000_000

    def test_looks_at_416_pixels_for_ten_digits(self):
        detector = tinyyolo3.load()
        assert detector.network.graph.input_shape == (3, 416, 416)
        assert detector.names == tuple("0123456789")
        assert detector.network.graph.heads[-1].agnostic_nms

    def test_sees_nothing_on_empty_paper(self):
        paper = np.full((700, 1000, 3), 235, np.uint8)
        assert len(tinyyolo3.load().detect(paper)) == 0

    def test_reads_the_example_page(self):
        """Its rows of digits, written in `examples/digits/example_page.py`; one may be misread."""
        found = tinyyolo3.load().detect(TRAINED.parent / "page.png")
        rows: dict[int, list[tuple[float, str]]] = {}
        for one in found:
            left, top, _, bottom = one.xyxy
            rows.setdefault(int((top + bottom) / 2 - 21) // 158, []).append((left, one.name))
        read = ["".join(name for _, name in sorted(row)) for _, row in sorted(rows.items())]
        assert len(read) == len(PAGE)
        wrong = [pair for line in zip(read, PAGE, strict=True) for pair in zip(*line, strict=True)]
        assert sum(one != other for one, other in wrong) <= 1, read

    def test_is_read_by_opencv_with_the_same_boxes(self):
        cv2 = pytest.importorskip("cv2")
        net = cv2.dnn.readNetFromDarknet(str(DIGITS.cfg), str(DIGITS.weights))
        x = np.random.default_rng(0).random((1, 3, 416, 416), np.float32)
        net.setInput(x)
        theirs = np.concatenate(net.forward(net.getUnconnectedOutLayersNames()))
        ours = tinyyolo3.load(parity="opencv", device="cpu").candidates(x)
        boxes_unit = ours.boxes_cxcywh_px / 416
        np.testing.assert_allclose(boxes_unit, theirs[:, :4], atol=RANDOM_NETWORK_BOX)
        np.testing.assert_allclose(ours.objectness, theirs[:, 4], atol=RANDOM_NETWORK_PROBABILITY)

    def test_is_the_network_that_was_trained(self):
        """Its layers differ in the suppression alone."""
        assert layers(read_config(DIGITS.cfg)) == layers(read_config(TRAINED))


def layers(config: Config) -> list[tuple[str, dict[str, str]]]:
    return [
        (
            section.kind,
            {n: option.text for n, option in section.options.items() if n != "agnostic_nms"},
        )
        for section in config.layers
    ]
