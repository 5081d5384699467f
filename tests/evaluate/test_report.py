"""What an evaluation looks like on paper, by hand; and its parts that the command uses."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tinyyolo3.data.samples import DataSet, Sample
from tinyyolo3.errors import DataError, InputError, OutputError
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth
from tinyyolo3.evaluate.darknet import DarknetSettings
from tinyyolo3.evaluate.evaluation import evaluate_found, only_listed
from tinyyolo3.evaluate.report import (
    coco_lines,
    darknet_lines,
    draw_curves,
    write_class_csv,
    write_summary,
)


@pytest.fixture
def truth() -> GroundTruth:
    """Two cats and a dog, 20 px wide, in two pictures; no cow."""
    boxes = np.array([[0, 0, 20, 20], [50, 0, 20, 20], [0, 0, 20, 20]], np.float64)
    return GroundTruth(
        source="set",
        image_ids=(7, 9),
        names=("cat", 'dog, "hot"', "cow"),
        category_ids=(1, 5, 90),
        image=np.array([0, 0, 1]),
        category=np.array([0, 0, 1]),
        boxes_xywh_px=boxes,
        areas_px2=np.full(3, 400.0),
        crowds=np.zeros(3, np.bool_),
        difficults=np.zeros(3, np.bool_),
    )


@pytest.fixture
def found() -> FoundBoxes:
    """A cat exactly, a cat where there is none, half a dog (IoU .6)."""
    return FoundBoxes(
        np.array([0, 0, 1]),
        np.array([0, 0, 1]),
        np.array([[0, 0, 20, 20], [90, 0, 20, 20], [0, 0, 20, 12]], np.float64),
        np.array([0.9, 0.8, 0.7]),
    )


def test_darknets_lines(truth, found):
    assert darknet_lines(evaluate_found(truth, found).darknet) == [
        " detections_count = 3, unique_truth_count = 3",
        "class_id = 0, name = cat, ap = 50.00%  (TP = 1, FP = 1)",
        'class_id = 1, name = dog, "hot", ap = 100.00%  (TP = 1, FP = 0)',
        "class_id = 2, name = cow, ap = 0.00%  (TP = 0, FP = 0)",
        "",
        " for conf_thresh = 0.25, precision = 0.67, recall = 0.67, F1-score = 0.67",
        " for conf_thresh = 0.25, TP = 2, FP = 1, FN = 1, average IoU = 53.33 %",
        "",
        " IoU threshold = 50 %, used Area-Under-Curve for each unique Recall",
        " mean average precision (mAP@0.50) = 0.500000, or 50.00 %",
    ]


def test_cocos_lines(truth, found):
    lines = coco_lines(evaluate_found(truth, found).coco)
    assert len(lines) == 12
    start = " Average Precision  (AP) @[ IoU="
    half = 51 / 101  # of the cats, at recalls 0 to .5
    dog = 3 / 10  # at IoU .5, .55 and .6
    assert lines[0] == f"{start}0.50:0.95 | area=   all | maxDets=100 ] = {(half + dog) / 2:.3f}"
    assert lines[1] == f"{start}0.50      | area=   all | maxDets=100 ] = {(half + 1) / 2:.3f}"
    assert lines[5] == f"{start}0.50:0.95 | area= large | maxDets=100 ] = -1.000"
    assert lines[6].startswith(
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1"
    )


def test_csv_keeps_names_with_commas(truth, found, tmp_path):
    write_class_csv(tmp_path / "classes.csv", evaluate_found(truth, found))
    with open(tmp_path / "classes.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(truth.names)
    assert [row["objects"] for row in rows] == ["2", "1", "0"]
    assert [row["darknet_AP"] for row in rows] == ["0.500000", "1.000000", "0.000000"]
    assert rows[2]["AP"] == "-1.000000"


def test_summary_has_settings_and_numbers(truth, found, tmp_path):
    evaluation = evaluate_found(truth, found, darknet=DarknetSettings(points=11))
    write_summary(tmp_path / "summary.json", evaluation, {"size": "416x416"})
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["settings"] == {"size": "416x416"}
    assert content["coco"]["AP50"] == evaluation.coco["AP50"]
    assert content["darknet"]["FN"] == 1
    assert [row["class"] for row in content["classes"]] == list(truth.names)


@pytest.mark.parametrize("protocol", ["coco", "darknet"])
def test_curves_are_drawn_by_the_protocol_that_was_used(
    truth, found, tmp_path, monkeypatch, protocol
):
    drawn = {}

    def keep(_path, _recall, precision, average_precision, **options):
        drawn.update(options, precision=precision, average_precision=average_precision)

    monkeypatch.setattr("tinyyolo3.evaluate.report.draw_precision_recall", keep)
    evaluation = evaluate_found(truth, found, protocols=[protocol])
    draw_curves(tmp_path / "curves.png", evaluation, "title")
    assert drawn["iou_thresholds"] == ([0.5, 0.75] if protocol == "coco" else [0.5])
    cats, dogs, cows = drawn["precision"][0]
    assert_allclose(cats, [1.0] * 51 + [0.0] * 50)
    assert_allclose(dogs, [1.0] * 101)
    assert np.isnan(cows).all()
    assert np.isnan(drawn["average_precision"][0, 2])


def test_csv_that_cannot_be_written_is_one_error(truth, found, tmp_path):
    with pytest.raises(OutputError, match="gone"):
        write_class_csv(tmp_path / "gone" / "classes.csv", evaluate_found(truth, found))


def test_confusion_is_at_darknets_confidence(truth, found):
    counts = evaluate_found(truth, found, darknet=DarknetSettings(confidence=0.75)).confusion.counts
    assert counts[1].tolist() == [0, 0, 0, 1]  # the dog's detection is less confident


@pytest.mark.parametrize("protocols", [[], ["voc"], ["coco", "voc"]])
def test_unknown_protocol_is_refused(truth, found, protocols):
    with pytest.raises(InputError, match="protocols"):
        evaluate_found(truth, found, protocols=protocols)


class TestOnlyListed:
    @pytest.fixture
    def data(self) -> DataSet:
        none = np.zeros(0)
        sample = Sample(
            *(Path("a/1.png"), 9, 9, np.zeros((0, 4)), none.astype(np.int64)),
            *(none.astype(np.bool_), none.astype(np.bool_), none, 1, ()),
        )
        samples = [
            replace(sample, image=Path(image), image_id=image_id)
            for image, image_id in (("a/1.png", 4), ("a/2.png", 3), ("b/2.png", 2), ("a/5.png", 1))
        ]
        return DataSet(Path("set.json"), "coco", ("cat",), (1,), 4, lambda: iter(samples))

    def test_takes_files_by_name_in_the_sets_order(self, data, tmp_path):
        (tmp_path / "list.txt").write_text("/x/5.png\nC:\\y\\1.png\r\n")
        chosen = only_listed(data, tmp_path / "list.txt")
        assert (len(chosen), chosen.count) == (2, 2)
        assert [sample.image_id for sample in chosen] == [4, 1]
        assert [sample.image_id for sample in chosen] == [4, 1]  # again

    def test_name_of_two_pictures_is_refused(self, data, tmp_path):
        (tmp_path / "list.txt").write_text("5.png\n2.png\n")
        with pytest.raises(DataError, match=r"list\.txt line 2: set\.json has two pictures 2\.png"):
            only_listed(data, tmp_path / "list.txt")

    def test_name_of_no_picture_is_refused(self, data, tmp_path):
        (tmp_path / "list.txt").write_text("\n9.png\n")
        with pytest.raises(DataError, match=r"list\.txt line 2: set\.json has no picture 9\.png"):
            only_listed(data, tmp_path / "list.txt")
