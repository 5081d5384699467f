"""``tinyyolo3 evaluate``: the numbers of the API, going on after an interruption, bad input."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.data.open import open_dataset
from tinyyolo3.detector import Detector
from tinyyolo3.errors import OutputError
from tinyyolo3.evaluate import evaluate_coco, evaluate_darknet, evaluate_detector

#: COCO's ids have gaps; the categories are in another order than the model's names.
CATEGORIES = [{"id": 1, "name": "7"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "red fox"}]
CATEGORY_IDS = {category["name"]: category["id"] for category in CATEGORIES}
PICTURES = 6


@pytest.fixture
def coco(tmp_path, monkeypatch, model) -> Path:
    """COCO's folders with six pictures, labelled by the model itself with some luck."""
    monkeypatch.chdir(tmp_path)
    pictures = tmp_path / "coco" / "val2017"
    pictures.mkdir(parents=True)
    images, annotations = [], []
    detector, random = model.load(device="cpu"), np.random.default_rng(1)
    for index in range(PICTURES):
        place = pictures / f"{index:012}.png"
        pixels = random.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((60, 40), Image.Resampling.NEAREST).save(place)
        image_id = 100 - 7 * index
        images.append({"id": image_id, "file_name": place.name, "width": 60, "height": 40})
        for found in detector.detect(place, threshold=0.05, clip=True):
            left, top, right, bottom = found.xyxy
            box = [left + random.normal(0, 0.1) * (right - left), top, right - left, bottom - top]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": CATEGORY_IDS[found.name],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(random.random() < 0.1),
                }
            )
    assert len(annotations) > 10
    place = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    place.parent.mkdir()
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    place.write_text(json.dumps(content))
    return place


@pytest.fixture
def evaluate(command, model, coco):
    """Run ``tinyyolo3 evaluate`` with the tiny model on the set of `coco`."""
    data = [f"--data={coco}", f"--images={coco.parent.parent / 'val2017'}", "--device=cpu"]
    return lambda *argv: command("evaluate", *data, *model.arguments, *argv)


def change(place: Path, edit) -> None:
    content = json.loads(place.read_text())
    edit(content)
    place.write_text(json.dumps(content))


class TestNumbers:
    def test_are_those_of_the_api(self, evaluate, coco, model):
        ending = evaluate("--out=out")
        assert (ending.status, ending.err) == (0, "")
        data = open_dataset(coco, images=coco.parent.parent / "val2017")
        expected = evaluate_detector(model.load(device="cpu"), data)
        assert 0.1 < expected.coco["AP"] < 0.99
        summary = json.loads(Path("out/summary.json").read_text())
        assert summary["coco"] == dict(expected.coco)
        assert summary["coco"] == dict(evaluate_coco(coco, "out/results.json"))
        assert summary["darknet"]["mAP"] == expected.darknet.mean_average_precision
        printed = re.findall(r"\] = (-?[0-9.]+)$", ending.out, re.MULTILINE)
        assert printed == [f"{value:.3f}" for value in expected.coco.values()]
        mean = expected.darknet.mean_average_precision
        assert f" mean average precision (mAP@0.50) = {mean:f}, or {100 * mean:.2f} %" in ending.out

    def test_are_pycocotools(self, evaluate, coco, capsys):
        pycocotools = pytest.importorskip("pycocotools.coco")
        evaluator = pytest.importorskip("pycocotools.cocoeval").COCOeval
        ending = evaluate("--out=out", "--protocol=coco")
        truth = pycocotools.COCO(str(coco))
        theirs = evaluator(truth, truth.loadRes("out/results.json"), "bbox")
        theirs.evaluate()
        theirs.accumulate()
        capsys.readouterr()
        theirs.summarize()
        summary = capsys.readouterr().out
        assert [line for line in ending.out.splitlines() if "@[" in line] == [
            line for line in summary.splitlines() if "@[" in line
        ]

    @pytest.mark.parametrize(
        ("arguments", "printed", "missing"),
        [
            (["--protocol=coco"], "Average Precision", "mAP@"),
            (["--protocol=darknet"], "mAP@", "Average Precision"),
            (["--points=11"], "used 11 Recall-points", "Area-Under-Curve"),
            (["--iou=.75"], "(mAP@0.75)", "(mAP@0.50)"),
            (["--confidence=.5"], "conf_thresh = 0.50, TP", "conf_thresh = 0.25"),
        ],
    )
    def test_protocol_is_as_chosen(self, evaluate, arguments, printed, missing):
        ending = evaluate(*arguments)
        assert ending.status == 0
        assert printed in ending.out
        assert missing not in ending.out

    def test_stored_results_give_the_same(self, evaluate, command, coco):
        run = evaluate("--out=run", "--no-clip")
        stored = command("evaluate", "--data", coco, "--results=run/results.json", "--out=again")
        assert stored.status == 0
        start = "\n Average Precision"
        end = "\nwritten:"
        tables = [text[text.index(start) : text.index(end)] for text in (run.out, stored.out)]
        assert tables[0] == tables[1]
        assert not Path("again/results.json").exists()
        expected = evaluate_darknet(coco, "run/results.json")
        assert f"= {expected.mean_average_precision:f}, or" in stored.out

    def test_boxes_are_cut_for_coco_and_not_for_darknet(self, evaluate):
        cut, whole = evaluate("--out=cut"), evaluate("--out=whole", "--no-clip")
        beyond = []
        for out in ("cut", "whole"):
            boxes = [entry["bbox"] for entry in json.loads(Path(out, "results.json").read_text())]
            left, top, width, height = np.array(boxes).T
            ends = np.array([left + width - 60, top + height - 40])
            beyond.append(max(-left.min(), -top.min(), ends.max()))
        assert beyond[0] < 1e-9 < 1 < beyond[1]
        darknet = [ending.out[ending.out.index(" detections_count") :] for ending in (cut, whole)]
        assert darknet[0].partition("written")[0] == darknet[1].partition("written")[0]

    def test_darknets_own_form(self, command, coco, model, evaluate):
        """The set converted to labels in text gives Darknet's numbers again."""
        change(coco, lambda content: [a.update(iscrowd=0) for a in content["annotations"]])
        assert command("data", "convert", coco, "--to", "darknet", "converted").status == 0
        (data,) = Path("converted").glob("*.data")
        ending = command(
            *("evaluate", "--data", data, "--protocol=darknet", "--device=cpu", "--out=text"),
            *model.arguments,
        )
        assert (ending.status, ending.err) == (0, "")
        whole = evaluate("--protocol=darknet", "--out=json")
        ours, theirs = (
            json.loads(Path(out, "summary.json").read_text())["darknet"] for out in ("text", "json")
        )
        assert ours == pytest.approx(theirs, abs=1e-3)  # labels have six digits
        assert "Average Precision" not in whole.out

    def test_only_the_pictures_of_a_list(self, evaluate, coco, command):
        Path("5k.txt").write_text("/home/x/val2017/000000000001.png\n\nC:\\a\\000000000003.png\n")
        ending = evaluate("--only=5k.txt", "--out=some")
        assert ending.status == 0
        results = json.loads(Path("some/results.json").read_text())
        assert {entry["image_id"] for entry in results} == {93, 79}
        expected = evaluate_coco(coco, "some/results.json", image_ids=[93, 79])
        assert json.loads(Path("some/summary.json").read_text())["coco"] == dict(expected)
        evaluate("--out=all")
        stored = command(
            *("evaluate", "--data", coco, "--results=all/results.json", "--only=5k.txt"),
            *("--images=coco/val2017", "--out=again"),
        )
        assert stored.status == 0
        again = json.loads(Path("again/summary.json").read_text())["coco"]
        assert again == dict(expected)


class TestSettings:
    def test_are_printed_and_stored(self, evaluate, coco, model):
        ending = evaluate(
            *("--size=64x32", "--threshold=.01", "--nms=none", "--resize=stretch", "--no-exif"),
            *("--parity=pjreddie", "--points=101", "--batch=3", "--out=out"),
        )
        head = ending.out[: ending.out.index("\n\n")]
        for said in (
            *(str(coco), "6 pictures", "3 classes", str(model.cfg), str(model.weights)),
            *("64 x 32, fp32, pjreddie", "stretch, EXIF ignored", "confidence > 0.01"),
            *("no suppression", "IoU 0.50:0.95", "101 recalls", "confidence > 0.005"),
        ):
            assert said in head, said
        stored = json.loads(Path("out/summary.json").read_text())["settings"]
        assert stored["size"] == "64x32"
        assert stored["nms"] is None
        assert stored["threshold"] == 0.01
        assert stored["darknet"]["points"] == 101
        assert re.fullmatch("[0-9a-f]{64}", stored["model"])

    def test_of_stored_results_say_where_they_are_from(self, evaluate, command, coco):
        evaluate("--out=out")
        ending = command("evaluate", f"--data={coco}", "--results=out/results.json", "--out=out")
        assert "out/results.json, as they are stored" in ending.out


class TestFiles:
    def test_results_csv_and_charts_are_written_and_the_log_is_gone(self, evaluate):
        pytest.importorskip("matplotlib")
        ending = evaluate()
        files = ["classes.csv", "confusion.png", "precision-recall.png"]
        files += ["results.json", "summary.json"]
        assert sorted(path.name for path in Path("evaluation").iterdir()) == files
        assert "written: evaluation/results.json, evaluation/classes.csv" in ending.out
        for name in ("confusion.png", "precision-recall.png"):
            with Image.open(Path("evaluation", name)) as chart:
                assert min(chart.size) > 300

    def test_a_confusion_matrix_of_too_many_classes_is_left_out(self, evaluate, monkeypatch):
        pytest.importorskip("matplotlib")
        monkeypatch.setattr("tinyyolo3.charts.confusion.MOST_CLASSES", 2)
        ending = evaluate()
        assert ending.status == 0
        place = Path("evaluation", "confusion.png")
        assert f"warning: {place}: too large to draw, of more than 2 classes\n" in ending.err
        assert "precision-recall.png" in ending.out
        assert not place.exists()

    @pytest.mark.parametrize("protocol", ["coco", "darknet", "both"])
    def test_csv_has_a_row_for_each_class(self, evaluate, protocol):
        evaluate("--protocol", protocol)
        with open("evaluation/classes.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["class"], row["category_id"]) for row in rows] == [
            ("7", "1"),
            ("dog", "18"),
            ("red fox", "90"),
        ]
        assert ("AP50" in rows[0]) == (protocol != "darknet")
        assert ("darknet_AP" in rows[0]) == (protocol != "coco")

    def test_without_matplotlib_all_but_the_charts(self, evaluate, monkeypatch):
        def refuse(path):
            raise OutputError(f"{path}: a chart needs matplotlib: pip install 'tinyyolo3[plots]'")

        monkeypatch.setattr("tinyyolo3.charts.require_matplotlib", refuse)
        ending = evaluate()
        assert ending.status == 0
        assert ending.err.startswith("warning: evaluation/precision-recall.png: a chart needs")
        assert ending.err.count("\n") == 1
        files = {path.name for path in Path("evaluation").iterdir()}
        assert files == {"results.json", "classes.csv", "summary.json"}


class TestGoingOn:
    def test_after_ctrl_c_the_same_command_goes_on(self, evaluate, monkeypatch):
        evaluate("--out=whole")
        monkeypatch.setattr("tinyyolo3.evaluate.run.BATCHES_AT_ONCE", 1)
        detect, calls = Detector.detect, []

        def interrupted(self, *arguments, **options):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return detect(self, *arguments, **options)

        monkeypatch.setattr(Detector, "detect", interrupted)
        ending = evaluate("--out=parts")
        assert ending.status == 130
        assert "warning: parts/unfinished.jsonl keeps what is done; the same command" in ending.err
        assert [path.name for path in Path("parts").iterdir()] == ["unfinished.jsonl"]

        other = evaluate("--out=parts", "--threshold=.01")
        assert other.status == 1
        assert "was begun with threshold=0.001, not 0.01" in other.err

        assert evaluate("--out=parts").status == 0
        assert len(calls) == 4 + 3
        assert Path("parts/results.json").read_bytes() == Path("whole/results.json").read_bytes()
        assert not Path("parts/unfinished.jsonl").exists()

    def test_full_disk_keeps_the_log(self, evaluate, monkeypatch):
        def full(path, *_):
            raise OutputError(f"{path}: cannot be written: No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("tinyyolo3.evaluate.results.write_results", full)
            ending = evaluate("--out=out")
        assert (ending.status, ending.err.count("\n")) == (1, 1)
        assert "out/results.json: cannot be written: No space left" in ending.err
        assert [path.name for path in Path("out").iterdir()] == ["unfinished.jsonl"]
        monkeypatch.setattr(Detector, "detect", None)  # nothing is left to detect
        assert evaluate("--out=out").status == 0


class TestModel:
    @pytest.mark.parametrize("suffix", ["", ".cfg", ".weights"])
    def test_stem_stands_for_the_files_beside_it(self, command, coco, model, suffix):
        stem = str(model.cfg.with_suffix(""))
        ending = command(
            "evaluate", "--data", coco, "--images=coco/val2017", "--model", stem + suffix
        )
        assert ending.status == 0
        assert f"{model.cfg}, {model.weights}, {model.names}\n" in ending.out

    def test_names_that_are_given_come_before_those_beside_it(self, command, coco, model):
        Path("own.names").write_text(model.names.read_text())
        ending = command(
            *("evaluate", "--data", coco, "--images=coco/val2017", "--model", model.cfg),
            *("--names=own.names", "--device=cpu"),
        )
        assert f"{model.weights}, own.names\n" in ending.out

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--model=a", "--results=b"],
            ["--model=a", "--cfg=a.cfg", "--weights=a.weights"],
            ["--cfg=a.cfg"],
            ["--weights=a.weights"],
            ["--results=b", "--weights=a.weights"],
        ],
    )
    def test_one_model_or_results_must_be_named(self, command, coco, arguments):
        ending = command("evaluate", "--data", coco, *arguments)
        assert ending.status == 2
        assert ending.err.startswith("error: ")
        assert ending.err.count("\n") == 1
        assert not Path("evaluation").exists()

    @pytest.mark.parametrize(
        "option", ["--threshold=.3", "--nms=none", "--no-clip", "--resize=stretch", "--size=64"]
    )
    def test_stored_results_are_refused_what_only_a_model_can(self, command, coco, option):
        ending = command("evaluate", "--data", coco, "--results=b", option)
        assert ending.status == 2
        assert f"{option.partition('=')[0]} is for running a model" in ending.err

    def test_without_names_positions_decide(self, command, coco, model):
        arguments = [f"--cfg={model.cfg}", f"--weights={model.weights}"]
        ending = command("evaluate", "--data", coco, "--images=coco/val2017", *arguments)
        assert ending.status == 0
        assert "no names: classes by position" in ending.out


class TestBadInput:
    """One line that names file and entry, and no output."""

    def refused(self, ending, *said: str) -> None:
        assert ending.status in (1, 2)
        assert ending.err.startswith("error: ")
        assert ending.err.count("\n") == 1
        for part in said:
            assert part in ending.err
        assert not Path("evaluation").exists()

    def test_empty_set(self, evaluate, coco):
        change(coco, lambda content: content.update(images=[], annotations=[]))
        self.refused(evaluate(), "instances_val2017.json", "images")

    def test_annotation_of_no_image(self, evaluate, coco):
        change(coco, lambda content: content["annotations"][2].update(image_id=4242))
        self.refused(evaluate(), "instances_val2017.json annotation", "4242")

    def test_annotation_of_no_category(self, evaluate, coco):
        change(coco, lambda content: content["annotations"][2].update(category_id=2))
        self.refused(evaluate(), "instances_val2017.json annotation", "category")

    def test_names_that_do_not_fit(self, evaluate, coco):
        change(coco, lambda content: content["categories"][1].update(name="unicorn"))
        self.refused(evaluate(), "instances_val2017.json: 1 of its 3 classes", "unicorn")

    def test_more_classes_than_the_model_has_and_no_names(self, command, coco, model):
        change(coco, lambda content: content["categories"].append({"id": 91, "name": "x"}))
        arguments = [f"--cfg={model.cfg}", f"--weights={model.weights}"]
        ending = command("evaluate", "--data", coco, "--images=coco/val2017", *arguments)
        self.refused(ending, "has 4 classes, but the model has 3")

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            ({"image_id": 5}, "image_id=5"),
            ({"category_id": 2}, "category_id=2"),
            ({"bbox": [0, 0, -1, 5]}, "negative"),
            ({"score": float("nan")}, "not finite"),
        ],
    )
    def test_results_that_cannot_be(self, command, coco, entry, said):
        good = {"image_id": 100, "category_id": 18, "bbox": [0, 0, 9, 9], "score": 0.5}
        Path("results.json").write_text(json.dumps([good, good | entry]))
        ending = command("evaluate", f"--data={coco}", "--results=results.json")
        self.refused(ending, "results.json entry 1", said)

    @pytest.mark.parametrize("listed", ["", "\n\n", "000000000000.png\nother.png\n"])
    def test_list_of_other_pictures(self, evaluate, listed):
        Path("5k.txt").write_text(listed)
        self.refused(evaluate("--only=5k.txt"), "5k.txt")

    def test_folder_that_is_a_file(self, evaluate):
        Path("taken").write_text("")
        self.refused(evaluate("--out=taken"), "taken: cannot be written")

    def test_picture_that_is_not_there(self, evaluate, coco):
        (coco.parent.parent / "val2017" / "000000000002.png").unlink()
        ending = evaluate("--out=out")
        assert ending.status == 1
        assert "000000000002.png" in ending.err
        assert not Path("out/results.json").exists()


DOCUMENT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture
def documented(coco, command, model) -> None:
    """Files under all the names that the document uses: a small set, the tiny model."""
    coarse = model.cfg.read_text().replace("size=2\nstride=2", "size=16\nstride=16")
    for stem in ("yolov3", "yolov3-tiny", "obj"):
        Path(f"{stem}.cfg").write_text(coarse)  # pooling has no weights, and cells cost time
        Path(f"{stem}.weights").write_bytes(model.weights.read_bytes())
    Path("coco.names").write_bytes(model.names.read_bytes())
    Path("coco/val2014").symlink_to("val2017")
    Path("coco/annotations/instances_val2014.json").write_bytes(coco.read_bytes())
    Path("5k.txt").write_text("".join(f"/data/coco/val2014/{index:012}.png\n" for index in (4, 2)))
    command("data", "convert", coco, "--to", "darknet", "made")
    data = next(Path("made").glob("*.data")).read_text()
    Path("obj.data").write_text(re.sub(r"(?m)^(valid|names)( *= *)", r"\1\2made/", data))
    command(
        *("evaluate", f"--data={coco}", "--images=coco/val2017", "--model=yolov3"),
        *("--names=coco.names", "--device=cpu"),
    )


@pytest.mark.parametrize("line", COMMANDS)
@pytest.mark.usefixtures("documented")
@pytest.mark.filterwarnings("ignore:device='auto'")
def test_documented_command_runs_as_it_stands(line, command):
    """The paper's commands among them, but for COCO and the trained weights."""
    program, *arguments = shlex.split(line)
    assert program == "tinyyolo3"
    ending = command(*arguments)
    assert ending.status == 0, ending.err
    assert "Average Precision" in ending.out
    assert "written: " in ending.out


@pytest.mark.usefixtures("documented")
@pytest.mark.filterwarnings("ignore:device='auto'")
def test_documented_python_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    Path("instances_val2017.json").write_bytes(
        Path("coco/annotations/instances_val2017.json").read_bytes()
    )
    Path("val2017").symlink_to("coco/val2017")
    Path("results.json").write_bytes(Path("evaluation/results.json").read_bytes())
    exec(code, {})
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_the_papers_commands_are_documented():
    start = (
        "tinyyolo3 evaluate --data coco/annotations/instances_val2017.json --images coco/val2017"
    )
    papers = [line for line in COMMANDS if line.startswith(f"{start} --model yolov3")]
    assert len(papers) == 3
    assert all("--threshold .005" in line for line in papers)


class TestLabelsThatAreNotThere:
    """Allowed, as Darknet allows them, but said."""

    def test_no_object_at_all(self, evaluate, coco):
        change(coco, lambda content: content.update(annotations=[]))
        ending = evaluate()
        assert ending.status == 0
        assert (
            ending.err == f"warning: {coco}: no object is labelled, so there is nothing to find\n"
        )
        assert "= -1.000" in ending.out
        assert "mAP@0.50) = 0.000000" in ending.out

    def test_picture_without_a_label_file(self, command, coco, model):
        change(coco, lambda content: [a.update(iscrowd=0) for a in content["annotations"]])
        command("data", "convert", coco, "--to", "darknet", "made")
        (data,) = Path("made").glob("*.data")
        next(path for path in Path("made").rglob("*.txt") if path.stem.isdigit()).unlink()
        ending = command("evaluate", "--data", data, "--device=cpu", *model.arguments)
        assert ending.status == 0
        assert ending.err.startswith(f"warning: {data}: 1 without a label file, the first: made")


def write_darknets_detections(place: Path, pictures: Path, names: list[str], stored) -> None:
    """Write what Darknet found in letterboxed pictures as COCO labels."""
    names = [name for name in names if name]
    images, annotations = [], []
    for entry in stored:
        if (entry["model"], entry["resize"]) != ("yolo-fastest-1.1", "letterbox"):
            continue
        width, height = entry["image_size"]
        image_id = len(images) + 1
        name = str(pictures / entry["image"])
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for found in entry["detections"]:
            cx, cy, w, h = found["box_cxcywh"]
            left, top = max(cx - w / 2, 0), max(cy - h / 2, 0)
            box = [left, top, min(cx + w / 2, width) - left, min(cy + h / 2, height) - top]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": found["class_id"] + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                }
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    place.write_text(json.dumps(content))


@pytest.mark.reference
def test_trained_model_finds_what_darknet_found(command, reference, tmp_path, monkeypatch):
    """Labels that are Darknet's own detections: nearly everything is found."""
    monkeypatch.chdir(tmp_path)
    stem = reference / "models" / "yolo-fastest-1.1" / "model"
    names = stem.with_suffix(".names").read_text().split("\n")
    expected = json.loads((reference / "expected" / "zoo_detections.json").read_text())
    write_darknets_detections(Path("set.json"), reference / "images", names, expected)
    arguments = [f"--model={stem}", "--images", reference / "images", "--device=cpu"]
    ending = command("evaluate", "--data=set.json", *arguments, "--out=out")
    assert (ending.status, ending.err) == (0, "")
    measured = json.loads(Path("out/summary.json").read_text())
    assert measured["coco"]["AP50"] == 1
    assert measured["coco"]["AP"] > 0.99
    assert measured["darknet"]["recall"] == 1
