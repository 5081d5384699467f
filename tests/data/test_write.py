"""What is written in one form comes back, as far as the form can hold it."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tinyyolo3.data.coco import read_coco
from tinyyolo3.data.open import open_dataset
from tinyyolo3.data.samples import DataSet, Sample, areas_px2
from tinyyolo3.data.write import write_coco, write_darknet, write_voc
from tinyyolo3.errors import DataError, OutputError
from tinyyolo3.testing.tolerances import LABEL_PX

NAMES = ("traffic light", "Käfer & <Co>")


def sample(image: Path, boxes=(), classes=None, size=(40, 30), **changes) -> Sample:
    boxes_xyxy_px = np.array(boxes, np.float64).reshape(-1, 4)
    count = len(boxes_xyxy_px)
    made = Sample(
        image=image,
        width=size[0],
        height=size[1],
        boxes_xyxy_px=boxes_xyxy_px,
        classes=np.zeros(count, np.int64) if classes is None else np.array(classes, np.int64),
        crowds=np.zeros(count, np.bool_),
        difficults=np.zeros(count, np.bool_),
        areas_px2=areas_px2(boxes_xyxy_px),
        image_id=1,
        places=tuple(f"made box {row}" for row in range(count)),
    )
    return replace(made, **changes)


def dataset(samples: list[Sample], names=NAMES, ids=None) -> DataSet:
    ids = tuple(range(1, len(names) + 1)) if ids is None else ids
    return DataSet(Path("made"), "coco", names, ids, len(samples), lambda: iter(samples))


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)
    return path


def write(form: str, data: DataSet, target: Path) -> DataSet:
    """Write a set and open what was written."""
    if form == "coco":
        return open_dataset(write_coco(data, target.with_suffix(".json")))
    writer = {"darknet": write_darknet, "voc": write_voc}[form]
    return open_dataset(writer(data, target))


def assert_same(found: Sample, expected: Sample, form: str) -> None:
    assert (found.width, found.height) == (expected.width, expected.height)
    assert found.classes.tolist() == expected.classes.tolist()
    np.testing.assert_allclose(found.boxes_xyxy_px, expected.boxes_xyxy_px, rtol=0, atol=LABEL_PX)
    if form != "darknet":
        assert found.difficults.tolist() == expected.difficults.tolist()
    if form == "coco":
        assert found.image_id == expected.image_id
        assert found.crowds.tolist() == expected.crowds.tolist()
        assert found.areas_px2.tolist() == expected.areas_px2.tolist()


@st.composite
def samples(draw: st.DrawFn, image: Path, size: tuple[int, int], form: str) -> Sample:
    def edges(side: int) -> tuple[float, float]:
        a, b = sorted(draw(st.tuples(*[st.floats(0, side)] * 2)))
        # Beyond the picture too, but as fractions of it only half and no larger than it.
        shift = 0.0 if form == "darknet" else draw(st.floats(-9, 9))
        return a + shift, b + shift

    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        (left, right), (top, bottom) = edges(size[0]), edges(size[1])
        boxes.append((left, top, right, bottom))
    flags = st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes))
    areas = st.lists(st.floats(0, 1e9), min_size=len(boxes), max_size=len(boxes))
    return sample(
        image,
        boxes,
        [draw(st.integers(0, len(NAMES) - 1)) for _ in boxes],
        size,
        crowds=np.array(draw(flags), np.bool_),
        difficults=np.array(draw(flags), np.bool_),
        areas_px2=np.array(draw(areas), np.float64),
        image_id=draw(st.integers(-(2**62), 2**62)),
    )


@pytest.mark.parametrize("form", ["darknet", "coco", "voc"])
@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
def test_what_is_written_comes_back(tmp_path, form, data, size):
    image = tmp_path / "a.png"
    # One bit a pixel, so that large pictures take no time; only their headers are read.
    Image.new("1", size).save(image)
    wanted = data.draw(samples(image, size, form))
    ids = data.draw(st.sets(st.integers(1, 99), min_size=2, max_size=2).map(sorted))
    target = Path(mkdtemp(dir=tmp_path)) / "out"
    found = write(form, dataset([wanted], ids=tuple(ids)), target)
    assert (found.form, found.names, len(found)) == (form, NAMES, 1)
    if form == "coco":
        assert found.category_ids == tuple(ids)
    (only,) = found
    assert_same(only, wanted, form)
    assert only.image.samefile(image)


@pytest.mark.parametrize("second", ["darknet", "coco", "voc"])
@pytest.mark.parametrize("first", ["darknet", "coco", "voc"])
def test_every_form_becomes_every_other(tmp_path, first, second):
    boxes = [(0, 0, 40, 30), (1.25, 2.5, 3.75, 29.9), (5, 6, 5, 6)]
    wanted = [
        sample(picture(tmp_path / "in" / "b.png"), boxes, [0, 1, 1]),
        sample(picture(tmp_path / "in" / "a.png"), [], image_id=2),
        sample(picture(tmp_path / "in" / "sub" / "a.png"), boxes[:1], [1], image_id=3),
    ]
    once = write(first, dataset(wanted), tmp_path / "once")
    twice = write(second, once, tmp_path / "twice")
    assert twice.names == NAMES
    for found, expected in zip(twice, wanted, strict=True):
        assert_same(found, expected, "darknet")
        assert found.image.samefile(expected.image)


def test_darknet_files_are_as_darknet_wants_them(tmp_path):
    image = picture(tmp_path / "my pictures" / "a b.png")
    data = write_darknet(
        dataset([sample(image, [(10, 15, 30, 30)], [1])]), tmp_path / "out", split="train"
    )
    out = tmp_path / "out"
    assert data == out / "dataset.data"
    assert data.read_text() == "classes = 2\ntrain = train.txt\nnames = classes.names\n"
    assert (out / "train.txt").read_text() == "images/a_b.png\n"
    assert (out / "classes.names").read_text(encoding="utf-8").split("\n") == [*NAMES, ""]
    assert (out / "labels" / "a_b.txt").read_text() == "1 0.5 0.75 0.5 0.5\n"
    assert (out / "images" / "a_b.png").is_symlink()


def test_voc_files_are_as_voc_has_them(tmp_path):
    image = picture(tmp_path / "a.png")
    data = [sample(image, [(10, 15, 30, 29.5)], [0], difficults=np.array([True]))]
    out = write_voc(dataset(data), tmp_path / "out", placing="copy")
    assert (out / "ImageSets" / "Main" / "val.txt").read_text() == "a\n"
    assert not (out / "JPEGImages" / "a.png").is_symlink()
    assert (out / "JPEGImages" / "a.png").read_bytes() == image.read_bytes()
    text = "".join((out / "Annotations" / "a.xml").read_text().split())
    assert text == (
        "<annotation><folder>JPEGImages</folder><filename>a.png</filename>"
        "<size><width>40</width><height>30</height><depth>3</depth></size>"
        "<object><name>trafficlight</name><difficult>1</difficult><bndbox>"
        "<xmin>11</xmin><ymin>16</ymin><xmax>30</xmax><ymax>29.5</ymax>"
        "</bndbox></object></annotation>"
    )


def test_coco_files_are_as_coco_has_them(tmp_path):
    near, far = picture(tmp_path / "x" / "sub" / "a.png"), picture(tmp_path / "b.png")
    data = [
        sample(near, [(10, 15, 30, 29.5)], [1], crowds=np.array([True]), image_id=7),
        sample(far, [(0, 0, 1, 1)], difficults=np.array([True]), image_id=9),
    ]
    path = write_coco(dataset(data, ids=(4, 8)), tmp_path / "x.json", images=tmp_path / "x")
    whole = json.loads(path.read_text())
    assert whole["images"] == [
        {"id": 7, "file_name": "sub/a.png", "width": 40, "height": 30},
        {"id": 9, "file_name": far.as_posix(), "width": 40, "height": 30},
    ]
    first, second = whole["annotations"]
    assert first == {
        "id": 1,
        "image_id": 7,
        "category_id": 8,
        "bbox": [10, 15, 20, 14.5],
        "area": 290,
        "iscrowd": 1,
        "segmentation": [],
    }
    assert (second["id"], second["ignore"]) == (2, 1)
    assert [category["id"] for category in whole["categories"]] == [4, 8]
    assert [s.image for s in read_coco(path, images=tmp_path / "x")] == [near, far]


@pytest.mark.parametrize("form", ["darknet", "voc"])
def test_pictures_of_the_same_name_stay_apart(tmp_path, form):
    images = [picture(tmp_path / name) for name in ("x/a.png", "y/a.png", "y/a.jpg")]
    data = dataset([sample(image, image_id=10 + i) for i, image in enumerate(images)])
    found = [each.image for each in write(form, data, tmp_path / "out")]
    assert [image.name for image in found] == ["a.png", "a_11.png", "a_12.jpg"]
    assert all(a.samefile(b) for a, b in zip(found, images, strict=True))
    twice = dataset([sample(image) for image in images])
    with pytest.raises(DataError, match=r"a\.jpg: another picture is called a_1$"):
        write(form, twice, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("form", ["darknet", "voc"])
def test_names_of_files_that_lists_cannot_hold(tmp_path, form):
    image = picture(tmp_path / "a\n\udcff\x01b.png")
    (found,) = write(form, dataset([sample(image)]), tmp_path / "out")
    assert found.image.name == "a___b.png"
    assert found.image.samefile(image)


@pytest.mark.parametrize("form", ["darknet", "voc"])
class TestFolders:
    def test_nothing_is_left_when_the_set_cannot_be_read(self, tmp_path, form):
        image = picture(tmp_path / "in" / "a.png")

        def broken():
            yield sample(image)
            raise DataError("b.png: bad")

        data = replace(dataset([]), samples=broken)
        with pytest.raises(DataError, match=r"^b\.png: bad$"):
            write(form, data, tmp_path / "out")
        assert [each.name for each in tmp_path.iterdir()] == ["in"]

    def test_a_folder_that_holds_something_is_left_alone(self, tmp_path, form):
        image = picture(tmp_path / "out" / "a.png")
        with pytest.raises(OutputError, match="out: is there already; a new or empty folder is"):
            write(form, dataset([sample(image)]), tmp_path / "out")
        assert [each.name for each in (tmp_path / "out").iterdir()] == ["a.png"]

    def test_an_empty_folder_is_used(self, tmp_path, form):
        (tmp_path / "out").mkdir()
        image = picture(tmp_path / "a.png")
        assert len(write(form, dataset([sample(image)]), tmp_path / "out")) == 1

    def test_a_picture_that_is_missing(self, tmp_path, form):
        with pytest.raises(DataError, match=r"a\.png: no such picture, which the new data set"):
            write(form, dataset([sample(tmp_path / "a.png")]), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["", " a", "a\n", "a\nb", "a\0b", "\ud800", "a\u2028b"])
    def test_a_name_that_is_no_line(self, tmp_path, form, name):
        with pytest.raises(DataError, match="cannot be written as a line of text"):
            write(form, dataset([], names=("ok", name)), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


def test_a_box_without_area_comes_back_from_voc_without_area(tmp_path):
    """(left + 1) − 1 may be more than left."""
    side = -1 / 3
    assert side + 1 - 1 > side
    image = picture(tmp_path / "a.png")
    (found,) = write("voc", dataset([sample(image, [(side, 1, side, 9)])]), tmp_path / "out")
    assert found.areas_px2.tolist() == [0]


def test_two_classes_of_one_name_are_no_voc(tmp_path):
    with pytest.raises(DataError, match="two classes have the same name"):
        write_voc(dataset([], names=("a", "a")), tmp_path / "out")


@pytest.mark.parametrize("box", [(-9, 0, 8, 5), (0, 0, 41, 5), (35, 0, 46, 5), (0, -8, 5, 7)])
def test_a_box_that_is_no_fraction_of_its_picture_is_refused_in_darknets_form(tmp_path, box):
    image = picture(tmp_path / "in" / "a.png")
    data = dataset([sample(image, [(0, 0, 1, 1), box])])
    with pytest.raises(DataError, match=r"made box 1: the box \[.*\] reaches so far beyond its"):
        write_darknet(data, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["in"]


def test_a_coco_file_appears_whole_or_not_at_all(tmp_path):
    place = tmp_path / "a.json"
    place.write_text("old")

    def broken():
        raise DataError("bad")
        yield

    with pytest.raises(DataError, match="bad"):
        write_coco(replace(dataset([]), samples=broken), place)
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]
    with pytest.raises(OutputError, match="cannot be written"):
        write_coco(dataset([]), tmp_path / "no" / "a.json")
