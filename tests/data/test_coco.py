"""COCO files: what is in them arrives, in bounded memory, and what is wrong is named."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.data.coco import read_coco
from tinyyolo3.errors import DataError

MIB = 2**20


def image(number: int, **changes) -> dict:
    entry = {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30}
    return without_none({**entry, **changes})


def annotation(number: int, **changes) -> dict:
    entry = {"id": number, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3.5, 4]}
    return without_none({**entry, **changes})


def without_none(entry: dict) -> dict:
    return {name: value for name, value in entry.items() if value is not None}


CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


@pytest.fixture
def write(tmp_path):
    def write(annotations=(), images=None, categories=None) -> Path:
        path = tmp_path / "a.json"
        whole = {
            "info": {"year": 2017},
            "annotations": list(annotations),
            "images": [image(1)] if images is None else images,
            "licenses": [{"id": 1}],
            "categories": CATEGORIES if categories is None else categories,
        }
        path.write_text(json.dumps(whole))
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_coco(path))
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def problems(path: Path) -> list[str]:
    found = []
    list(read_coco(path, report=found.append))
    return [f"{p.kind}: {p}".replace(str(path), "a.json") for p in found]


def test_all_that_a_sample_has(write, tmp_path):
    path = write(
        [
            annotation(17, category_id=7, area=5.5, iscrowd=1),
            annotation(19, image_id=30),
            annotation(18, ignore=1, iscrowd=0),
        ],
        images=[image(30, file_name="sub/b.png"), image(1, width=50)],
    )
    dataset = read_coco(path)
    assert (dataset.source, dataset.form) == (path, "coco")
    assert dataset.names == ("cat", "dog")
    assert dataset.category_ids == (3, 7)
    assert len(dataset) == dataset.count == 2
    first, second = dataset
    assert (first.image, first.image_id) == (tmp_path / "sub/b.png", 30)
    assert (first.width, first.height) == (40, 30)
    assert first.places == (f"{path} annotation 19",)
    assert (second.image_id, second.width) == (1, 50)
    assert second.boxes_xyxy_px.tolist() == [[1, 2, 4.5, 6]] * 2
    assert second.boxes_xyxy_px.dtype == np.float64
    assert second.classes.tolist() == [1, 0]
    assert second.classes.dtype == np.int64
    assert second.crowds.tolist() == [True, False]
    assert second.difficults.tolist() == [False, True]
    assert second.areas_px2.tolist() == [5.5, 14]
    assert second.places == (f"{path} annotation 17", f"{path} annotation 18")
    assert [sample.image_id for sample in dataset] == [30, 1]  # once more


def test_a_picture_without_annotations(write):
    (sample,) = read_coco(write([]))
    assert sample.boxes_xyxy_px.shape == (0, 4)
    assert len(sample.classes) == len(sample.crowds) == len(sample.areas_px2) == 0


def test_a_size_that_the_file_does_not_say_is_the_pictures(write, tmp_path):
    path = write([annotation(1)], images=[image(1, width=None, height=None)])
    assert "image 1: " in refusal(path)
    assert problems(path)[0].startswith("missing image: a.json image 1: ")
    Image.new("L", (9, 5)).save(tmp_path / "1.png")
    (sample,) = read_coco(path)
    assert (sample.width, sample.height) == (9, 5)


@pytest.mark.parametrize("folder", ["", "images", "val2017", "../val2017", "../images/val2017"])
def test_pictures_are_found_where_people_have_them(write, tmp_path, folder):
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    (annotations / folder).resolve().mkdir(parents=True, exist_ok=True)
    path = write().rename(annotations / "instances_val2017.json")
    picture = (annotations / folder / "1.png").resolve()
    Image.new("L", (40, 30)).save(picture)
    (sample,) = read_coco(path)
    assert sample.image.resolve() == picture
    (sample,) = read_coco(path, images="elsewhere")
    assert sample.image == Path("elsewhere/1.png")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bbox": None}, "malformed: a.json annotation 9: has no bbox"),
        (
            {"bbox": [1, 2, 3]},
            "malformed: a.json annotation 9: expected bbox=[x, y, width, height]",
        ),
        ({"bbox": ["1", 2, 3, 4]}, "malformed: a.json annotation 9: bbox: expected numbers, found"),
        ({"bbox": [1, 2, True, 4]}, "malformed: a.json annotation 9: bbox: expected numbers"),
        (
            {"bbox": [1, 2, float("nan"), 4]},
            "bad box: a.json annotation 9: bbox=[1, 2, nan, 4] has",
        ),
        ({"bbox": [float("-inf"), 2, 3, 4]}, "bad box: a.json annotation 9: bbox=[-inf, 2, 3, 4]"),
        (
            {"bbox": [1, 2, 3, 3e9]},
            "bad box: a.json annotation 9: bbox=[1, 2, 3, 3000000000.0] has",
        ),
        ({"bbox": [10**400, 2, 3, 4]}, "bad box: a.json annotation 9: bbox="),
        (
            {"bbox": [1, 2, 3, -4]},
            "bad box: a.json annotation 9: bbox=[1, 2, 3, -4] has a negative",
        ),
        (
            {"bbox": [1, 2, -3, 4]},
            "bad box: a.json annotation 9: bbox=[1, 2, -3, 4] has a negative",
        ),
        ({"area": float("nan")}, "bad box: a.json annotation 9: area=nan is no area"),
        ({"area": -1}, "bad box: a.json annotation 9: area=-1.0 is no area"),
        ({"area": "big"}, "malformed: a.json annotation 9: area: expected numbers, found 'big'"),
        ({"iscrowd": 2}, "malformed: a.json annotation 9: iscrowd: expected 0 or 1, found 2"),
        ({"iscrowd": [0]}, "malformed: a.json annotation 9: iscrowd: expected 0 or 1, found [0]"),
        ({"image_id": "1"}, "malformed: a.json annotation 9: image_id: expected an integer, found"),
        ({"image_id": 2**63}, "malformed: a.json annotation 9: image_id: expected an integer"),
        ({"image_id": None}, "malformed: a.json annotation 9: has no image_id"),
        ({"image_id": 5}, "unknown image: a.json annotation 9: image_id=5 is the id of no image"),
        ({"category_id": 4}, "unknown class: a.json annotation 9: category_id=4 is the id of no"),
        ({"category_id": None}, "malformed: a.json annotation 9: has no category_id"),
        ({"id": None}, "malformed: a.json annotation at position 1: has no id"),
        ({"id": 9.0}, "malformed: a.json annotation at position 1: id: expected an integer"),
        ({"id": 8}, "duplicate id: a.json annotation 8: another one before it has the same id"),
    ],
)
def test_a_bad_annotation_is_named_and_the_others_stay(write, changes, expected):
    path = write([annotation(8), annotation(9, **changes), annotation(10)])
    (found,) = problems(path)
    assert found.startswith(expected)
    assert refusal(path) in found
    (sample,) = read_coco(path, report=lambda _: None)
    kept = [place.split()[-1] for place in sample.places]
    assert kept == (["8", "8", "10"] if changes == {"id": 8} else ["8", "10"])


def test_an_annotation_that_is_no_object(write):
    (found,) = problems(write([3]))
    expected = "malformed: a.json annotation at position 0: expected an object in braces, found 3"
    assert found == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": None}, "malformed: a.json image at position 1: has no id"),
        ({"id": 1}, "duplicate id: a.json image 1: another one before it has the same id"),
        ({"file_name": None}, "malformed: a.json image 2: has no file_name"),
        ({"file_name": ""}, "malformed: a.json image 2: file_name: expected a text, found ''"),
        ({"width": 0}, "malformed: a.json image 2: width: expected pixels, found 0"),
        ({"width": 40.5}, "malformed: a.json image 2: width: expected an integer, found 40.5"),
        ({"width": None}, "malformed: a.json image 2: expected width and height, found one of"),
    ],
)
def test_a_bad_image_is_named_and_the_others_stay(write, changes, expected):
    path = write([], images=[image(1), image(2, **changes), image(3)])
    (found,) = problems(path)
    assert found.startswith(expected)
    assert refusal(path) in found
    assert [s.image_id for s in read_coco(path, report=lambda _: None)] == [1, 3]


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ({"id": 3, "name": "cow"}, "duplicate id: a.json category 3: another one before it has"),
        ({"id": 4}, "malformed: a.json category 4: has no name"),
        ({"id": 4, "name": 4}, "malformed: a.json category 4: name: expected a text, found 4"),
    ],
)
def test_a_bad_category_is_named(write, category, expected):
    path = write(categories=[*CATEGORIES, category])
    assert problems(path)[0].startswith(expected)
    assert read_coco(path, report=lambda _: None).names == ("cat", "dog")


def test_sets_that_are_empty(write):
    assert refusal(write(images=[])) == ": expected pictures, found images=[]"
    assert refusal(write(categories=[])) == ": expected classes, found categories=[]"


@pytest.mark.parametrize("missing", ["images", "annotations", "categories"])
def test_files_without_one_of_the_three(write, missing):
    path = write()
    whole = json.loads(path.read_text())
    del whole[missing]
    path.write_text(json.dumps(whole))
    assert refusal(path) == f": expected a COCO data set, found no {missing}"
    path.write_text(json.dumps({**whole, missing: {}}))
    assert refusal(path) == f": {missing}: expected an array in brackets"


def test_results_are_no_data_set(write):
    path = write()
    path.write_text(json.dumps([{"image_id": 1, "score": 0.5}]))
    assert "expected a COCO data set, an object in braces, found '[{" in refusal(path)


def test_a_file_that_was_cut(write):
    path = write([annotation(number) for number in range(9)])
    path.write_text(path.read_text()[:250])
    assert "the file ends inside annotations[" in refusal(path)


def test_names_and_ids_at_the_edges(write):
    names = ["ä/日本.png", "\udcff.png"]
    path = write(
        [annotation(-(2**63), image_id=2**63 - 1)],
        images=[image(2**63 - 1, file_name=names[0]), image(0, file_name=names[1])],
    )
    first, second = read_coco(path)
    assert str(first.image.relative_to(path.parent)) == names[0]
    assert second.image.name == names[1]
    assert len(first.classes) == 1


def test_memory_is_bounded_by_columns_whatever_the_segmentations(tmp_path):
    path = tmp_path / "big.json"
    polygon = json.dumps([[i / 7 for i in range(1500)]])
    count = 1000
    with open(path, "w") as file:
        file.write('{"images": [' + ",".join(json.dumps(image(i)) for i in range(count)))
        file.write('], "categories": [{"id": 3, "name": "cat"}], "annotations": [')
        for i in range(count):
            start = json.dumps(annotation(i, image_id=count - 1 - i))[:-1]
            file.write(("," if i else "") + f'{start}, "segmentation": {polygon}}}')
        file.write("]}")
    assert path.stat().st_size > 24 * MIB
    tracemalloc.start()
    try:
        dataset = read_coco(path)
        boxes = sum(len(sample.classes) for sample in dataset)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert boxes == count
    assert peak < 6 * MIB  # the window takes three; json.load takes sixty
