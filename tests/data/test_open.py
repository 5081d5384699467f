"""What lies there tells the form."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tinyyolo3.data.open import open_dataset
from tinyyolo3.errors import DataError, InputError

XML = (
    "<annotation><filename>a.png</filename><object><name>cat</name><bndbox><xmin>1</xmin>"
    "<ymin>1</ymin><xmax>4</xmax><ymax>2</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """The same picture with the same box in all forms."""
    Image.new("L", (8, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 .25 .25 .5 .5\n")
    (tmp_path / "list.txt").write_text("a.png\n")
    (tmp_path / "x.names").write_text("cat\n")
    (tmp_path / "x.data").write_text("train=list.txt\nvalid=list.txt\nnames=x.names\n")
    whole = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 4}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 2]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "x.json").write_text(json.dumps(whole))
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(XML)
    (tmp_path / "JPEGImages").mkdir()
    Image.new("L", (8, 4)).save(tmp_path / "JPEGImages" / "a.png")
    return tmp_path


def refusal(*arguments, error=DataError, **options) -> str:
    with pytest.raises(error) as caught:
        open_dataset(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize(
    ("name", "form", "options"),
    [
        ("x.data", "darknet", {}),
        ("x.data", "darknet", {"split": "train"}),
        ("list.txt", "darknet", {"names": ["cat"]}),
        ("x.json", "coco", {}),
        ("", "voc", {}),
        ("Annotations", "voc", {}),
    ],
)
def test_every_form_is_read_alike(folder, kind, name, form, options):
    dataset = open_dataset(kind(folder / name), **options)
    assert (dataset.form, dataset.names, len(dataset)) == (form, ("cat",), 1)
    (sample,) = dataset
    assert (sample.width, sample.height) == (8, 4)
    assert sample.boxes_xyxy_px.tolist() == [[0, 0, 4, 2]]


def test_names_are_a_file_or_a_list(folder):
    assert open_dataset(folder / "list.txt", names=folder / "x.names").names == ("cat",)
    assert open_dataset(folder, names=str(folder / "x.names")).names == ("cat",)
    assert open_dataset(folder / "x.data", names=("dog",)).names == ("dog",)
    assert "no such file" in refusal(folder / "list.txt", names=folder / "no.names")
    assert "needs names" in refusal(folder / "list.txt")


def test_what_a_form_has_no_use_for_is_refused(folder):
    assert "names=" in refusal(folder / "x.json", names=["cat"], error=InputError)
    assert "images=" in refusal(folder / "x.data", images=folder, error=InputError)
    assert "images=" in refusal(folder / "list.txt", images=folder, error=InputError)


@pytest.mark.parametrize("names", [[], 3, ()])
def test_names_that_are_none(folder, names):
    assert "names must be" in refusal(folder / "list.txt", names=names, error=InputError)


def test_what_is_no_data_set(folder):
    assert refusal(folder / "no").startswith(
        f"{folder}/no: no such file or folder (expected a Dark"
    )
    assert refusal(folder / "a.png").startswith(f"{folder}/a.png: expected a Darknet .data file, ")
    assert "found a folder" not in refusal(folder / "JPEGImages")
    assert refusal(folder / "JPEGImages").endswith("found no .xml file")
    assert "expected the path of a data set" in refusal(None, error=InputError)
    assert "no such file" in refusal("x\0y")


def test_problems_are_reported_as_they_are_met(folder):
    (folder / "a.txt").write_text("3 .5 .5 .5 .5\n")
    found = []
    (sample,) = open_dataset(folder / "x.data", report=found.append)
    assert len(sample.classes) == 0
    assert [str(problem) for problem in found] == [
        f"{folder}/a.txt line 1: class 3 is not one of 0 to 0"
    ]
