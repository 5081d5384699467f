"""Pascal VOC's XML."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.data.voc import read_voc
from tinyyolo3.errors import DataError

SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def thing(name: str = "cat", box: tuple[object, ...] = (2, 3, 10, 20), more: str = "") -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    edges = "".join(f"<{part}>{value}</{part}>" for part, value in corners)
    return f"\n<object><name>{name}</name>{more}<bndbox>{edges}</bndbox></object>"


def write(file: Path, *objects: str, size: str = SIZE, name: str | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    name = f"{file.stem}.jpg" if name is None else name
    file.write_text(f"<annotation><filename>{name}</filename>{size}{''.join(objects)}</annotation>")
    return file


@pytest.fixture
def annotations(tmp_path) -> Path:
    """A folder with one annotation, of one cat."""
    folder = tmp_path / "VOC" / "Annotations"
    write(folder / "a.xml", thing())
    return folder


def problems(folder: Path, **options) -> list[str]:
    found = []
    list(read_voc(folder, report=found.append, **options))
    return [f"{p.kind}: {p}".replace(f"{folder}/", "") for p in found]


def refusal(folder: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        list(read_voc(folder, **options))
    return str(caught.value).replace(f"{folder}/", "")


def test_all_that_a_sample_has(annotations):
    voc = annotations.parent
    (voc / "JPEGImages").mkdir()
    write(
        annotations / "b.xml",
        thing("dog", more="<difficult>1</difficult><truncated>1</truncated>"),
        thing(
            " cat ",
            ("2.5", "1e0", 40, 30),
            more="<difficult>0</difficult><part><name>head</name></part>",
        ),
    )
    dataset = read_voc(voc)
    assert (dataset.source, dataset.form, len(dataset)) == (voc, "voc", 2)
    assert dataset.names == ("cat", "dog")
    assert dataset.category_ids == (1, 2)
    for _ in range(2):  # as often as it is asked to
        first, second = dataset
        assert first.image == voc / "JPEGImages" / "a.jpg"
        assert (first.image_id, second.image_id) == (1, 2)
        assert (second.width, second.height) == (40, 30)
        assert second.boxes_xyxy_px.tolist() == [[1, 2, 10, 20], [1.5, 0, 40, 30]]
        assert second.boxes_xyxy_px.dtype == np.float64
        assert second.classes.tolist() == [1, 0]
        assert second.classes.dtype == np.int64
        assert second.difficults.tolist() == [True, False]
        assert second.crowds.tolist() == [False, False]
        assert second.areas_px2.tolist() == [162, 38.5 * 30]
        assert second.places == tuple(f"{annotations}/b.xml line {n}" for n in (2, 3))


def test_pixels_are_counted_from_one_and_the_last_one_belongs_to_the_box(annotations):
    write(annotations / "a.xml", thing(box=(1, 1, 40, 30)), thing(box=(5, 6, 5, 6)))
    (sample,) = read_voc(annotations)
    assert sample.boxes_xyxy_px.tolist() == [[0, 0, 40, 30], [4, 5, 5, 6]]


def test_an_annotation_without_objects(annotations):
    write(annotations / "a.xml")
    (sample,) = read_voc(annotations, names=["cat"])
    assert sample.boxes_xyxy_px.shape == (0, 4)
    assert refusal(annotations).endswith("the annotations name no class; give the names")


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_the_file_does_not_say_is_the_pictures(annotations, size):
    write(annotations / "a.xml", thing(), size=size)
    assert problems(annotations)[0].startswith("missing image: a.xml: ")
    Image.new("RGB", (9, 5)).save(annotations / "a.jpg")
    (sample,) = read_voc(annotations)
    assert (sample.width, sample.height) == (9, 5)


@pytest.mark.parametrize(
    ("file_name", "there"), [("x.jpg", "x.jpg"), ("x.jpg", "a.png"), ("", "a.jpg")]
)
def test_a_picture_is_found_by_its_file_name_or_by_its_annotations(annotations, file_name, there):
    write(annotations / "a.xml", thing(), name=file_name)
    Image.new("RGB", (40, 30)).save(annotations / there)
    (sample,) = read_voc(annotations)
    assert sample.image == annotations / there
    (sample,) = read_voc(annotations, images="elsewhere")
    assert sample.image == Path("elsewhere", file_name or "a.jpg")


def test_splits(annotations):
    voc = annotations.parent
    for stem in ("b", "c"):
        write(annotations / f"{stem}.xml", thing("dog"))
    lists = voc / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("c\n\nb 1\n")
    (lists / "train.txt").write_text("a\n")
    (lists / "cat_val.txt").write_text("a -1\n")
    assert [sample.image.stem for sample in read_voc(voc)] == ["c", "b"]
    assert read_voc(voc).names == ("dog",)
    assert [sample.image.stem for sample in read_voc(voc, split="train")] == ["a"]
    assert refusal(voc, split="test") == "ImageSets/Main: has no test.txt (found train, val)"
    (lists / "val.txt").write_text("c\nd\n")
    expected = "ImageSets/Main/val.txt line 2: Annotations/d.xml: no such file"
    assert refusal(voc) == expected
    assert problems(voc) == [f"missing labels: {expected}"]
    (lists / "val.txt").write_bytes(b"\xff")
    assert "val.txt: cannot be read" in refusal(voc)


def test_names_are_given_or_stand_in_the_folder(annotations):
    write(annotations / "b.xml", thing("dog"))
    assert read_voc(annotations, names=["dog", "cat"]).names == ("dog", "cat")
    assert refusal(annotations, names=["dog"]) == "a.xml line 2: 'cat' is not one of dog"
    (annotations.parent / "classes.names").write_text("dog\ncat\ncow\n")
    for path in (annotations, annotations.parent):
        assert read_voc(path).names == ("dog", "cat", "cow")
        assert [sample.classes.tolist() for sample in read_voc(path)] == [[1], [0]]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (thing("cow"), "unknown class: {}: 'cow' is not one of cat"),
        (thing(""), "malformed: {}: the object has no <name>"),
        ("\n<object><name>cat</name></object>", "malformed: {}: the object has no bndbox/xmin"),
        (thing(box=(1, 2, "", 4)), "malformed: {}: the object has no bndbox/xmax"),
        (thing(box=("x", 2, 3, 4)), "malformed: {}: xmin: expected a number, found x"),
        (thing(box=(1, "nan", 3, 4)), "bad box: {}: ymin=nan is not finite"),
        (thing(box=(1, 2, "3e9", 4)), "bad box: {}: xmax=3e9 is no pixel's"),
        (thing(box=(5, 2, 3, 4)), "bad box: {}: xmin=5 ymin=2 xmax=3 ymax=4 has a negative size"),
        (thing(box=(1, 6, 3, 4)), "bad box: {}: xmin=1 ymin=6 xmax=3 ymax=4 has a negative size"),
        (
            thing(more="<difficult>?</difficult>"),
            "malformed: {}: difficult: expected 0 or 1, found ?",
        ),
    ],
)
def test_a_bad_object_is_named_and_the_others_stay(annotations, bad, expected):
    write(annotations / "a.xml", thing(), bad, thing())
    (found,) = problems(annotations, names=["cat"])
    assert found == expected.format("a.xml line 3")
    assert refusal(annotations, names=["cat"]) in found
    (sample,) = read_voc(annotations, names=["cat"], report=lambda _: None)
    assert [place.split()[-1] for place in sample.places] == ["2", "4"]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "malformed: b.xml: is not XML: no element found: line 1, column 0"),
        ("<annotation>\n<object>", "malformed: b.xml: is not XML: no element found: line 2"),
        ("<html></html>", "malformed: b.xml: expected <annotation>, found <html>"),
        (BOMB, "malformed: b.xml: a document type (<!DOCTYPE>) is refused"),
        (BOMB.encode("utf-16"), "malformed: b.xml: a document type (<!DOCTYPE>) is refused"),
        ('<?xml version="1.0" encoding="x"?><annotation/>', "malformed: b.xml: is not XML: "),
        (b"<annotation>\xff</annotation>", "malformed: b.xml: is not XML: not well-formed"),
        (
            "<annotation><size><width>1.5</width><height>2</height></size></annotation>",
            "malformed: b.xml: size/width: expected pixels, found 1.5",
        ),
    ],
)
def test_a_bad_file_is_named_and_the_others_stay(annotations, text, expected):
    content = text.encode() if isinstance(text, str) else text
    (annotations / "b.xml").write_bytes(content)
    (found,) = problems(annotations)
    assert found.startswith(expected)
    assert refusal(annotations) in found


def test_a_bad_file_may_be_the_only_one(annotations):
    (annotations / "a.xml").write_text("x")
    assert refusal(annotations, names=["cat"]).startswith("a.xml: is not XML: syntax error")


def test_folders_without_annotations(tmp_path):
    expected = ": expected Pascal VOC annotations, found no .xml file"
    assert refusal(tmp_path) == f"{tmp_path}{expected}"
    (tmp_path / "Annotations").mkdir()
    assert refusal(tmp_path) == f"Annotations{expected}"
