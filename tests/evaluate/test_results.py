"""COCO's files as columns: what is read, what is refused and how, and how much memory it takes."""

import json
import tracemalloc

import numpy as np
import pytest

from tinyyolo3.data.coco import read_coco
from tinyyolo3.errors import DataError, OutputError
from tinyyolo3.evaluate import evaluate_coco
from tinyyolo3.evaluate.annotations import read_ground_truth
from tinyyolo3.evaluate.columns import FoundBoxes, collect_ground_truth
from tinyyolo3.evaluate.results import CHUNK, read_results, write_results

ENTRY = {"image_id": 7, "category_id": 18, "bbox": [10, 20.5, 30, 40], "score": 0.5}
ANNOTATIONS = {
    "images": [
        {"id": 42, "file_name": "b.jpg", "width": 640, "height": 480},
        {"id": 7, "file_name": "a.jpg", "width": 640, "height": 480},
    ],
    "annotations": [
        {
            "id": 5,
            "image_id": 42,
            "category_id": 18,
            "bbox": [1, 2, 3.5, 4],
            "area": 9.5,
            "iscrowd": 1,
        },
        {"id": 3, "image_id": 7, "category_id": 90, "bbox": [0.5, 2, 3, 0.25], "ignore": 1},
    ],
    "categories": [{"id": 90, "name": "toothbrush"}, {"id": 18, "name": "dog"}],
}


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(ANNOTATIONS))
    return read_ground_truth(path)


def written(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_annotations_become_columns_by_ascending_ids(truth, tmp_path):
    assert truth.source == str(tmp_path / "annotations.json")
    assert truth.image_ids == (7, 42)
    assert truth.names == ("dog", "toothbrush")
    assert truth.category_ids == (18, 90)
    assert truth.image.tolist() == [1, 0]
    assert truth.category.tolist() == [0, 1]
    assert truth.boxes_xywh_px.tolist() == [[1, 2, 3.5, 4], [0.5, 2, 3, 0.25]]
    assert truth.areas_px2.tolist() == [9.5, 0.75]
    assert truth.crowds.tolist() == [True, False]
    assert truth.difficults.tolist() == [False, True]


def test_samples_give_the_same_columns(truth):
    data = read_coco(truth.source)
    same = collect_ground_truth(data, str(data.source), data.names, data.category_ids)
    for name in ("source", "image_ids", "names", "category_ids"):
        assert getattr(same, name) == getattr(truth, name)
    rows, same_rows = np.argsort(truth.image), np.argsort(same.image)  # one of each picture
    for name in ("image", "category", "boxes_xywh_px", "areas_px2", "crowds", "difficults"):
        found, expected = getattr(same, name)[same_rows], getattr(truth, name)[rows]
        np.testing.assert_array_equal(found, expected, name)


def test_results_become_columns_in_the_order_of_the_file(truth, tmp_path):
    entries = [ENTRY, {**ENTRY, "image_id": 42, "category_id": 90, "score": 1, "extra": [1]}]
    found = read_results(written(tmp_path / "r.json", entries), truth)
    assert found.image.tolist() == [0, 1]
    assert found.category.tolist() == [0, 1]
    assert found.boxes_xywh_px.tolist() == [[10, 20.5, 30, 40]] * 2
    assert found.scores.tolist() == [0.5, 1]


@pytest.mark.parametrize("count", [0, 1, CHUNK, 2 * CHUNK + 1])
def test_what_is_written_is_read_bit_for_bit(truth, tmp_path, count):
    rng = np.random.default_rng(count)
    found = FoundBoxes(
        rng.integers(0, 2, count),
        rng.integers(0, 2, count),
        rng.random((count, 4)) * 500,
        rng.random(count),
    )
    path = tmp_path / "results.json"
    write_results(path, truth, found)
    again = read_results(path, truth)
    for name, column in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), column)
    entries = json.loads(path.read_text())
    assert len(entries) == count
    assert all(list(entry) == list(ENTRY) for entry in entries)
    assert len(path.read_text().splitlines()) == count + 2


def test_results_that_cannot_be_written_leave_nothing_behind(truth, tmp_path):
    (tmp_path / "taken").mkdir()
    found = FoundBoxes(np.zeros(1, int), np.zeros(1, int), np.zeros((1, 4)), np.zeros(1))
    with pytest.raises(OutputError, match="taken: cannot be written"):
        write_results(tmp_path / "taken", truth, found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations.json", "taken"]


BAD_RESULTS = {
    "unknown image": ({"image_id": 8}, "image_id=8 is the id of no image in {annotations}"),
    "unknown category": (
        {"category_id": 19},
        "category_id=19 is the id of no category in {annotations}",
    ),
    "id as text": ({"image_id": "7"}, "image_id: expected an integer, found '7'"),
    "id as fraction": ({"image_id": 7.5}, "image_id: expected an integer, found 7.5"),
    "id as truth value": ({"category_id": True}, "category_id: expected an integer, found True"),
    "huge id": ({"image_id": 10**40}, "00000 is the id of no image in "),
    "NaN score": ({"score": float("nan")}, "score=nan is not finite"),
    "infinite score": ({"score": float("inf")}, "score=inf is not finite"),
    "endless score": ({"score": 10**400}, "is not finite"),
    "score as text": ({"score": "0.5"}, "score: expected numbers, found '0.5'"),
    "no score": ({"score": None}, "score: expected numbers, found None"),
    "negative width": ({"bbox": [1, 2, -3, 4]}, "bbox=[1, 2, -3, 4] has a negative size"),
    "negative height": ({"bbox": [1, 2, 3, -4]}, "bbox=[1, 2, 3, -4] has a negative size"),
    "NaN in box": ({"bbox": [1, 2, 3, float("nan")]}, "bbox=[1, 2, 3, nan] is not finite"),
    "three numbers": ({"bbox": [1, 2, 3]}, "expected bbox=[x, y, width, height], found [1, 2, 3]"),
    "box as text": ({"bbox": "1234"}, "expected bbox=[x, y, width, height], found '1234'"),
    "texts in box": ({"bbox": [1, 2, "3", 4]}, "bbox: expected numbers, found [1, 2, '3', 4]"),
    "truth value in box": ({"bbox": [1, 2, 3, True]}, "bbox: expected numbers"),
}


@pytest.mark.parametrize("kind", BAD_RESULTS)
@pytest.mark.parametrize("place", [0, 3, CHUNK + 5])
def test_bad_results_name_file_and_entry(truth, tmp_path, kind, place):
    change, message = BAD_RESULTS[kind]
    later = [ENTRY, {}] if place else [ENTRY]  # the first bad entry is named
    entries = [ENTRY] * place + [{**ENTRY, **change}, *later]
    path = written(tmp_path / "bad.json", entries)
    with pytest.raises(DataError) as caught:
        read_results(path, truth)
    assert str(caught.value).startswith(f"{path} entry {place}: ")
    assert message.format(annotations=truth.source) in str(caught.value)


@pytest.mark.parametrize("member", ENTRY)
def test_results_that_lack_a_member(truth, tmp_path, member):
    entry = {name: value for name, value in ENTRY.items() if name != member}
    with pytest.raises(DataError, match=rf"bad.json entry 1: has no {member}$"):
        read_results(written(tmp_path / "bad.json", [ENTRY, entry]), truth)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"image_id": 7', "bad.json .* the file ends inside "),
        ("{}", "expected COCO results, an array in brackets, found '{}'"),
        ("[1]", "entry 0: expected an object in braces, found 1"),
        ("[[]]", r"entry 0: expected an object in braces, found \[\]"),
        ("image_id,score\n", "expected COCO results, an array in brackets"),
        ("", "expected COCO results, found an empty file"),
    ],
)
def test_files_that_are_no_results(truth, tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_results(written(tmp_path / "bad.json", text), truth)


def test_missing_results(truth, tmp_path):
    with pytest.raises(DataError, match=r"none\.json: no such file \(expected COCO results\)"):
        read_results(tmp_path / "none.json", truth)


def changed(member, index, **fields):
    """Return the annotations with one entry changed; a field that is None is left out."""
    data = json.loads(json.dumps(ANNOTATIONS))
    entry = {**data[member][index], **fields}
    data[member][index] = {name: value for name, value in entry.items() if value is not None}
    return data


BAD_ANNOTATIONS = {
    "unknown image": (changed("annotations", 1, image_id=8), "annotation 3: image_id=8 is the id"),
    "unknown category": (
        changed("annotations", 1, category_id=1),
        "annotation 3: category_id=1 is the id of no category",
    ),
    "image id twice": (changed("images", 1, id=42), ": two images have the id 42"),
    "category id twice": (
        changed("categories", 1, id=90),
        "category 90: another one has the same id",
    ),
    "annotation id twice": (
        changed("annotations", 1, id=5),
        "annotation 5: another one before it has the same id",
    ),
    "negative size": (changed("annotations", 0, bbox=[1, 2, -3, 4]), "annotation 5: bbox=[1, 2, -"),
    "NaN": (changed("annotations", 0, bbox=[1, 2, 3, float("nan")]), "annotation 5: bbox=[1, 2, 3"),
    "no box": (changed("annotations", 0, bbox=None), "annotation 5: has no bbox"),
    "no annotation id": (changed("annotations", 1, id=None), "annotation at position 1: has no id"),
    "no image id": (
        changed("images", 1, id=None),
        "image at position 1: expected an object with an integer id",
    ),
    "no images": ({**ANNOTATIONS, "images": []}, ": has no images: images=[]"),
    "no categories": ({**ANNOTATIONS, "categories": []}, ": has no categories: categories=[]"),
    "no member": ({"images": [], "annotations": []}, ": expected a COCO data set, found no categ"),
    "no array": ({**ANNOTATIONS, "images": {}}, ": images: expected an array in brackets"),
    "results": ([ENTRY], "expected a COCO data set, an object in braces, found '[{"),
}


@pytest.mark.parametrize("kind", BAD_ANNOTATIONS)
def test_bad_annotations_name_file_and_entry(tmp_path, kind):
    data, message = BAD_ANNOTATIONS[kind]
    path = written(tmp_path / "bad.json", data)
    results = written(tmp_path / "results.json", [])
    with pytest.raises(DataError) as caught:
        evaluate_coco(path, results)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_large_files_are_streamed(truth, tmp_path):
    """Some megabytes stand for gigabytes: memory grows with the columns, not with the text."""
    text = json.dumps({**ENTRY, "segmentation": "x" * 2000})
    count = 10_000
    path = written(tmp_path / "large.json", "[" + ",".join([text] * count) + "]")
    tracemalloc.start()
    found = read_results(path, truth)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == count
    assert peak < path.stat().st_size / 2
