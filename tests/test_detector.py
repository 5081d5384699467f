"""The detector: what a user calls, on a tiny model and, where there are any, on trained ones."""

import gc
import io
import json
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinyyolo3
from tinyyolo3 import detector as detector_module
from tinyyolo3.boxes.iou import iou_matrix_cxcywh
from tinyyolo3.engine.network import Network
from tinyyolo3.image.resize import network_input_numba
from tinyyolo3.parallel import thread_limit

#: Low, so that random weights give boxes of every kind.
THRESHOLD = 0.05


@pytest.fixture
def detector(tiny_model) -> tinyyolo3.Detector:
    return tinyyolo3.load(tiny_model.cfg, tiny_model.weights, names=tiny_model.names)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (48, 80, 3), np.uint8)


def same(a: tinyyolo3.Detections, b: tinyyolo3.Detections) -> bool:
    return (
        np.array_equal(a.boxes_xyxy_px, b.boxes_xyxy_px)
        and np.array_equal(a.confidence, b.confidence)
        and np.array_equal(a.class_id, b.class_id)
        and np.array_equal(a.objectness, b.objectness)
    )


def test_result_has_the_documented_arrays(detector, picture) -> None:
    result = detector.detect(picture, threshold=THRESHOLD)
    count = len(result)
    assert count > 5
    assert (result.boxes_xyxy_px.shape, result.boxes_xyxy_px.dtype) == ((count, 4), np.float32)
    assert (result.confidence.shape, result.confidence.dtype) == ((count,), np.float32)
    assert (result.objectness.shape, result.objectness.dtype) == ((count,), np.float32)
    assert (result.class_id.shape, result.class_id.dtype) == ((count,), np.int64)
    assert (result.confidence > THRESHOLD).all()
    assert (np.diff(result.confidence) <= 0).all()
    assert (result.confidence <= result.objectness).all()
    assert (result.width, result.height) == (80, 48)
    first = next(iter(result))
    assert first.name == ("cat", "dog")[first.class_id]
    assert first.confidence == result.confidence[0]
    assert first.xyxy == tuple(result.boxes_xyxy_px[0].tolist())


def test_every_kind_of_source_gives_the_same_boxes(detector, picture, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    expected = detector.detect(picture, threshold=THRESHOLD)
    for source in (path, str(path), stream.getvalue(), Image.fromarray(picture)):
        assert same(detector.detect(source, threshold=THRESHOLD), expected)


def test_a_list_runs_in_batches_and_gives_what_each_gives_alone(detector) -> None:
    rng = np.random.default_rng(6)
    pictures = [rng.integers(0, 256, (20 + 7 * i, 90 - 9 * i, 3), np.uint8) for i in range(5)]
    expected = [detector.detect(p, threshold=THRESHOLD) for p in pictures]
    for batch in (1, 2, 5, 99):
        results = detector.detect(pictures, threshold=THRESHOLD, batch=batch)
        assert all(same(a, b) for a, b in zip(results, expected, strict=True))
    assert detector.detect([]) == []


def test_a_list_is_read_ahead_of_the_network(detector, tmp_path: Path, monkeypatch) -> None:
    """The network waits, in its first batch, for a picture of the second to have been read."""
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((20, 30, 3), 60 * i, np.uint8)).save(path)
    expected = [detector.detect(path, threshold=THRESHOLD) for path in paths]
    second_batch, forward, read_image = (
        threading.Event(),
        Network.forward,
        detector_module.read_image,
    )

    def read(source, **options):
        if source == paths[3]:
            second_batch.set()
        return read_image(source, **options)

    def wait_and_forward(network, x):
        assert second_batch.wait(30)
        return forward(network, x)

    monkeypatch.setattr(detector_module, "read_image", read)
    monkeypatch.setattr(Network, "forward", wait_and_forward)
    with thread_limit(2):
        results = detector.detect(paths, threshold=THRESHOLD, batch=2)
    assert [result.source for result in results] == [str(path) for path in paths]
    assert all(same(a, b) for a, b in zip(results, expected, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_list_with_unreadable_pictures_names_the_first(
    tiny_model, picture, tmp_path: Path, threads: int
) -> None:
    detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, threads=threads)
    good = tmp_path / "good.png"
    Image.fromarray(picture).save(good)
    bad, worse = tmp_path / "bad.png", tmp_path / "worse.png"
    bad.write_bytes(b"")
    for batch in (1, 2, 8):
        with pytest.raises(tinyyolo3.ImageError, match=r"bad\.png: is empty"):
            detector.detect([good, picture, good, bad, worse, good], batch=batch)
    assert not [t for t in threading.enumerate() if t.name.startswith("tinyyolo3-read")]


def test_nms_none_returns_every_candidate_above_the_threshold(detector, picture) -> None:
    everything = detector.detect(picture, threshold=THRESHOLD, nms=None, resize="stretch")
    kept = detector.detect(picture, threshold=THRESHOLD, resize="stretch")
    assert len(everything) > len(kept)
    pixels = np.zeros((1, 3, 32, 32), np.float32)
    network_input_numba(picture, 32, 32, "stretch", out=pixels[0])
    candidates = detector.candidates(pixels)
    passing = (candidates.probability > THRESHOLD) & (candidates.objectness > THRESHOLD)[:, None]
    assert len(everything) == passing.sum()
    expected = np.sort(candidates.probability[passing])[::-1]
    np.testing.assert_array_equal(everything.confidence, expected)


def test_kept_boxes_of_a_class_do_not_overlap(detector, picture) -> None:
    result = detector.detect(picture, threshold=THRESHOLD, nms=0.3, resize="stretch")
    corners = result.boxes_xyxy_px
    boxes = np.concatenate(
        [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1
    )
    overlaps = iou_matrix_cxcywh(boxes, boxes) > 0.3 + 1e-5
    same_class = result.class_id[:, None] == result.class_id
    assert not (overlaps & same_class & ~np.eye(len(result), dtype=bool)).any()
    agnostic = detector.detect(picture, threshold=THRESHOLD, nms=0.3, agnostic=True)
    assert 0 < len(agnostic) < len(result)


def test_single_label_keeps_the_best_class_of_each_box(detector, picture) -> None:
    many = detector.detect(picture, threshold=THRESHOLD, nms=None)
    single = detector.detect(picture, threshold=THRESHOLD, nms=None, multi_label=False)
    assert len(np.unique(single.boxes_xyxy_px, axis=0)) == len(single) < len(many)
    assert len(np.unique(many.boxes_xyxy_px, axis=0)) == len(single)


def test_classes_choose_by_name_and_number(detector, picture) -> None:
    everything = detector.detect(picture, threshold=THRESHOLD)
    dogs = everything.confidence[everything.class_id == 1]
    assert len(dogs)
    for classes in (["dog"], [1], "dog", ("dog", 1)):
        found = detector.detect(picture, threshold=THRESHOLD, classes=classes)
        np.testing.assert_array_equal(found.confidence, dogs)
    assert len(detector.detect(picture, threshold=THRESHOLD, classes=[])) == 0


def test_boxes_are_clipped_only_when_asked(detector, picture) -> None:
    free = detector.detect(picture, threshold=THRESHOLD).boxes_xyxy_px
    cut = detector.detect(picture, threshold=THRESHOLD, clip=True).boxes_xyxy_px
    assert free.min() < 0
    np.testing.assert_array_equal(cut, np.clip(free, 0, [80, 48, 80, 48]))


def test_size_may_differ_from_the_cfgs(tiny_model, picture) -> None:
    loaded = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, size=(64, 48))
    assert loaded.network.graph.input_shape == (3, 48, 64)
    plain = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
    assert same(
        loaded.detect(picture, threshold=THRESHOLD),
        plain.detect(picture, threshold=THRESHOLD, size=(64, 48)),
    )


def test_diou_follows_the_cfg_unless_told_otherwise(write_model, tiny_cfg, picture) -> None:
    files = write_model(tiny_cfg + "nms_kind=diounms\nbeta_nms=0.6\n")
    detector = tinyyolo3.load(files.cfg, files.weights)
    options = {"threshold": THRESHOLD, "nms": 0.2}
    from_cfg = detector.detect(picture, **options)
    assert same(from_cfg, detector.detect(picture, **options, nms_kind="diou"))
    assert len(from_cfg) > len(detector.detect(picture, **options, nms_kind="greedy"))


def test_agnostic_suppression_follows_the_cfg_unless_told_otherwise(
    write_model, tiny_cfg, picture
) -> None:
    files = write_model(tiny_cfg + "agnostic_nms=1\n")
    detector = tinyyolo3.load(files.cfg, files.weights)
    options = {"threshold": THRESHOLD, "nms": 0.3}
    from_cfg = detector.detect(picture, **options)
    assert same(from_cfg, detector.detect(picture, **options, agnostic=True))
    assert len(from_cfg) < len(detector.detect(picture, **options, agnostic=False))


def test_candidates_are_all_boxes_in_network_pixels(detector) -> None:
    x = np.random.default_rng(7).random((1, 3, 32, 64), np.float32)
    found = detector.candidates(x)
    boxes = 2 * (4 * 8 + 8 * 16)
    assert found.boxes_cxcywh_px.shape == (boxes, 4)
    assert (found.objectness.shape, found.probability.shape) == ((boxes,), (boxes, 2))
    assert (found.probability <= found.objectness[:, None]).all()
    centres, sizes = found.boxes_cxcywh_px[:, :2], found.boxes_cxcywh_px[:, 2:]
    assert (centres < [64, 32]).all()
    assert (centres.max(axis=0) > [60, 28]).all()
    (logits, _) = detector.forward(x)
    np.testing.assert_allclose(sizes[0], np.exp(logits[0, 2:4, 0, 0]) * [12, 16], rtol=1e-5)
    batch = detector.candidates(np.concatenate([x, x]))
    for one in batch:
        np.testing.assert_array_equal(one.boxes_cxcywh_px, found.boxes_cxcywh_px)


def test_a_classifier_gives_its_output_and_detects_nothing(write_model, picture) -> None:
    cfg = """
    [net]
    width=8
    height=8
    [convolutional]
    filters=4
    activation=linear
    [avgpool]
    [softmax]
    [cost]
    """
    files = write_model(cfg)
    detector = tinyyolo3.load(files.cfg, files.weights)
    (output,) = detector.forward(np.ones((2, 3, 8, 8), np.float32))
    np.testing.assert_allclose(output.reshape(2, 4).sum(axis=1), 1, rtol=1e-6)
    with pytest.raises(tinyyolo3.InputError, match=r"no \[yolo\] or \[region\]"):
        detector.detect(picture)
    with pytest.raises(tinyyolo3.InputError, match=r"no \[yolo\] or \[region\]"):
        detector.candidates(np.ones((1, 3, 8, 8), np.float32))


def test_json_is_what_the_arrays_say(detector, picture) -> None:
    result = detector.detect(picture, threshold=THRESHOLD)
    parsed = json.loads(result.to_json())
    assert (parsed["image"], parsed["width"], parsed["height"]) == ("<array>", 80, 48)
    assert len(parsed["detections"]) == len(result)
    for entry, found in zip(parsed["detections"], result, strict=True):
        assert entry["class_name"] == found.name
        assert entry["class_id"] == found.class_id
        assert entry["confidence"] == pytest.approx(found.confidence, abs=1e-6)
        assert entry["box_xyxy"] == pytest.approx(found.xyxy, abs=1e-3)


def test_drawing_changes_a_copy(detector, picture) -> None:
    before = picture.copy()
    drawn = detector.detect(picture, threshold=THRESHOLD).draw()
    assert drawn.size == (80, 48)
    assert (np.asarray(drawn) != before).any()
    np.testing.assert_array_equal(picture, before)


def test_detecting_again_after_others_and_in_threads_is_identical(detector, picture) -> None:
    other = np.random.default_rng(8).integers(0, 256, (33, 17, 3), np.uint8)
    expected = [detector.detect(p, threshold=THRESHOLD) for p in (picture, other)]
    jobs = [i % 2 for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda i: detector.detect((picture, other)[i], threshold=THRESHOLD), jobs)
        assert all(same(result, expected[i]) for i, result in zip(jobs, found, strict=True))
    detector.detect(picture, threshold=THRESHOLD, size=(96, 64))
    assert same(detector.detect(picture, threshold=THRESHOLD), expected[0])


def test_memory_does_not_grow_over_200_detections(detector, picture) -> None:
    for _ in range(20):
        detector.detect(picture, threshold=THRESHOLD)
    gc.collect()
    before = resident_bytes()
    for _ in range(200):
        detector.detect(picture, threshold=THRESHOLD)
    gc.collect()
    assert resident_bytes() - before < 8 * 2**20


def resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:  # no /proc: the peak, which cannot fall but must not rise either
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_threads_are_bounded_and_give_the_same_boxes(tiny_model, picture) -> None:
    results = [
        tinyyolo3.load(tiny_model.cfg, tiny_model.weights, threads=threads).detect(
            picture, threshold=THRESHOLD
        )
        for threads in (None, 1, 2)
    ]
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_the_reference_backend_finds_the_same(tiny_model, picture) -> None:
    cpu, reference = (
        tinyyolo3.load(tiny_model.cfg, tiny_model.weights, backend=backend).detect(
            picture, threshold=THRESHOLD
        )
        for backend in ("cpu", "reference")
    )
    np.testing.assert_array_equal(cpu.class_id, reference.class_id)
    np.testing.assert_allclose(cpu.boxes_xyxy_px, reference.boxes_xyxy_px, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_network_of_one_channel_sees_grey_and_others_no_picture(
    channels: int, write_model, tiny_cfg, picture
) -> None:
    files = write_model(tiny_cfg.replace("channels=3", f"channels={channels}"))
    detector = tinyyolo3.load(files.cfg, files.weights)
    if channels == 2:
        with pytest.raises(tinyyolo3.InputError, match="the network takes 2 channels"):
            detector.detect(picture)
        return
    grey = (picture.astype(int) * [77, 150, 29]).sum(axis=2) // 256
    found = detector.detect(picture, threshold=THRESHOLD)
    assert len(found) > 5
    assert same(found, detector.detect(grey.astype(np.uint8), threshold=THRESHOLD))
    x = network_input_numba(np.dstack([grey.astype(np.uint8)] * 3), 32, 32, "letterbox")
    best = detector.candidates(x[None, :1]).probability.max()
    assert found.confidence[0] == best


def test_a_photograph_is_turned_upright_unless_told_not_to(detector, picture) -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(stream, "PNG", exif=exif)
    upright = detector.detect(stream.getvalue(), threshold=THRESHOLD)
    assert (upright.width, upright.height) == (48, 80)
    assert same(upright, detector.detect(np.rot90(picture, -1).copy(), threshold=THRESHOLD))
    raw = detector.detect(stream.getvalue(), threshold=THRESHOLD, exif_orientation=False)
    assert same(raw, detector.detect(picture, threshold=THRESHOLD))


def test_loading_keeps_unfolded_parameters_when_asked(tiny_model, picture) -> None:
    folded = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
    plain = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, fold=False)
    assert set(folded.network.parameters[0]) == {"weights", "biases"}
    assert set(plain.network.parameters[0]) == {"weights", "biases", "scales", "mean", "variance"}
    a, b = (d.detect(picture, threshold=THRESHOLD) for d in (folded, plain))
    np.testing.assert_array_equal(a.class_id, b.class_id)
    np.testing.assert_allclose(a.boxes_xyxy_px, b.boxes_xyxy_px, atol=1e-3)


@pytest.mark.parametrize("model", ["yolo-fastest-1.1-xl"])
def test_the_dog_is_found(model: str, reference: Path) -> None:
    folder = reference / "models" / model
    detector = tinyyolo3.load(
        folder / "model.cfg", folder / "model.weights", names=folder / "model.names"
    )
    names = {found.name for found in detector.detect(reference / "images/dog.png", threshold=0.5)}
    assert names == {"dog", "bicycle", "car"}
