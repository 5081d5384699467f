"""What is wrong with a data set is found, counted and placed; what is right is left alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tinyyolo3.data.check import Finding, Summary, check_dataset, measure_picture
from tinyyolo3.data.open import open_dataset
from tinyyolo3.data.samples import Sample
from tinyyolo3.data.sizes import BoxSizes
from tinyyolo3.errors import DataError, ImageError

WIDTH, HEIGHT = 200, 100


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with four good pictures in a list, two classes, and few labels."""
    monkeypatch.chdir(tmp_path)
    for name in "abcd":
        picture(f"{name}.png")
        Path(f"{name}.txt").write_text("0 .5 .5 .25 .25\n")
    Path("set.names").write_text("dog\ncat\n")
    Path("set.data").write_text("valid=list.txt\nnames=set.names\n")
    Path("list.txt").write_text("a.png\nb.png\nc.png\nd.png\n")
    return tmp_path


def picture(name: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(name)


def check(path: str = "set.data", **options) -> tuple[Summary, list[Finding]]:
    findings: list[Finding] = []
    summary = check_dataset(
        lambda report: open_dataset(path, report=report), findings.append, **options
    )
    return summary, findings


def sample_of(boxes_xyxy_px: list[list[float]], width: int = WIDTH, height: int = HEIGHT) -> Sample:
    count = len(boxes_xyxy_px)
    return Sample(
        Path("a.png"),
        width,
        height,
        np.array(boxes_xyxy_px, np.float64).reshape(-1, 4),
        np.zeros(count, np.int64),
        np.zeros(count, np.bool_),
        np.zeros(count, np.bool_),
        np.zeros(count, np.float64),
        1,
        tuple(f"box {number}" for number in range(count)),
    )


@pytest.mark.usefixtures("folder")
class TestLabels:
    def test_a_good_set_has_no_findings(self) -> None:
        summary, findings = check()
        assert findings == []
        assert not summary.problems

    @pytest.mark.parametrize(
        ("line", "kind", "text"),
        [
            ("2 .5 .5 .1 .1", "unknown class", "class 2"),
            ("-1 .5 .5 .1 .1", "unknown class", "class -1"),
            ("0 nan .5 .1 .1", "bad box", "cx=nan"),
            ("0 .5 inf .1 .1", "bad box", "cy=inf"),
            ("0 .5 .5 -.1 .1", "bad box", "w=-.1"),
            ("0 50 50 10 10", "bad box", "cx=50"),
            ("0 .5 .5 .1", "malformed", "4 words"),
            ("dog .5 .5 .1 .1", "malformed", "found dog"),
            ("0 .5 .5 0 .1", "no area", "0 × 10 px"),
            ("0 .5 .5 .1 0", "no area", "20 × 0 px"),
            ("0 .95 .5 .2 .1", "outside the picture", "200 × 100 picture by 10 px"),
            ("0 .5 .02 .1 .1", "outside the picture", "by 3 px"),
            ("0 .5 .5 .25 .25", "duplicate box", "the same class and box as b.txt line 1"),
        ],
    )
    def test_a_bad_label_is_found_with_its_line(self, line: str, kind: str, text: str) -> None:
        Path("b.txt").write_text(f"0 .5 .5 .25 .25\n\n{line}\n1 .5 .5 .25 .25\n")
        summary, findings = check()
        assert [(each.kind, each.place) for each in findings] == [(kind, "b.txt line 3")]
        assert text in findings[0].text
        assert summary.problems == {kind: 1}

    def test_rounded_labels_may_touch_and_hardly_pass_the_edge(self) -> None:
        # Half a pixel of 200 is .0025; six digits round by much less.
        Path("b.txt").write_text("0 .5 .5 1 1\n0 .9 .9 .200002 .200002\n0 .1 .1 .2048 .2048\n")
        assert check()[1] == []

    def test_a_picture_without_labels_is_no_problem(self) -> None:
        Path("b.txt").unlink()
        summary, findings = check()
        assert [(each.kind, each.place, each.harmless) for each in findings] == [
            ("missing labels", "list.txt line 2", True)
        ]
        assert (summary.problems, summary.remarks) == ({}, {"missing labels": 1})
        assert (summary.pictures, summary.empty) == (4, 1)

    def test_an_empty_set_is_refused(self) -> None:
        Path("list.txt").write_text("\n")
        with pytest.raises(DataError, match=r"list\.txt"):
            check()


@pytest.mark.usefixtures("folder")
class TestPictures:
    def test_a_missing_picture(self) -> None:
        Path("b.png").unlink()
        summary, findings = check()
        assert [(each.kind, each.place) for each in findings] == [
            ("missing image", "list.txt line 2")
        ]
        assert summary.pictures == 3

    @pytest.mark.parametrize("content", [b"", b"<html>", b"no picture at all"])
    def test_a_file_that_is_no_picture(self, content: bytes) -> None:
        Path("b.png").write_bytes(content)
        assert [each.kind for each in check()[1]] == ["unreadable image"]

    def test_a_damaged_png_is_found_by_its_checksums(self) -> None:
        data = bytearray(Path("b.png").read_bytes())
        data[len(data) // 2] ^= 1
        Path("b.png").write_bytes(data)
        findings = check()[1]
        assert [(each.kind, each.place) for each in findings] == [("unreadable image", "b.png")]
        assert findings[0].text.startswith("is damaged")

    def test_a_cut_jpeg_is_found_by_decoding(self) -> None:
        picture("b.jpg")
        Path("b.jpg").write_bytes(Path("b.jpg").read_bytes()[:-900])
        Path("list.txt").write_text("a.png\nb.jpg\n")
        assert check()[1] == []
        findings = check(decode=True)[1]
        assert [(each.kind, each.place) for each in findings] == [("unreadable image", "b.jpg")]

    def test_good_pictures_are_decoded_without_findings(self) -> None:
        assert check(decode=True)[1] == []

    def test_a_picture_listed_twice(self) -> None:
        Path("list.txt").write_text("a.png\nb.png\n./a.png\n")
        findings = check()[1]
        assert [str(each) for each in findings] == ["a.png: is in the set already"]

    def test_every_bad_picture_of_many_is_found_in_order(self) -> None:
        names = [f"{number:03}.png" for number in range(100)]
        for name in names:
            picture(name, (5, 4))
        for name in names[::7]:
            Path(name).write_bytes(Path(name).read_bytes()[:-20])
        Path("list.txt").write_text("\n".join(names))
        shown: list[tuple[int, int]] = []
        summary, findings = check(progress=lambda done, total: shown.append((done, total)))
        bad = [each.place for each in findings if each.kind == "unreadable image"]
        assert bad == names[::7]
        assert summary.pictures == 100
        assert shown == [(number, 100) for number in range(1, 101)]

    def test_measuring_says_what_is_missing(self) -> None:
        assert measure_picture(Path("a.png")) == (WIDTH, HEIGHT)
        with pytest.raises(ImageError, match=r"none\.png: no such file"):
            measure_picture(Path("none.png"))


class TestCoco:
    def write(self, **changes: object) -> None:
        content = {
            "images": [
                {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
                {"id": 9, "file_name": "b.png", "width": HEIGHT, "height": WIDTH},
                {"id": 11, "file_name": "none.png", "width": 5, "height": 5},
                {"id": 12, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            ],
            "categories": [{"id": 3, "name": "dog"}, {"id": 90, "name": "cat"}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 90, "bbox": [0, 0, 5, 5], "iscrowd": 1},
                {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 5, 5]},
                {"id": 3, "image_id": 8, "category_id": 3, "bbox": [0, 0, 5, 5]},
                {"id": 4, "image_id": 7, "category_id": 3, "bbox": [190, 0, 15, 5]},
            ],
        }
        Path("set.json").write_text(json.dumps(content | changes))

    @pytest.mark.usefixtures("folder")
    def test_findings_name_the_entry(self) -> None:
        self.write()
        summary, findings = check("set.json")
        assert {(each.kind, each.place) for each in findings} == {
            ("unknown class", "set.json annotation 2"),
            ("unknown image", "set.json annotation 3"),
            ("outside the picture", "set.json annotation 4"),
            ("wrong size", "set.json image 9"),
            ("missing image", "set.json image 11"),
            ("duplicate image", "set.json image 12"),
        }
        texts = {each.kind: each.text for each in findings}
        assert texts["wrong size"] == "the picture is 200 × 100, its labels are for 100 × 200"
        assert texts["missing image"] == "none.png: no such file"
        assert (summary.crowds, summary.boxes.tolist()) == (1, [1, 1])


@pytest.mark.usefixtures("folder")
def test_counts_are_those_of_the_labels() -> None:
    Path("a.txt").write_text("0 .5 .5 .1 .1\n0 .5 .5 .2 .2\n1 .5 .5 .3 .3\n")
    Path("b.txt").write_text("")
    summary, _ = check()
    assert (summary.pictures, summary.empty) == (4, 1)
    assert summary.boxes.tolist() == [4, 1]
    assert summary.pictures_with.tolist() == [3, 1]
    assert summary.sizes.total == 5


class TestSizes:
    def test_sizes_are_of_the_picture_stretched_to_the_input(self) -> None:
        sizes = BoxSizes((500, 256))
        sizes.add(sample_of([[0, 0, WIDTH * 0.256, HEIGHT / 8]]))
        # A length on an edge belongs to the bin that begins there.
        for counts, edge_px in ((sizes.widths, 128), (sizes.heights, 32), (sizes.sides, 64)):
            (place,) = counts.nonzero()[0]
            assert sizes.edges_px[place] == edge_px
        assert sizes.edges_px[0] == 1
        assert sizes.edges_px[-1] == 512

    def test_boxes_without_area_are_passed_over_and_small_and_large_ones_counted(self) -> None:
        sizes = BoxSizes((256, 256))
        sizes.add(sample_of([[5, 5, 5, 9], [9, 5, 5, 9], [250, 0, 260, 9]]))
        assert sizes.total == 0
        sizes.add(sample_of([[0, 0, 0.01, 0.01], [-50, -50, 999, 999]]))
        assert sizes.widths[[0, -1]].tolist() == [1, 1]
        sizes.add(sample_of([]))
        assert sizes.total == 2

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(*[st.floats(0, 1)] * 4).map(lambda b: [*map(min, b, b[2:]), *b[2:]]),
            max_size=30,
        ),
        st.integers(2, 1000),
    )
    def test_counts_are_numpy_s(self, corners: list[list[float]], side: int) -> None:
        sizes = BoxSizes((side, side))
        boxes_px = np.array(corners, np.float64).reshape(-1, 4) * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        sizes.add(sample_of(boxes_px.tolist()))
        np.testing.assert_array_equal(sizes.width_by_height.sum(axis=1), sizes.widths)
        np.testing.assert_array_equal(sizes.width_by_height.sum(axis=0), sizes.heights)
        left_top_unit, right_bottom_unit = (
            boxes_px[:, corner] / (WIDTH, HEIGHT) for corner in ([0, 1], [2, 3])
        )
        found_px = (right_bottom_unit - left_top_unit) * side
        found_px = found_px[(found_px > 0).all(axis=1)]
        for counts, lengths in zip((sizes.widths, sizes.heights), found_px.T, strict=True):
            expected, _ = np.histogram(lengths.clip(1), sizes.edges_px)
            np.testing.assert_array_equal(counts, expected)
