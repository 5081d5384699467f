"""From form to form nothing is lost that both can hold, and what is lost is said."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.data.convert import Conversion, convert_dataset
from tinyyolo3.data.open import open_dataset
from tinyyolo3.data.samples import DataSet
from tinyyolo3.errors import DataError, InputError, OutputError

#: What opens a set of each form that these tests write.
OUT = {"darknet": "darknet", "coco": "coco.json", "voc": "voc"}
#: Where a box may be after two conversions, each exact to 1e-6 px.
SLACK_PX = 2e-6


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A COCO file of three pictures, one of them empty, with all that COCO can hold."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, size in (("a", (64, 48)), ("b", (33, 77)), ("c", (20, 20))):
        Image.new("RGB", size).save(f"photos/{name}.png")
    content = {
        "images": [
            {"id": 41, "file_name": "a.png", "width": 64, "height": 48},
            {"id": 5, "file_name": "b.png", "width": 33, "height": 77},
            {"id": 6, "file_name": "c.png", "width": 20, "height": 20},
        ],
        "categories": [{"id": 3, "name": "red fox"}, {"id": 90, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 41, "category_id": 90, "bbox": [0, 0, 64, 48], "iscrowd": 1},
            {"id": 8, "image_id": 41, "category_id": 3, "bbox": [1.25, 2, 3, 1 / 3], "area": 0.7},
            {"id": 9, "image_id": 5, "category_id": 3, "bbox": [30, 70.1, 3, 6.9], "ignore": 1},
        ],
    }
    place = Path("set.json")
    place.write_text(json.dumps(content))
    return place


def open_coco(path: Path) -> DataSet:
    return open_dataset(path, images="photos")


def convert(dataset: DataSet, form: str, **options) -> tuple[Conversion, DataSet]:
    done = convert_dataset(dataset, form, OUT[form], **options)
    return done, open_dataset(done.place)


def assert_same(first: DataSet, second: DataSet, *, flags: bool = False) -> None:
    """Compare what all forms hold; with `flags` also what only COCO does."""
    assert first.names == second.names
    assert first.count == second.count
    for a, b in zip(first, second, strict=True):
        assert (a.width, a.height) == (b.width, b.height)
        assert a.image.read_bytes() == b.image.read_bytes()
        np.testing.assert_array_equal(a.classes, b.classes)
        np.testing.assert_allclose(a.boxes_xyxy_px, b.boxes_xyxy_px, rtol=0, atol=SLACK_PX)
        if flags:
            np.testing.assert_array_equal(a.crowds, b.crowds)
            np.testing.assert_array_equal(a.difficults, b.difficults)
            np.testing.assert_allclose(a.areas_px2, b.areas_px2)
            assert a.image_id == b.image_id


class TestForms:
    @pytest.mark.parametrize("form", ["darknet", "coco", "voc"])
    def test_one_step_keeps_what_both_hold(self, coco: Path, form: str) -> None:
        done, after = convert(open_coco(coco), form)
        assert after.form == form
        assert (done.pictures, done.boxes) == (3, 3)
        assert_same(open_coco(coco), after, flags=form == "coco")

    @pytest.mark.parametrize(("first", "second"), [*permutations(OUT, 2)])
    def test_two_steps_keep_it_too(self, coco: Path, first: str, second: str) -> None:
        _, between = convert(open_coco(coco), first)
        _, after = convert(between, second)
        assert_same(open_coco(coco), after)

    def test_voc_and_coco_keep_what_is_difficult(self, coco: Path) -> None:
        _, voc = convert(open_coco(coco), "voc")
        _, again = convert(voc, "coco")
        for dataset in (voc, again):
            assert [sample.difficults.tolist() for sample in dataset] == [[False] * 2, [True], []]

    @pytest.mark.parametrize(
        ("form", "not_kept"),
        [
            (
                "darknet",
                ("1 crowd flag", "1 difficult flag", "1 area", "3 picture ids", "category ids"),
            ),
            ("voc", ("1 crowd flag", "1 area", "3 picture ids", "category ids")),
            ("coco", ()),
        ],
    )
    def test_what_is_lost_is_said(self, coco: Path, form: str, not_kept: tuple[str, ...]) -> None:
        assert convert(open_coco(coco), form)[0].not_kept == not_kept

    def test_nothing_is_lost_twice(self, coco: Path) -> None:
        _, darknet = convert(open_coco(coco), "darknet")
        assert convert(darknet, "voc")[0].not_kept == ()

    def test_the_split_is_named(self, coco: Path) -> None:
        done = convert_dataset(open_coco(coco), "darknet", "d", split="train")
        assert open_dataset(done.place, split="train").count == 3
        with pytest.raises(DataError, match="has no valid="):
            open_dataset(done.place)
        convert_dataset(open_coco(coco), "voc", "v")
        assert Path("v/ImageSets/Main/val.txt").read_text() == "a\nb\nc\n"

    @pytest.mark.parametrize(("form", "folder"), [("voc", "JPEGImages"), ("darknet", "images")])
    def test_pictures_are_linked_or_copied(self, coco: Path, form: str, folder: str) -> None:
        convert_dataset(open_coco(coco), form, "linked")
        convert_dataset(open_coco(coco), form, "copied", placing="copy")
        assert Path("linked", folder, "a.png").is_symlink()
        assert not Path("copied", folder, "a.png").is_symlink()

    def test_progress_is_told_of(self, coco: Path) -> None:
        shown: list[tuple[int, int]] = []
        convert(open_coco(coco), "coco", progress=lambda *now: shown.append(now))
        assert shown == [(1, 3), (2, 3), (3, 3)]


class TestRefusals:
    @pytest.mark.parametrize("form", ["darknet", "coco", "voc"])
    def test_nothing_is_written_over(self, coco: Path, form: str) -> None:
        first, _ = convert(open_coco(coco), form)
        before = contents()
        with pytest.raises(OutputError, match=rf"{OUT[form]}: is there already"):
            convert(open_coco(coco), form)
        assert contents() == before
        assert first.place.exists()

    @pytest.mark.parametrize("form", ["darknet", "coco", "voc"])
    def test_a_bad_label_leaves_nothing_behind(self, coco: Path, form: str) -> None:
        bad = json.loads(coco.read_text())
        bad["annotations"][2]["category_id"] = 4
        Path("bad.json").write_text(json.dumps(bad))
        before = contents()
        with pytest.raises(DataError, match=r"bad\.json annotation 9"):
            convert(open_coco(Path("bad.json")), form)
        assert contents() == before

    @pytest.mark.parametrize("form", ["darknet", "coco", "voc"])
    def test_a_set_that_breaks_off_leaves_nothing_behind(self, coco: Path, form: str) -> None:
        dataset = open_coco(coco)

        def break_off():
            yield next(iter(dataset))
            raise DataError("no further")

        before = contents()
        with pytest.raises(DataError, match="no further"):
            convert(replace(dataset, samples=break_off), form)
        assert contents() == before

    def test_a_missing_picture_ends_it(self, coco: Path) -> None:
        _, darknet = convert(open_coco(coco), "darknet")
        Path("photos/b.png").unlink()
        with pytest.raises(DataError, match=r"b\.png: no such file"):
            convert(darknet, "coco")
        assert not Path("coco.json").exists()

    def test_coco_is_a_json_file(self, coco: Path) -> None:
        with pytest.raises(InputError, match=r"out: expected a file .* \.json"):
            convert_dataset(open_coco(coco), "coco", "out")

    def test_an_unknown_form(self, coco: Path) -> None:
        with pytest.raises(InputError, match="darknet, coco or voc, found 'yolo'"):
            convert_dataset(open_coco(coco), "yolo", "out")  # type: ignore[arg-type]


def contents() -> set[Path]:
    return set(Path().rglob("*"))
