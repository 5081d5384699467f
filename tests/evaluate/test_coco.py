"""COCO's protocol against pycocotools: random sets, and the cases that are easily got wrong."""

import contextlib
import copy
import io
import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tinyyolo3.errors import InputError
from tinyyolo3.evaluate import coco, evaluate_coco
from tinyyolo3.testing.tolerances import REORDERED_MEAN

MEASURES = [
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
]
CURVES = {"precision": (2, 3, 0, 1), "recall": (1, 2, 0, 3)}  # pycocotools' axes in our order


def pycocotools_evaluation(annotations, results, image_ids=None):
    """Evaluate as its users do."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        if results:
            found = truth.loadRes(copy.deepcopy(results))
        else:  # loadRes fails on an empty list
            found = COCO()
            found.dataset = {**copy.deepcopy(annotations), "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        if image_ids is not None:
            evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def evaluate_files(folder, annotations, results, **options):
    """Write both files and evaluate them."""
    (folder / "annotations.json").write_text(json.dumps(annotations))
    (folder / "results.json").write_text(json.dumps(results))
    return evaluate_coco(folder / "annotations.json", folder / "results.json", **options)


def same_as_pycocotools(folder, annotations, results, image_ids=None):
    """Return our evaluation after comparing every number of it."""
    expected = pycocotools_evaluation(annotations, results, image_ids)
    found = evaluate_files(folder, annotations, results, image_ids=image_ids)
    assert list(found) == MEASURES
    np.testing.assert_allclose(list(found.values()), expected.stats, rtol=0, atol=REORDERED_MEAN)
    precision = expected.eval["precision"][..., 2].transpose(2, 3, 0, 1)
    recall = expected.eval["recall"].transpose(1, 2, 0, 3)
    np.testing.assert_array_equal(found.curves.precision, precision)
    np.testing.assert_array_equal(found.curves.recall, recall)
    return found


def make_set(objects, images=(1,), categories=(1,)):
    """Return annotations with objects given as (image, category, box[, area[, iscrowd]])."""
    numbers = count(1)
    return {
        "images": [{"id": image} for image in images],
        "categories": [{"id": category, "name": f"class {category}"} for category in categories],
        "annotations": [
            {
                "id": next(numbers),
                "image_id": image,
                "category_id": category,
                "bbox": list(box),
                "area": rest[0] if rest else box[2] * box[3],
                "iscrowd": rest[1] if len(rest) > 1 else 0,
            }
            for image, category, box, *rest in objects
        ],
    }


def make_results(*found):
    """Return results given as (image, category, box, score)."""
    return [
        {"image_id": image, "category_id": category, "bbox": list(box), "score": score}
        for image, category, box, score in found
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sets")


@st.composite
def evaluation_sets(draw):
    """Draw small sets full of ties: on a coarse grid, IoUs, areas and scores coincide."""
    image_ids = draw(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
    category_ids = draw(st.lists(st.integers(1, 90), min_size=1, max_size=3, unique=True))
    place = st.sampled_from([0, 8, 16, 32, 48])
    side = st.sampled_from([0, 8, 16, 24, 32, 64, 95.5, 96, 97])
    box = st.tuples(place, place, side, side)
    where = (st.sampled_from(image_ids), st.sampled_from(category_ids), box)
    area = st.sampled_from([0, 64, 1023.5, 1024, 1024.5, 9216, 9217, 2e10])
    objects = draw(st.lists(st.tuples(*where, area, st.integers(0, 1)), max_size=10))
    own_area = st.tuples(*where)
    objects += draw(st.lists(own_area, max_size=10))
    score = st.sampled_from([0, 0.25, 0.5, 0.75, 1])
    found = draw(st.lists(st.tuples(*where, score), max_size=20))
    return make_set(objects, image_ids, category_ids), make_results(*found)


@given(evaluation_sets())
@settings(max_examples=100, deadline=None)
def test_small_sets(folder, one):
    same_as_pycocotools(folder, *one)


@pytest.mark.parametrize("seed", range(3))
def test_sets_like_a_detector_s(tmp_path, seed):
    annotations, results = realistic_set(np.random.default_rng(seed), images=30, classes=4)
    found = same_as_pycocotools(tmp_path, annotations, results)
    assert 0.1 < found["AP"] < 0.9  # a set that tells right from wrong


def realistic_set(rng, images, classes):
    """Make objects, detections near them, and detections of nothing."""
    objects, found = [], []
    for image in range(images):
        for _ in range(rng.poisson(8)):
            category = int(rng.integers(classes))
            box = np.append(rng.uniform(0, 400, 2), rng.lognormal(4, 0.8, 2))
            area = box[2] * box[3] * rng.uniform(0.4, 1)
            objects.append((image, category, box.tolist(), area, int(rng.random() < 0.1)))
            for _ in range(rng.integers(3)):
                near = np.append(box[:2] + rng.normal(0, 3, 2), box[2:] * rng.normal(1, 0.1, 2))
                score = round(rng.beta(3, 1), 2)
                found.append((image, category, near.round(2).tolist(), score))
        for _ in range(rng.poisson(4)):
            box = np.append(rng.uniform(0, 400, 2), rng.lognormal(4, 0.8, 2))
            found.append(
                (image, int(rng.integers(classes)), box.tolist(), float(rng.random() ** 2))
            )
    order = rng.permutation(len(found))
    return (
        make_set(objects, range(images), range(classes)),
        make_results(*(found[row] for row in order)),
    )


BOX = (10, 10, 40, 40)


def test_a_perfect_detector(tmp_path):
    objects = [(1, 1, BOX), (2, 1, (0, 0, 9, 9))]
    annotations = make_set(objects, images=(1, 2))
    found = same_as_pycocotools(tmp_path, annotations, make_results(*((*o, 1) for o in objects)))
    assert found["AP"] == pytest.approx(1)
    assert found["AR_1"] == 1
    assert found["AP_large"] == -1  # there is no large object


def test_equal_scores_rank_by_image_and_then_by_the_file(tmp_path):
    annotations = make_set([(7, 1, BOX), (3, 1, BOX)], images=(7, 3))
    miss = (100, 100, 5, 5)
    for first, second in ((BOX, miss), (miss, BOX)):
        results = make_results((7, 1, first, 0.5), (3, 1, second, 0.5), (3, 1, first, 0.5))
        same_as_pycocotools(tmp_path, annotations, results)


def test_a_crowd_takes_any_number_of_detections(tmp_path):
    annotations = make_set([(1, 1, (0, 0, 200, 200), 40000, 1), (1, 1, (300, 0, 50, 50))])
    inside = [(1, 1, (10 * k, 0, 20, 20), 0.9) for k in range(5)]
    found = same_as_pycocotools(
        tmp_path, annotations, make_results(*inside, (1, 1, (300, 0, 50, 50), 0.1))
    )
    assert found["AP"] == pytest.approx(1)  # those in the crowd are neither right nor wrong
    assert (found.classes[0].objects, found.classes[0].crowds) == (1, 1)


def test_overlap_with_a_crowd_is_the_part_of_the_detection_in_it(tmp_path):
    crowd = (0, 0, 100, 100)
    for box in ((90, 0, 20, 20), (90.1, 0, 20, 20), (-15, 0, 20, 20), (-5, -5, 120, 120)):
        annotations = make_set([(1, 1, crowd, 10000, 1), (1, 1, (300, 0, 50, 50))])
        results = make_results((1, 1, box, 0.9), (1, 1, (300, 0, 50, 50), 0.5))
        same_as_pycocotools(tmp_path, annotations, results)


def test_an_object_goes_before_a_crowd_that_fits_better(tmp_path):
    annotations = make_set([(1, 1, (0, 0, 60, 60), 3600, 1), (1, 1, (0, 0, 40, 40))])
    found = same_as_pycocotools(tmp_path, annotations, make_results((1, 1, (0, 0, 40, 50), 0.9)))
    assert found["AR_1"] == pytest.approx(0.7)  # up to an IoU of 0.8


def test_of_objects_that_fit_equally_the_last_is_taken(tmp_path):
    objects = [(1, 1, (0, 0, 40, 40), 500), (1, 1, (0, 0, 40, 40), 2000)]
    found = same_as_pycocotools(
        tmp_path, make_set(objects), make_results((1, 1, (0, 0, 40, 40), 0.9))
    )
    assert (found["AR_small"], found["AR_medium"]) == (1, 1)


def test_an_iou_exactly_at_the_threshold_counts(tmp_path):
    annotations = make_set([(1, 1, (0, 0, 10, 10))])
    found = same_as_pycocotools(tmp_path, annotations, make_results((1, 1, (0, 0, 10, 5), 0.9)))
    assert found["AR_1"] == pytest.approx(0.1)


@pytest.mark.parametrize("area", [1024, 9216])
def test_areas_of_exactly_32_and_96_squared_are_in_both_ranges(tmp_path, area):
    side = area**0.5
    for off in (-1e-9, 0, 1e-9):
        annotations = make_set([(1, 1, (0, 0, side, side), area + off)])
        results = make_results((1, 1, (0, 0, side, side), 0.9), (1, 1, (300, 0, side, side), 0.95))
        found = same_as_pycocotools(tmp_path, annotations, results)
        inside = [name for name in ("small", "medium", "large") if found[f"AR_{name}"] == 1]
        assert len(inside) == (2 if off == 0 else 1)


def test_a_detection_outside_the_range_that_finds_nothing_is_ignored(tmp_path):
    annotations = make_set([(1, 1, (0, 0, 20, 20))])
    results = make_results((1, 1, (200, 200, 150, 150), 0.9), (1, 1, (0, 0, 20, 20), 0.5))
    found = same_as_pycocotools(tmp_path, annotations, results)
    assert found["AP"] == pytest.approx(0.5)
    assert found["AP_small"] == pytest.approx(1)


@pytest.mark.parametrize("hit", [99, 100, 101])
def test_a_hundred_detections_of_an_image_and_class_count(tmp_path, hit):
    objects = [(1, 1, BOX), (2, 1, BOX), (1, 2, BOX)]
    found = [(1, 1, (500, 500, 5, 5), 0.9)] * hit
    found[hit - 1] = (1, 1, BOX, 0.9)  # equal scores: its place in the file decides
    found += [(1, 2, BOX, 0.1), (2, 1, BOX, 0.1)]
    evaluation = same_as_pycocotools(
        tmp_path, make_set(objects, images=(1, 2), categories=(1, 2)), make_results(*found)
    )
    recalls = [row.AR for row in evaluation.classes]
    assert recalls == [1 if hit <= 100 else 0.5, 1]


def test_limits_of_1_and_10_detections(tmp_path):
    objects = [(1, 1, (50 * k, 0, 40, 40)) for k in range(12)]
    results = make_results(*((*place, 1 - k / 20) for k, place in enumerate(objects)))
    found = same_as_pycocotools(tmp_path, make_set(objects), results)
    np.testing.assert_allclose([found["AR_1"], found["AR_10"]], [1 / 12, 10 / 12])


def test_images_without_objects_results_or_either(tmp_path):
    annotations = make_set([(1, 1, BOX), (2, 1, BOX)], images=(1, 2, 3, 4))
    found = same_as_pycocotools(
        tmp_path, annotations, make_results((1, 1, BOX, 0.5), (3, 1, BOX, 0.9))
    )
    assert found.images == 4
    assert found["AR_100"] == 0.5


def test_no_results_at_all(tmp_path):
    found = same_as_pycocotools(tmp_path, make_set([(1, 1, BOX)]), [])
    assert found["AP"] == found["AR_100"] == 0


def test_no_objects_at_all(tmp_path):
    found = same_as_pycocotools(tmp_path, make_set([]), make_results((1, 1, BOX, 0.5)))
    assert set(found.values()) == {-1}


def test_classes_that_are_missing_from_either_side(tmp_path):
    annotations = make_set([(1, 3, BOX), (1, 70, BOX)], categories=(90, 3, 70))
    found = same_as_pycocotools(
        tmp_path, annotations, make_results((1, 3, BOX, 0.5), (1, 90, BOX, 0.5))
    )
    assert [(row.category_id, row.name) for row in found.classes] == [
        (3, "class 3"),
        (70, "class 70"),
        (90, "class 90"),
    ]
    assert [row.AP for row in found.classes] == [pytest.approx(1), 0, -1]
    assert [row.detections for row in found.classes] == [1, 0, 1]
    assert found["AP"] == pytest.approx(0.5)


def test_duplicates_of_objects_and_detections(tmp_path):
    annotations = make_set([(1, 1, BOX)] * 3)
    for copies in (1, 3, 5):
        same_as_pycocotools(tmp_path, annotations, make_results(*[(1, 1, BOX, 0.5)] * copies))


def test_boxes_without_area(tmp_path):
    annotations = make_set([(1, 1, (10, 10, 0, 0)), (1, 1, (10, 10, 0, 5), 0, 1), (1, 1, BOX)])
    results = make_results((1, 1, (10, 10, 0, 0), 0.9), (1, 1, (12, 12, 0, 5), 0.8))
    same_as_pycocotools(tmp_path, annotations, results)


def test_boxes_so_small_or_large_that_areas_under_and_overflow(tmp_path):
    for side in (1e-200, 1e200):
        annotations = make_set([(1, 1, (0, 0, 1e-200, 1e-200), 5), (1, 1, BOX)])
        same_as_pycocotools(tmp_path, annotations, make_results((1, 1, (0, 0, side, side), 0.9)))


def test_some_images_of_a_set(tmp_path):
    annotations, results = realistic_set(np.random.default_rng(5), images=12, classes=2)
    for chosen in ([3], [11, 0, 5]):
        found = same_as_pycocotools(tmp_path, annotations, results, chosen)
        assert found.images == len(chosen)


@pytest.mark.parametrize("files", [(3, "results.json"), ("set.json", None)])
def test_what_is_no_path(tmp_path, monkeypatch, files):
    monkeypatch.chdir(tmp_path)
    Path("set.json").write_text(json.dumps(make_set([(1, 1, BOX)])))
    with pytest.raises(InputError, match="expected the path of"):
        evaluate_coco(*files)


def test_the_repr_is_short(tmp_path):
    found = evaluate_files(tmp_path, make_set([(1, 1, BOX)]), [])
    assert repr(found).startswith("CocoEvaluation(measures={'AP': ")
    assert len(repr(found)) < 500


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([1, 2], "image_ids: 2 is no image of "),
        ([1, 1], "image_ids: 1 occurs twice"),
        ([], "image_ids names no image"),
    ],
)
def test_images_that_cannot_be_chosen(tmp_path, chosen, message):
    with pytest.raises(InputError, match=message):
        evaluate_files(tmp_path, make_set([(1, 1, BOX)]), [], image_ids=chosen)


def test_an_annotation_with_the_id_0_can_be_found_unlike_in_pycocotools(tmp_path):
    """pycocotools marks a detection with the id of what it found, and takes 0 for nothing."""
    annotations, results = make_set([(1, 1, BOX)]), make_results((1, 1, BOX, 0.5))
    annotations["annotations"][0]["id"] = 0
    assert pycocotools_evaluation(annotations, results).stats[0] == 0
    assert evaluate_files(tmp_path, annotations, results)["AP"] == pytest.approx(1)


def test_iscrowd_area_and_names_may_be_missing(tmp_path):
    annotations, results = make_set([(1, 1, BOX)]), make_results((1, 1, BOX, 0.5))
    expected = dict(same_as_pycocotools(tmp_path, annotations, results))
    del annotations["annotations"][0]["iscrowd"], annotations["annotations"][0]["area"]
    del annotations["categories"][0]["name"]
    found = evaluate_files(tmp_path, annotations, results)
    assert dict(found) == expected
    assert found.classes[0].name == "1"


def test_rows_of_classes_are_pycocotools_evaluated_class_by_class(tmp_path):
    annotations, results = realistic_set(np.random.default_rng(9), images=20, classes=3)
    found = evaluate_files(tmp_path, annotations, results)
    for row in found.classes:
        own, own_results = (
            [part for part in parts if part["category_id"] == row.category_id]
            for parts in (annotations["annotations"], results)
        )
        category = {"id": row.category_id}
        alone = {**annotations, "annotations": own, "categories": [category]}
        expected = pycocotools_evaluation(alone, own_results).stats
        measures = [row.AP, row.AP50, row.AP75, row.AP_small, row.AP_medium, row.AP_large, row.AR]
        np.testing.assert_allclose(
            measures, expected[[0, 1, 2, 3, 4, 5, 8]], rtol=0, atol=REORDERED_MEAN
        )
        single = [part for part in own if not part["iscrowd"]]
        assert row.objects == len(single)
        assert row.crowds == len(own) - len(single)
        assert row.images == len({part["image_id"] for part in single})
        assert row.detections == len(own_results)


def test_where_no_code_may_be_generated_the_definition_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYYOLO3_COMPILE", "never")
    monkeypatch.delattr(coco, "curves_numba")
    same_as_pycocotools(tmp_path, make_set([(1, 1, BOX)]), make_results((1, 1, BOX, 0.5)))


def test_threads_must_be_a_positive_number(tmp_path):
    with pytest.raises(InputError, match="threads"):
        evaluate_files(tmp_path, make_set([(1, 1, BOX)]), [], threads=0)
