"""Running a detector over a set: what is stored, and going on after an interruption."""

import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinyyolo3
from tinyyolo3.data.open import open_dataset
from tinyyolo3.data.samples import DataSet
from tinyyolo3.detector import Detector
from tinyyolo3.errors import DataError, ImageError, OutputError
from tinyyolo3.evaluate import log as log_module
from tinyyolo3.evaluate.classes import match_classes
from tinyyolo3.evaluate.columns import collect_ground_truth
from tinyyolo3.evaluate.log import read_log
from tinyyolo3.evaluate.run import RunSettings, detect_set, digest_model, found_from_log

PICTURES = 5


@pytest.fixture
def detector(tiny_model) -> Detector:
    return tinyyolo3.load(tiny_model.cfg, tiny_model.weights, names=tiny_model.names, device="cpu")


@pytest.fixture
def data(tmp_path) -> DataSet:
    """Five pictures of different sizes, with ids that have gaps and a category id gap."""
    images = []
    for index in range(PICTURES):
        width, height = 40 + index, 30
        pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        images.append(
            {"id": 7 * index + 3, "file_name": f"{index}.png", "width": width, "height": height}
        )
    annotations = [
        {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1, 2, 20, 20], "area": 9, "iscrowd": 0}
    ]
    categories = [{"id": 1, "name": "dog"}, {"id": 90, "name": "cat"}]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (tmp_path / "set.json").write_text(text)
    return open_dataset(tmp_path / "set.json", images=tmp_path)


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "found.jsonl"


class CutShortError(Exception):
    """Stands for anything that ends a run early."""


def interrupt_after(monkeypatch, pictures: int, problem: BaseException) -> None:
    """Let a run end after some pictures, chunks being of one picture."""
    monkeypatch.setattr("tinyyolo3.evaluate.run.BATCHES_AT_ONCE", 1)
    detect = Detector.detect
    calls = []

    def detect_some(self, *arguments, **options):
        if len(calls) == pictures:
            raise problem
        calls.append(1)
        return detect(self, *arguments, **options)

    monkeypatch.setattr(Detector, "detect", detect_some)


class TestWhatIsStored:
    def test_is_what_the_detector_finds(self, detector, data, log):
        detect_set(detector, data, log, RunSettings(threshold=0.01), batch=2)
        stored = list(read_log(log))
        samples = list(data)
        expected = detector.detect([sample.image for sample in samples], threshold=0.01)
        assert [entry.image_id for entry in stored] == [3, 10, 17, 24, 31]
        assert sum(map(len, expected)) > 20
        for entry, found, sample in zip(stored, expected, samples, strict=True):
            assert (entry.width, entry.height) == (sample.width, sample.height)
            assert np.array_equal(entry.classes, found.class_id)
            assert np.abs(entry.boxes_xyxy_px - found.boxes_xyxy_px).max() <= 0.0005001
            assert np.abs(entry.scores - found.confidence).max() <= 5.001e-7

    @pytest.mark.parametrize("option", [{"nms": None}, {"nms": 0.1}, {"resize": "stretch"}])
    def test_settings_reach_the_detector(self, detector, data, log, option):
        detect_set(detector, data, log, RunSettings(**option))
        found = detector.detect([s.image for s in data], **{"threshold": 0.001, **option})
        assert [len(entry.scores) for entry in read_log(log)] == [len(one) for one in found]

    def test_columns_have_the_sets_classes_and_boxes_cut_at_the_borders(self, detector, data, log):
        detect_set(detector, data, log)
        truth = collect_ground_truth(data, "set", data.names, data.category_ids)
        mapped = match_classes(detector.names, 2, data)
        assert (detector.names, data.names) == (("cat", "dog"), ("dog", "cat"))
        assert mapped.tolist() == [1, 0]
        whole = found_from_log(read_log(log), truth, mapped, clip=False)
        cut = found_from_log(read_log(log), truth, mapped, clip=True)
        entries = list(read_log(log))
        assert np.array_equal(whole.category, 1 - np.concatenate([e.classes for e in entries]))
        assert np.array_equal(whole.scores, np.concatenate([e.scores for e in entries]))
        assert (whole.boxes_xywh_px[:, :2] < 0).any()
        right, bottom = (cut.boxes_xywh_px[:, :2] + cut.boxes_xywh_px[:, 2:]).T
        assert (cut.boxes_xywh_px >= 0).all()
        widths = np.array([sample.width for sample in data])[cut.image]
        assert (right <= widths + 1e-9).all()
        assert (bottom <= 30 + 1e-9).all()
        unknown = found_from_log(read_log(log), truth, np.array([-1, 0]), clip=True)
        assert len(unknown) == np.count_nonzero(whole.category == 0)

    def test_progress_is_told(self, detector, data, log):
        told = []
        detect_set(detector, data, log, batch=1, progress=told.append)
        assert told == [0]
        assert len(list(read_log(log))) == PICTURES


class TestGoingOn:
    @pytest.mark.parametrize("problem", [KeyboardInterrupt(), CutShortError()])
    def test_run_goes_on_where_it_was_interrupted(self, detector, data, log, problem):
        detect_set(detector, data, log)
        whole = log.read_bytes()
        log.unlink()
        with pytest.MonkeyPatch.context() as patch:
            interrupt_after(patch, 3, problem)
            with pytest.raises(type(problem)):
                detect_set(detector, data, log)
        assert whole.startswith(log.read_bytes())
        assert len(list(read_log(log))) == 3
        with pytest.MonkeyPatch.context() as patch:
            interrupt_after(patch, 2, CutShortError())  # no more than the two that are left
            detect_set(detector, data, log)
        assert log.read_bytes() == whole

    def test_finished_run_does_nothing_more(self, detector, data, log, monkeypatch):
        detect_set(detector, data, log)
        whole = log.read_bytes()
        interrupt_after(monkeypatch, 0, CutShortError())
        detect_set(detector, data, log)
        assert log.read_bytes() == whole

    def test_half_written_last_line_is_dropped_wherever_it_ends(self, detector, data, log):
        detect_set(detector, data, log)
        whole = log.read_bytes()
        ends = np.cumsum([len(line) for line in whole.splitlines(keepends=True)])
        random = np.random.default_rng(0)
        for end in {0, 1, *(ends - 1).tolist(), *random.integers(0, len(whole), 5).tolist()}:
            log.write_bytes(whole[:end])
            detect_set(detector, data, log)
            assert log.read_bytes() == whole, end

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (RunSettings(threshold=0.01), "threshold=0.001, not 0.01"),
            (RunSettings(nms=None), "nms=0.45, not None"),
            (RunSettings(resize="stretch"), "resize='letterbox', not 'stretch'"),
            (RunSettings(precision="fp16"), "precision='fp32', not 'fp16'"),
        ],
    )
    def test_other_settings_are_refused(self, detector, data, log, change, said):
        detect_set(detector, data, log)
        before = log.read_bytes()
        with pytest.raises(DataError, match=f"{log.name}: was begun with {said}"):
            detect_set(detector, data, log, change)
        assert log.read_bytes() == before

    def test_another_model_size_or_set_is_refused(self, detector, data, log, write_model, tmp_path):
        detect_set(detector, data, log)
        other = write_model(seed=1)
        with pytest.raises(DataError, match=r"found\.jsonl: was begun with model="):
            detect_set(tinyyolo3.load(other.cfg, other.weights, device="cpu"), data, log)
        same = write_model()
        sized = tinyyolo3.load(same.cfg, same.weights, size=(64, 32), device="cpu")
        with pytest.raises(DataError, match="size='32x32', not '64x32'"):
            detect_set(sized, data, log)
        (tmp_path / "other.json").write_bytes((tmp_path / "set.json").read_bytes())
        with pytest.raises(DataError, match=r"data=.*set\.json', not .*other\.json'"):
            detect_set(
                tinyyolo3.load(same.cfg, same.weights, device="cpu"),
                open_dataset(tmp_path / "other.json", images=tmp_path),
                log,
            )

    def test_names_are_no_part_of_the_model(self, detector, tiny_model):
        nameless = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, device="cpu")
        assert digest_model(nameless) == digest_model(detector)

    def test_set_whose_pictures_have_changed_is_refused(self, detector, data, log, tmp_path):
        detect_set(detector, data, log)
        content = json.loads((tmp_path / "set.json").read_text())
        content["images"].reverse()
        (tmp_path / "set.json").write_text(json.dumps(content))
        changed = open_dataset(tmp_path / "set.json", images=tmp_path)
        with pytest.raises(DataError, match=r"found\.jsonl line 2: .* 31, found 3;"):
            detect_set(detector, changed, log)

    @pytest.mark.parametrize("line", [b"[1, 2]\n", b"{\n", b"\n", b'{"image_id": 3}\n', b"\xff\n"])
    def test_damaged_log_is_refused_with_its_line(self, detector, data, log, line):
        detect_set(detector, data, log)
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join([*lines[:2], line, *lines[3:]]))
        with pytest.raises(DataError, match=r"found\.jsonl line 3: expected a picture"):
            detect_set(detector, data, log)
        log.write_bytes(line + b"".join(lines[1:]))
        with pytest.raises(DataError, match=r"found\.jsonl line 1: expected the head"):
            detect_set(detector, data, log)

    def test_log_of_another_version_is_refused(self, detector, data, log):
        detect_set(detector, data, log)
        log.write_bytes(log.read_bytes().replace(b"detections 1", b"detections 2", 1))
        with pytest.raises(DataError, match="line 1: expected 'tinyyolo3 detections 1', found"):
            detect_set(detector, data, log)


class TestTrouble:
    def test_full_disk_is_one_error_and_the_run_goes_on_later(
        self, detector, data, log, monkeypatch
    ):
        detect_set(detector, data, log)
        whole = log.read_bytes()
        log.unlink()
        room = len(whole) // 2
        opened = open

        class Disk:
            """A file on a disk with little room: it takes what fits, then refuses."""

            def __init__(self, file):
                self._file = file

            def __getattr__(self, name):
                return getattr(self._file, name)

            def write(self, some):
                left = room - self._file.tell()
                if left <= 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return self._file.write(some[:left])

        def open_on_full_disk(path, mode="r", *arguments, **options):
            file = opened(path, mode, *arguments, **options)
            return Disk(file) if mode == "ab" else file

        monkeypatch.setattr(log_module, "open", open_on_full_disk, raising=False)
        with pytest.raises(OutputError, match=r"found\.jsonl: cannot be written: No space left"):
            detect_set(detector, data, log)
        assert log.read_bytes() == whole[:room]
        monkeypatch.undo()
        detect_set(detector, data, log)
        assert log.read_bytes() == whole

    def test_write_that_takes_a_part_is_continued(self, detector, data, log, monkeypatch):
        detect_set(detector, data, log)
        whole = log.read_bytes()
        log.unlink()
        opened = open

        class Pipe(io.FileIO):
            def write(self, some):
                return super().write(some[:700])

        def open_slowly(path, mode="r", *arguments, **options):
            return Pipe(path, "a") if mode == "ab" else opened(path, mode, *arguments, **options)

        monkeypatch.setattr(log_module, "open", open_slowly, raising=False)
        detect_set(detector, data, log)
        assert log.read_bytes() == whole

    def test_missing_picture_is_named_and_the_run_goes_on_later(
        self, detector, data, log, tmp_path
    ):
        picture = tmp_path / "3.png"
        content = picture.read_bytes()
        picture.unlink()
        with pytest.raises(ImageError, match=r"3\.png"):
            detect_set(detector, data, log)
        picture.write_bytes(content)
        detect_set(detector, data, log)
        assert len(list(read_log(log))) == PICTURES

    def test_picture_of_another_size_than_its_labels_is_refused(
        self, detector, data, log, tmp_path
    ):
        Image.new("RGB", (30, 42)).save(tmp_path / "2.png")
        with pytest.raises(DataError, match=r"2\.png: is 30 x 42 .* are for 42 x 30 .*EXIF"):
            detect_set(detector, data, log)
        Image.new("RGB", (30, 43)).save(tmp_path / "2.png")
        with pytest.raises(DataError, match=r"are for 42 x 30$"):
            detect_set(detector, data, log)

    def test_folder_that_is_not_there(self, detector, data, tmp_path):
        with pytest.raises(OutputError, match="gone"):
            detect_set(detector, data, tmp_path / "gone" / "found.jsonl")

    def test_infinite_box_is_refused(self, detector, data, log, monkeypatch):
        found = detector.detect([sample.image for sample in data])
        found[1].boxes_xyxy_px[:1] = np.inf
        monkeypatch.setattr(Detector, "detect", lambda *_, **__: found)
        with pytest.raises(OutputError, match="picture 10 is not finite"):
            detect_set(detector, data, log)


class TestClasses:
    def data_of(self, *names: str) -> DataSet:
        return DataSet(Path("set.json"), "coco", names, tuple(range(1, len(names) + 1)), 0, list)

    def test_names_decide_not_positions(self):
        data = self.data_of("dog", "cat")
        assert match_classes(("bird", "cat", "dog"), 3, data).tolist() == [-1, 1, 0]

    def test_without_names_positions_decide(self):
        assert match_classes(None, 2, self.data_of("dog", "cat")).tolist() == [0, 1]
        with pytest.raises(DataError, match=r"set\.json: has 2 classes, but the model has 3"):
            match_classes(None, 3, self.data_of("dog", "cat"))

    def test_darknets_names_of_cocos_categories_are_known_both_ways(self):
        coco = ("airplane", "couch", "dining table", "motorcycle", "potted plant", "tv", "dog")
        voc = ("aeroplane", "sofa", "diningtable", "motorbike", "pottedplant", "tvmonitor", "dog")
        assert match_classes(voc, 7, self.data_of(*coco)).tolist() == list(range(7))
        assert match_classes(coco, 7, self.data_of(*voc)).tolist() == list(range(7))

    def test_class_that_the_model_lacks_is_refused(self):
        with pytest.raises(
            DataError, match=r"set\.json: 1 of its 2 classes is unknown .*: unicorn"
        ):
            match_classes(("dog", "cat"), 2, self.data_of("dog", "unicorn"))
        with pytest.raises(
            DataError, match=r"6 of its 6 classes are unknown .* a, b, c, d, e, \.\.\."
        ):
            match_classes(("dog",), 1, self.data_of(*"abcdef"))

    @pytest.mark.reference
    def test_darknets_names_of_coco_fit_cocos_own(self, reference):
        """instances_val2017.json has the same classes in the same order, six by other names."""
        names = (reference / "cfg" / "coco.names").read_text().split("\n")[:80]
        ours = {voc: coco for coco, voc in VOC_NAMES}
        assert match_classes(
            tuple(names), 80, self.data_of(*(ours.get(name, name) for name in names))
        ).tolist() == list(range(80))


VOC_NAMES = (
    ("airplane", "aeroplane"),
    ("couch", "sofa"),
    ("dining table", "diningtable"),
    ("motorcycle", "motorbike"),
    ("potted plant", "pottedplant"),
    ("tv", "tvmonitor"),
)
