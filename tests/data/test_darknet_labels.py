"""Darknet's lists and labels."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.data.darknet import label_places, read_darknet_data, read_darknet_list
from tinyyolo3.errors import DataError

NAMES = ("cat", "dog")


def picture(path: Path, width: int = 40, height: int = 20, exif: Image.Exif | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path, **({"exif": exif} if exif else {}))
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("1 .5 .5 .25 .5\n")
    (tmp_path / "list.txt").write_text("a.png\n")
    (tmp_path / "x.names").write_text("cat\ndog\n")
    (tmp_path / "x.data").write_text(
        "# a set\nclasses = 2\ntrain = list.txt\nvalid=list.txt\nnames= x.names\nbackup = backup/\n"
    )
    return tmp_path


def labels(folder: Path, text: str | bytes):
    (folder / "a.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    (sample,) = read_darknet_data(folder / "x.data")
    return sample


def problems(folder: Path) -> list[str]:
    found = []
    list(read_darknet_data(folder / "x.data", report=found.append))
    return [f"{p.kind}: {p}".replace(f"{folder}/", "") for p in found]


def refusal(folder: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        list(read_darknet_data(folder / "x.data", **options))
    return str(caught.value).replace(f"{folder}/", "")


def test_all_that_a_sample_has(folder):
    dataset = read_darknet_data(folder / "x.data")
    assert (dataset.source, dataset.form) == (folder / "x.data", "darknet")
    assert dataset.names == NAMES
    assert dataset.category_ids == (1, 2)
    assert len(dataset) == 1
    for _ in range(2):  # as often as it is asked to
        (sample,) = dataset
        assert (sample.image, sample.width, sample.height) == (folder / "a.png", 40, 20)
        assert sample.boxes_xyxy_px.tolist() == [[15, 5, 25, 15]]
        assert sample.boxes_xyxy_px.dtype == np.float64
        assert sample.classes.tolist() == [1]
        assert sample.classes.dtype == np.int64
        assert sample.crowds.tolist() == sample.difficults.tolist() == [False]
        assert sample.areas_px2.tolist() == [100]
        assert sample.image_id == 1
        assert sample.places == (f"{folder}/a.txt line 1",)


def test_labels_are_of_the_picture_as_it_is_read_upright(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(folder / "a.jpg", 40, 20, exif)
    (folder / "list.txt").write_text("a.jpg\n")
    (sample,) = read_darknet_data(folder / "x.data")
    assert (sample.width, sample.height) == (20, 40)


def test_blank_lines_and_any_white_space_and_line_ends(folder):
    sample = labels(folder, b"\xef\xbb\xbf\r\n 0\t.5 .5  1 1 \r\n\r\n1 0.5 5e-1 +.5 .5")
    assert sample.classes.tolist() == [0, 1]
    assert [place.split()[-1] for place in sample.places] == ["2", "4"]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_label_file_is_a_picture_without_objects(folder, text):
    assert labels(folder, text).boxes_xyxy_px.shape == (0, 4)
    assert problems(folder) == []


def test_a_missing_label_file_is_a_picture_without_objects_as_in_darknet(folder):
    (folder / "a.txt").unlink()
    (sample,) = read_darknet_data(folder / "x.data")
    assert len(sample.classes) == 0
    assert problems(folder) == [
        "missing labels: list.txt line 1: a.png has no labels: expected a.txt"
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 .5 .5 .5", "malformed: {}: expected class, cx, cy, w, h, found 4 words: 0 .5 .5 .5"),
        ("0 .1 .1 .2 .1 .2 .2", "malformed: {}: expected class, cx, cy, w, h, found 7 words"),
        ("cat .5 .5 .5 .5", "malformed: {}: expected a class's number, found cat"),
        ("0.0 .5 .5 .5 .5", "malformed: {}: expected a class's number, found 0.0"),
        ("2 .5 .5 .5 .5", "unknown class: {}: class 2 is not one of 0 to 1"),
        ("-1 .5 .5 .5 .5", "unknown class: {}: class -1 is not one of 0 to 1"),
        ("0 .5 nan .5 .5", "bad box: {}: cy=nan is not finite"),
        ("0 .5 .5 inf .5", "bad box: {}: w=inf is not finite"),
        ("0 .5 .5 1_0 .5", "malformed: {}: w: expected a number, found 1_0"),
        ("0 .5 .5 .5 -.1", "bad box: {}: h=-.1 is no fraction of the picture, from 0 to 1"),
        ("0 20 .5 .5 .5", "bad box: {}: cx=20 is no fraction of the picture, from 0 to 1"),
        ("0 .5 -.1 .5 .5", "bad box: {}: cy=-.1 is no fraction of the picture"),
        ("0 .5 .5 .5 1.01", "bad box: {}: h=1.01 is no fraction of the picture"),
    ],
)
def test_a_bad_label_is_named_and_the_others_stay(folder, line, expected):
    (folder / "a.txt").write_text(f"0 .5 .5 .5 .5\n{line}\n1 .5 .5 .5 .5\n")
    (found,) = problems(folder)
    assert found.startswith(expected.format("a.txt line 2"))
    assert refusal(folder) in found
    (sample,) = read_darknet_data(folder / "x.data", report=lambda _: None)
    assert [place.split()[-1] for place in sample.places] == ["1", "3"]


def test_rounding_and_boxes_over_the_border_and_without_area_are_kept(folder):
    sample = labels(folder, "0 1.0004 0 1 1\n0 .5 .5 0 0\n")
    assert sample.boxes_xyxy_px[0, 0] == pytest.approx(20.016)
    assert sample.areas_px2.tolist() == [800, 0]


def test_label_files_that_are_none(folder, monkeypatch):
    assert not labels(folder, "").places
    (folder / "a.txt").write_bytes(b"\x89PNG\xff")
    assert problems(folder) == ["malformed: a.txt: expected labels, found no UTF-8 (byte 0)"]
    monkeypatch.setattr("tinyyolo3.data.label_files.MAX_TEXT_BYTES", 4)
    assert problems(folder) == [
        "malformed: a.txt: expected labels, found 5 bytes (at most 4 are read)"
    ]


def test_pictures_that_are_missing_or_none(folder):
    (folder / "list.txt").write_text("a.png\n\nb.png\na.txt\n")
    missing, unreadable = problems(folder)
    assert missing == "missing image: list.txt line 3: b.png: no such file"
    assert unreadable.startswith("unreadable image: list.txt line 4: a.txt: is not a picture")
    assert refusal(folder) == "list.txt line 3: b.png: no such file"
    dataset = read_darknet_data(folder / "x.data", report=lambda _: None)
    assert (len(dataset), len(list(dataset))) == (3, 1)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("x/a.jpg", ["x/a.txt"]),
        ("images/a.jpg", ["labels/a.txt", "images/a.txt"]),
        (
            "/c/images/train2017/a.b.jpg",
            ["/c/labels/train2017/a.b.txt", "/c/images/train2017/a.b.txt"],
        ),
        ("VOC/JPEGImages/a.png", ["VOC/labels/a.txt", "VOC/JPEGImages/a.txt"]),
        (
            "images/b/images/a.jpg",
            ["images/b/labels/a.txt", "labels/b/images/a.txt", "images/b/images/a.txt"],
        ),
        ("myimages/images.jpg", ["myimages/images.txt"]),
    ],
)
def test_labels_are_where_replace_image_to_label_has_them_or_beside(image, expected):
    assert label_places(Path(image)) == [Path(each) for each in expected]


@pytest.mark.parametrize("place", ["labels/a.txt", "images/a.txt"])
def test_labels_are_found(tmp_path, place):
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / place).write_text("0 .5 .5 1 1\n")
    (tmp_path / "list.txt").write_text("images/a.png\n")
    (sample,) = read_darknet_list(tmp_path / "list.txt", names=NAMES)
    assert sample.places == (f"{tmp_path}/{place} line 1",)


def test_relative_paths_begin_at_the_file_and_otherwise_where_one_stands(folder, monkeypatch):
    here = folder / "here"
    data = here / "cfg" / "y.data"
    data.parent.mkdir(parents=True)
    data.write_text("valid = sets/list.txt\nnames = x.names\n")
    (here / "sets").mkdir()
    (here / "sets" / "list.txt").write_text("data/a.png\n")
    (here / "x.names").write_text("cow\n")
    picture(here / "data" / "a.png", 8, 8)
    monkeypatch.chdir(here)
    dataset = read_darknet_data("cfg/y.data")
    assert dataset.names == ("cow",)
    assert [sample.image for sample in dataset] == [Path("data/a.png")]
    # A set of the same structure where one stands does not hide the one that is asked for.
    (sample,) = read_darknet_data(folder / "x.data")
    assert sample.image == folder / "a.png"


def test_absolute_paths(folder, tmp_path_factory):
    elsewhere = picture(tmp_path_factory.mktemp("images") / "b.png")
    (folder / "list.txt").write_text(f"{elsewhere}\n")
    (sample,) = read_darknet_data(folder / "x.data")
    assert sample.image == elsewhere


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("names=x.names\ntrain=list.txt\n", "x.data: has no valid= (found names=, train=)"),
        ("valid=list.txt\n", "x.data: has no names=, which would name the classes"),
        ("valid=no.txt\nnames=x.names", "no.txt: no such file (expected a list of pictures)"),
        ("valid=list.txt\nnames=no.names", "no.names: no such file (expected a list of names)"),
        ("classes=3\nvalid=list.txt\nnames=x.names", "x.data: classes=3, but there are 2 names"),
        ("valid list.txt\n", "x.data:1 expected name=value, found 'valid list.txt'"),
    ],
)
def test_a_bad_data_file(folder, data, expected):
    (folder / "x.data").write_text(data)
    assert refusal(folder) == expected


def test_another_split_and_other_names(folder):
    (folder / "x.data").write_text("train=list.txt\n")
    assert "has no valid=" in refusal(folder, names=NAMES)
    assert read_darknet_data(folder / "x.data", split="train", names=["a", "b"]).names == ("a", "b")


def test_a_list_without_pictures(folder):
    (folder / "list.txt").write_text(" \n\n")
    assert refusal(folder) == "list.txt: expected a picture a line, found only blank lines"
    (folder / "list.txt").write_text("")
    assert refusal(folder) == "list.txt: expected a list of pictures, found an empty file"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a.png\nb\0c\n", r"list.txt:2 expected a picture's path, found 'b\x00c\n'"),
        (b"a.png\n" + b"x" * 20000, "list.txt:2 expected a picture's path, found 'xxxx"),
        (b"a.png\n\xff\n", "list.txt: not UTF-8"),
    ],
)
def test_a_list_that_is_none(folder, content, expected):
    (folder / "list.txt").write_bytes(content)
    assert refusal(folder).startswith(expected)


def test_a_long_list_is_not_held_in_memory(folder):
    (folder / "list.txt").write_text(f"{folder}/a.png\n" * 50_000)
    tracemalloc.start()
    try:
        dataset = read_darknet_list(folder / "list.txt", names=NAMES)
        samples = iter(dataset)
        for _ in range(20):
            next(samples)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(dataset) == 50_000
    assert peak < 300_000  # the lines alone would be five million bytes
