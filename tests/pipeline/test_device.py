"""The path of pictures on a device: the CPU's boxes, two batches under way, room that grows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

import tinyyolo3
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import ImageError, InputError
from tinyyolo3.loading import load_on
from tinyyolo3.pipeline import slot as slot_module
from tinyyolo3.pipeline.slot import KEPT_PATHS, Slot
from tinyyolo3.testing.deferred import DeferredTarget
from tinyyolo3.testing.tolerances import DEVICE_CONFIDENCE, DEVICE_CORNER_PX

#: Low, so that random weights give boxes of every kind.
THRESHOLD = 0.05


@dataclass(frozen=True)
class Both:
    """One model on the CPU and on a device."""

    cpu: tinyyolo3.Detector
    device: tinyyolo3.Detector


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(6)
    return [rng.integers(0, 256, (20 + 7 * i, 90 - 9 * i, 3), np.uint8) for i in range(5)]


@pytest.fixture
def load_both(target: Target, write_model: Callable) -> Callable[..., Both]:
    """A function that loads a model twice, onto the host as a target that defers its work."""

    def load(*cfg: str) -> Both:
        files = write_model(*cfg)
        cpu = tinyyolo3.load(files.cfg, files.weights, names=files.names, device="cpu")
        onto = DeferredTarget(target) if isinstance(target, HostTarget) else target
        return Both(cpu, load_on(onto, files.cfg, files.weights, names=files.names))

    return load


@pytest.fixture
def both(load_both: Callable[..., Both]) -> Both:
    return load_both()


def assert_same(found: tinyyolo3.Detections, expected: tinyyolo3.Detections) -> None:
    """Check that rows pair off; two whose confidences nearly tie may stand in another order."""
    assert (np.diff(found.confidence) <= 0).all()
    assert len(found) == len(expected)
    free = np.ones(len(found), bool)
    for row in range(len(expected)):
        fits = free & (found.class_id == expected.class_id[row])
        for name in ("confidence", "objectness"):
            difference = getattr(found, name) - getattr(expected, name)[row]
            fits &= np.abs(difference) <= DEVICE_CONFIDENCE
        corners = np.abs(found.boxes_xyxy_px - expected.boxes_xyxy_px[row])
        fits &= corners.max(axis=1) <= DEVICE_CORNER_PX
        assert fits.any(), f"not found: {expected[row]}"
        free[fits.argmax()] = False
    for name in ("boxes_xyxy_px", "confidence", "class_id", "objectness"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    assert found.source == expected.source
    assert found.image is expected.image


def assert_bits(found: list[tinyyolo3.Detections], expected: list[tinyyolo3.Detections]) -> None:
    for one, other in zip(found, expected, strict=True):
        for name in ("boxes_xyxy_px", "confidence", "class_id", "objectness"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nms": None},
        {"nms": 0.1, "nms_kind": "diou"},
        {"nms": 0.2, "agnostic": True},
        {"classes": ["dog"]},
        {"multi_label": False},
        {"clip": True, "resize": "stretch"},
        {"size": (64, 48)},
        {"threshold": 1.0},
    ],
    ids=str,
)
def test_a_picture_has_the_cpus_boxes(
    both: Both, pictures: list[np.ndarray], options: dict[str, object]
) -> None:
    options = {"threshold": THRESHOLD} | options
    expected = both.cpu.detect(pictures[1], **options)
    assert_same(both.device.detect(pictures[1], **options), expected)
    assert len(expected) > 3 or options["threshold"] == 1


def test_a_grey_network(load_both: Callable[..., Both], tiny_cfg: str, pictures: list) -> None:
    both = load_both(tiny_cfg.replace("channels=3", "channels=1"))
    found = both.device.detect(pictures[0], threshold=THRESHOLD)
    assert_same(found, both.cpu.detect(pictures[0], threshold=THRESHOLD))


def test_a_network_that_takes_no_pictures(
    load_both: Callable[..., Both], tiny_cfg: str, pictures: list
) -> None:
    both = load_both(tiny_cfg.replace("channels=3", "channels=4"))
    with pytest.raises(InputError, match="the network takes 4 channels"):
        both.device.detect(pictures[0])


class TestBatches:
    """Lists of pictures, some of which are still under way when others come back."""

    @pytest.mark.parametrize("batch", [1, 2, 5])
    def test_every_picture_has_its_own_boxes(
        self, both: Both, pictures: list[np.ndarray], batch: int
    ) -> None:
        found = both.device.detect(pictures, threshold=THRESHOLD, batch=batch)
        expected = both.cpu.detect(pictures, threshold=THRESHOLD)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)

    def test_results_are_the_same_from_run_to_run(self, both: Both, pictures: list) -> None:
        expected = both.device.detect(pictures, threshold=THRESHOLD, batch=2)
        for _ in range(3):
            assert_bits(both.device.detect(pictures, threshold=THRESHOLD, batch=2), expected)

    def test_neighbours_change_no_bit(self, both: Both, pictures: list) -> None:
        found = both.device.detect(pictures, threshold=THRESHOLD, batch=5)
        turned = both.device.detect(pictures[::-1], threshold=THRESHOLD, batch=5)
        assert_bits(turned[::-1], found)

    def test_no_pictures(self, both: Both) -> None:
        assert both.device.detect([]) == []

    def test_a_batch_is_submitted_before_the_one_before_is_collected(
        self, both: Both, pictures: list, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events = []
        for name in ("submit", "collect"):
            original = getattr(Slot, name)

            def note(slot: Slot, *arguments: object, name=name, original=original) -> object:
                events.append(name)
                return original(slot, *arguments)

            monkeypatch.setattr(Slot, name, note)
        both.device.detect(pictures, batch=1)
        assert events == ["submit", "submit", *3 * ["collect", "submit"], "collect", "collect"]

    def test_a_picture_that_cannot_be_read_leaves_the_slots_free_and_at_rest(
        self, both: Both, pictures: list
    ) -> None:
        for _ in range(3):
            with pytest.raises(ImageError):
                both.device.detect([pictures[0], pictures[1], b"no picture"], batch=1)
        for slot in list(both.device._pipeline._free.queue):
            assert not isinstance(slot._target, DeferredTarget) or slot._target.done
        found = both.device.detect(pictures, threshold=THRESHOLD, batch=1)
        assert_same(found[3], both.cpu.detect(pictures[3], threshold=THRESHOLD))

    def test_several_threads_share_a_detector(self, both: Both, pictures: list) -> None:
        expected = both.device.detect(pictures, threshold=THRESHOLD, batch=2)

        def detect(_number: int) -> list[tinyyolo3.Detections]:
            return both.device.detect(pictures, threshold=THRESHOLD, batch=2)

        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(detect, range(8)):
                assert_bits(found, expected)

    def test_memory_of_a_few_sizes_is_kept(self, both: Both, pictures: list) -> None:
        for side in (32, 64, 96, 32, 128, 160, 192, 32):
            options = {"threshold": THRESHOLD, "size": (side, 32)}
            found = both.device.detect(pictures[2], **options)
            assert_same(found, both.cpu.detect(pictures[2], **options))
        used, other = [both.device._pipeline._free.get() for _ in range(2)]
        assert len(used._paths) == KEPT_PATHS
        assert len(other._paths) == 0, "one picture after the other needs one slot's memory"


class TestManyRows:
    """More rows than there is room for: room is made, or the CPU suppresses them."""

    @pytest.fixture(autouse=True)
    def little_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slot_module, "FIRST_CAPACITY", 256)

    @pytest.mark.parametrize("nms", [0.45, None])
    def test_room_is_made(self, both: Both, pictures: list, nms: float | None) -> None:
        for _ in range(2):  # the second time there is room
            found = both.device.detect(pictures[:2], threshold=0, nms=nms)
            expected = both.cpu.detect(pictures[:2], threshold=0, nms=nms)
            for one, other in zip(found, expected, strict=True):
                assert_same(one, other)
        if nms is None:
            assert len(found[0]) > 256
        path = both.device._pipeline._free.get()._submitted
        assert path._boxes.capacity > 256

    def test_the_cpu_suppresses_what_is_too_much(
        self, both: Both, pictures: list, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slot_module, "larger_capacity", lambda *_: None)
        found = both.device.detect(pictures[:2], threshold=0, classes=[1])
        expected = both.cpu.detect(pictures[:2], threshold=0, classes=[1])
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
