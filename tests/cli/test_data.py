"""``tinyyolo3 data check`` and ``data convert``: what they print, write, refuse, and return."""

import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.cli import data, main
from tinyyolo3.cli.command import make_parser

GUIDE = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a Darknet set of thirty pictures without a flaw."""
    monkeypatch.chdir(tmp_path)
    names = [f"{number:02}.png" for number in range(30)]
    for name in names:
        Image.new("RGB", (40, 20)).save(name)
        Path(name).with_suffix(".txt").write_text("0 .5 .5 .5 .1\n")
    Path("00.txt").write_text("1 .5 .5 1 1\n")
    Path("set.names").write_text("dog\nred fox\nowl\n")
    Path("set.data").write_text("valid=list.txt\ntrain=list.txt\nnames=set.names\n")
    Path("list.txt").write_text("\n".join(names))
    return tmp_path


@pytest.fixture
def check(command, folder):  # noqa: ARG001 (the folder it runs in)
    return lambda *argv: command("data", "check", *argv)


@pytest.fixture
def convert(command, folder):  # noqa: ARG001
    return lambda *argv: command("data", "convert", *argv)


def spoil(count: int) -> None:
    """Give so many pictures labels of a class that there is not."""
    for number in range(count):
        Path(f"{number:02}.txt").write_text("7 .5 .5 .5 .5\n")


class TestCheck:
    def test_a_good_set_is_summed_up(self, check) -> None:
        ending = check("set.data")
        assert (ending.status, ending.err) == (0, "")
        assert ending.out == (
            "class  name     boxes  pictures\n"
            "    0  dog         29        29\n"
            "    1  red fox      1         1\n"
            "    2  owl          0         0\n"
            "\n"
            "box size, px  width                            height\n"
            "32 to 64       0.0%                             96.7%  ########################\n"
            "64 to 128      0.0%                              0.0%\n"
            "128 to 256    96.7%  ########################    0.0%\n"
            "256 to 512     3.3%  #                           3.3%  #\n"
            "\n"
            "sizes as a network of 416 x 416 sees them, the picture stretched to its input\n"
            "30 pictures, 0 without boxes\n"
            "30 boxes in 3 classes\n"
            "no problems\n"
        )

    def test_sizes_are_those_of_the_input(self, check) -> None:
        rows = check("set.data", "--size", "100x50").out.splitlines()
        assert [row.split()[:4] for row in rows if "%" in row] == [
            ["4", "to", "8", "0.0%"],
            ["8", "to", "16", "0.0%"],
            ["16", "to", "32", "0.0%"],
            ["32", "to", "64", "96.7%"],
            ["64", "to", "128", "3.3%"],
        ]

    def test_problems_are_printed_and_counted_and_the_status_is_1(self, check) -> None:
        spoil(1)
        Path("05.png").unlink()
        ending = check("set.data")
        assert (ending.status, ending.err) == (1, "")
        lines = ending.out.splitlines()
        assert lines[:2] == [
            "00.txt line 1: class 7 is not one of 0 to 2",
            "list.txt line 6: 05.png: no such file",
        ]
        assert lines[2] == ""
        assert lines[-1] == "2 problems: 1 unknown class, 1 missing image"

    def test_of_many_problems_some_are_printed(self, check) -> None:
        spoil(25)
        Path("27.png").unlink()
        for options, shown in (([], 20), (["--limit=3"], 3)):
            ending = check("set.data", *options)
            assert ending.out.count("class 7 is") == shown
            assert f"\n... and {25 - shown} more: unknown class\n" in ending.out
            assert "27.png: no such file\n" in ending.out
            assert ending.out.splitlines()[-1].startswith("26 problems: 25 unknown class, ")

    def test_all_of_them_can_be_printed(self, check) -> None:
        spoil(25)
        ending = check("set.data", "--all")
        assert ending.out.count("class 7 is") == 25
        assert "more:" not in ending.out

    def test_what_is_harmless_does_not_make_the_status_1(self, check) -> None:
        Path("05.txt").unlink()
        ending = check("set.data")
        assert ending.status == 0
        assert ending.out.splitlines()[0].endswith(" (harmless)")
        assert ending.out.splitlines()[-2:] == ["harmless: 1 missing labels", "no problems"]

    def test_a_set_without_boxes(self, check) -> None:
        for label in Path().glob("[0-9]*.txt"):
            label.write_text("")
        ending = check("set.data", "--png", "sizes.png")
        assert ending.status == 0
        assert "no boxes to measure\n" in ending.out
        assert "30 pictures, 30 without boxes\n0 boxes in 3 classes\n" in ending.out

    def test_a_name_cannot_write_to_the_terminal(self, check) -> None:
        Path("set.names").write_text("dog\n\x1b[2Jfox\nowl\n", newline="\n")
        assert "\x1b" not in check("set.data").out

    def test_damaged_pixels_are_found_by_decoding(self, check) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
        Image.fromarray(noise).save("x.jpg")
        Path("x.jpg").write_bytes(Path("x.jpg").read_bytes()[:-300])
        Path("x.txt").write_text("")
        Path("list.txt").write_text("x.jpg\n")
        assert check("set.data").status == 0
        ending = check("set.data", "--decode")
        assert ending.status == 1
        assert ending.out.startswith("x.jpg: is damaged or truncated")

    def test_a_list_needs_names(self, check) -> None:
        assert check("list.txt", "--names", "set.names").status == 0
        ending = check("list.txt")
        assert (ending.status, ending.out) == (1, "")
        assert ending.err.startswith("error: list.txt: ")

    def test_the_chart_is_drawn(self, check) -> None:
        pytest.importorskip("matplotlib")
        ending = check("set.data", "--png", "sizes.png")
        assert (ending.status, ending.err) == (0, "")
        with Image.open("sizes.png") as image:
            assert image.format == "PNG"

    def test_without_matplotlib_everything_but_the_chart_works(self, check, monkeypatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert check("set.data").status == 0
        ending = check("set.data", "--png", "sizes.png")
        assert (ending.status, ending.out) == (1, "")
        assert ending.err.startswith("error: sizes.png: a chart needs matplotlib")
        assert "pip install 'tinyyolo3[plots]'" in ending.err

    def test_a_mistyped_folder_is_told_at_once(self, check) -> None:
        ending = check("set.data", "--png", "no/sizes.png")
        assert (ending.status, ending.out) == (1, "")
        assert ending.err.startswith("error: no/sizes.png: cannot be written: ")

    def test_progress_is_shown_and_taken_away(self, check, monkeypatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        spoil(1)
        ending = check("set.data")
        assert "] 1/30" in ending.err
        assert ending.err.endswith("\r\x1b[K")
        assert "\r" not in ending.out

    def test_progress_makes_room_for_a_problem(self, check, monkeypatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdout", sys.stderr)  # as both are one terminal
        Path("25.txt").write_text("0 .9 .5 .9 .5\n")
        assert "\r\x1b[K25.txt line 1: the box leaves" in check("set.data").err


class TestConvert:
    def test_there_and_back(self, convert) -> None:
        there = convert("set.data", "--to", "voc", "voc")
        assert (there.status, there.out, there.err) == (0, "voc: 30 pictures, 30 boxes\n", "")
        back = convert("voc", "--to", "darknet", "again", "--copy")
        assert (back.status, back.err) == (0, "")
        assert back.out == f"{Path('again/dataset.data')}: 30 pictures, 30 boxes\n"
        assert Path("voc/JPEGImages/00.png").is_symlink()
        assert not Path("again/images/00.png").is_symlink()
        for name in ("00", "29"):
            numbers = [Path(f"{place}{name}.txt").read_text() for place in ("", "again/labels/")]
            first, second = (np.array(text.split(), np.float64) for text in numbers)
            np.testing.assert_allclose(first, second, atol=1e-9)
        assert Path("again/classes.names").read_text() == "dog\nred fox\nowl\n"

    def test_what_is_lost_is_a_warning(self, convert) -> None:
        convert("set.data", "--to", "coco", "set.json")
        text = Path("set.json").read_text().replace('"iscrowd": 0', '"iscrowd": 1', 2)
        Path("set.json").write_text(text)
        ending = convert("set.json", "--to", "voc", "voc")
        assert ending.status == 0
        assert ending.err == "warning: voc: not kept: 2 crowd flags\n"

    def test_pictures_of_coco_are_named_as_they_are_found(self, convert) -> None:
        Path("sub").mkdir()
        convert("set.data", "--to", "voc", "voc", "--copy")
        ending = convert("voc", "--images", "voc/JPEGImages", "--to", "coco", "sub/set.json")
        assert (ending.status, ending.err) == (0, "")
        assert '"file_name": "00.png"' in Path("sub/set.json").read_text()

    def test_nothing_is_written_over(self, convert) -> None:
        convert("set.data", "--to", "coco", "set.json")
        before = Path("set.json").read_bytes()
        ending = convert("set.data", "--to", "coco", "set.json")
        assert (ending.status, ending.out) == (1, "")
        assert ending.err == "error: set.json: is there already, and is not written over\n"
        assert Path("set.json").read_bytes() == before

    def test_a_bad_label_ends_it(self, convert) -> None:
        spoil(1)
        ending = convert("set.data", "--to", "coco", "set.json")
        assert (ending.status, ending.out) == (1, "")
        assert ending.err.startswith("error: 00.txt line 1: class 7")
        assert not Path("set.json").exists()

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (["set.data", "out"], "the following arguments are required: --to"),
            (["set.data", "--to", "yolo", "out"], "argument --to: invalid choice: 'yolo'"),
            (["set.data", "--to", "coco", "out"], "out: expected a file to write with"),
            (["set.data", "--to", "voc", "out", "--images", "."], "set.data: a list of pictures"),
        ],
    )
    def test_usage(self, convert, argv, message) -> None:
        ending = convert(*argv)
        assert (ending.status, ending.out) == (2, "")
        assert ending.err.startswith(f"error: {message}")
        assert ending.err.count("\n") == 1


class TestActions:
    def test_one_must_be_chosen(self, command) -> None:
        ending = command("data")
        assert ending.status == 2
        assert ending.err.startswith("error: the following arguments are required: ACTION")

    @pytest.mark.parametrize("action", ["check", "convert"])
    def test_each_has_examples(self, action: str, capsys) -> None:
        with pytest.raises(SystemExit) as ending:
            main(["data", action, "--help"])
        assert ending.value.code == 0
        assert f"tinyyolo3 data {action} " in capsys.readouterr().out.split("examples:")[1]

    def test_both_are_shown(self, capsys) -> None:
        with pytest.raises(SystemExit):
            main(["data", "--help"])
        assert data.EXAMPLES in capsys.readouterr().out

    def test_commands_of_the_guide_are_understood(self) -> None:
        text = GUIDE.read_text(encoding="utf-8")
        commands = re.findall(r"^\$ tinyyolo3 (.+)$", text, re.MULTILINE)
        actions = {make_parser().parse_args(line.split()).action for line in commands}
        assert actions == {data._check, data._convert}
        assert set(re.findall(r"--[a-z]+", text)) <= set(
            re.findall(r"--[a-z]+", "".join(map(help_of, ("check", "convert"))))
        )

    def test_the_guide_names_every_kind_of_finding(self) -> None:
        from tinyyolo3.data.check import FindingKind

        kinds = {kind for part in get_args(FindingKind) for kind in get_args(part) or (part,)}
        rows = re.findall(r"^\| ([a-z ,]+?) \| ", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
        assert kinds <= {kind for row in rows for kind in row.split(", ")}


def help_of(action: str) -> str:
    text = io.StringIO()
    with redirect_stdout(text), pytest.raises(SystemExit):
        make_parser().parse_args(["data", action, "--help"])
    return text.getvalue()
