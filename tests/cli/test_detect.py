"""What ``tinyyolo3 detect`` reports: the API's own numbers, for every picture it can read."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

import tinyyolo3
from tinyyolo3.backends.select import BACKENDS, DEVICES
from tinyyolo3.cli.command import make_parser
from tinyyolo3.detector import Detector
from tinyyolo3.errors import BackendError
from tinyyolo3.image import files as image_files
from tinyyolo3.network.parity import FLAVOURS


def names_in(text: str) -> list[str]:
    return [entry["image"] for entry in json.loads(text)]


def feed_stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


class TestJson:
    def test_is_what_the_api_returns_in_the_order_given(self, detect, model):
        ending = detect("sub/a.png", "b.jpg", "a.png", "--json", "-")
        expected = model.load().detect(["sub/a.png", "b.jpg", "a.png"])
        assert ending.status == 0
        assert ending.err == ""
        assert json.loads(ending.out) == [found.to_dict() for found in expected]
        assert sum(map(len, expected)) > 3

    @pytest.mark.parametrize(
        ("arguments", "loading", "options"),
        [
            (["--threshold=.5"], {}, {"threshold": 0.5}),
            (["--nms=.1"], {}, {"nms": 0.1}),
            (["--nms=none"], {}, {"nms": None}),
            (["--nms-kind=diou", "--threshold=.1"], {}, {"nms_kind": "diou", "threshold": 0.1}),
            (["--agnostic"], {}, {"agnostic": True}),
            (["--single-label"], {}, {"multi_label": False}),
            (["--clip"], {}, {"clip": True}),
            (["--resize=stretch"], {}, {"resize": "stretch"}),
            (["--size=64x32"], {"size": (64, 32)}, {}),
            (["--size=64"], {"size": (64, 64)}, {}),
            (["--backend=reference"], {"backend": "reference"}, {}),
            (["--parity=opencv"], {"parity": "opencv"}, {}),
            (["--threads=1", "--device=cpu"], {"threads": 1}, {}),
        ],
    )
    def test_options_reach_the_api(self, detect, model, arguments, loading, options):
        ending = detect("a.png", "b.jpg", "--json=-", *arguments)
        expected = model.load(**loading).detect(["a.png", "b.jpg"], **options)
        assert json.loads(ending.out) == [found.to_dict() for found in expected]

    def test_most_options_change_what_is_found(self, detect):
        plain = detect("a.png", "b.jpg", "--json=-").out
        for arguments in (
            *(["--threshold=.5"], ["--nms=.1"], ["--nms=none"], ["--agnostic"], ["--single-label"]),
            *(["--clip"], ["--resize=stretch"], ["--size=64x32"], ["--classes=dog"]),
        ):
            assert detect("a.png", "b.jpg", "--json=-", *arguments).out != plain, arguments

    def test_number_of_threads_reaches_the_network(self, detect, monkeypatch):
        load, loaded = tinyyolo3.load, []
        monkeypatch.setattr(
            "tinyyolo3.load", lambda *a, **o: loaded.append(load(*a, **o)) or loaded[0]
        )
        detect("a.png", "--threads=3")
        assert loaded[0].network.threads == 3

    def test_file_holds_the_same_as_standard_output(self, detect, pictures):
        printed = detect("a.png", "b.jpg", "--json", "-").out
        ending = detect("a.png", "b.jpg", "--json", "found.json")
        assert (pictures / "found.json").read_text() == printed
        assert ending.out.startswith("a.png: 60 x 40, ")

    def test_batches_change_nothing(self, detect, pictures):
        one_by_one = detect(pictures, "--json=-")
        assert detect(pictures, "--json=-", "--batch=2") == one_by_one
        assert detect(pictures, "--json=-", "--batch=9") == one_by_one

    def test_file_name_that_is_not_utf8_survives(self, detect, pictures):
        name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
        try:
            (pictures / "a.png").rename(pictures / name)
        except (OSError, UnicodeError):
            pytest.skip("this file system refuses the name")
        assert names_in(detect(name, "--json=-").out) == [name]

    def test_infinite_box_is_an_error_and_no_invalid_json(
        self, detect, model, pictures, monkeypatch
    ):
        found = model.load().detect("a.png")
        found.boxes_xyxy_px[0] = np.inf
        monkeypatch.setattr("tinyyolo3.detector.Detector.detect", lambda *_, **__: [found])
        ending = detect("a.png", "--json", "found.json")
        assert ending.status == 1
        assert "infinite" in ending.err
        assert not (pictures / "found.json").exists()


class TestClasses:
    def test_names_and_numbers_choose(self, detect, pictures):
        for given, wanted in (("dog", {0}), ("red fox,0", {0, 1}), (" 1 ", {1})):
            found = json.loads(detect(pictures, "--json=-", f"--classes={given}").out)
            ids = {d["class_id"] for entry in found for d in entry["detections"]}
            assert ids == wanted

    def test_digits_are_a_name_where_a_class_is_called_so(self, detect, pictures):
        found = json.loads(detect(pictures, "--json=-", "--classes=7").out)
        assert {d["class_id"] for entry in found for d in entry["detections"]} == {2}

    @pytest.mark.parametrize("given", ["unicorn", "3", "dog,99"])
    def test_unknown_class_is_a_usage_error(self, detect, pictures, given):
        ending = detect("a.png", "--classes", given, "--json", "found.json")
        assert ending.status == 2
        assert ending.err.startswith("error: class ")
        assert not (pictures / "found.json").exists()


class TestText:
    def test_has_a_line_for_the_picture_and_one_for_each_detection(self, detect, model):
        lines = detect("a.png").out.splitlines()
        found = model.load().detect("a.png")
        assert lines[0] == f"a.png: 60 x 40, {len(found)} objects"
        assert len(lines) == 1 + len(found)
        for line, detection in zip(lines[1:], found, strict=True):
            name, _, rest = line.strip().partition(":")
            percent, box, *corners = rest.split()
            assert (name, percent, box) == (detection.name, f"{detection.confidence:.0%}", "box")
            assert corners == [f"{value:.1f}" for value in detection.xyxy]

    def test_says_when_there_is_one_object_or_none(self, detect):
        assert detect("a.png", "--threshold=1").out == "a.png: 60 x 40, no objects\n"

    def test_line_break_in_a_file_name_is_escaped(self, detect, pictures):
        (pictures / "a.png").rename(pictures / "a\nerror: b.png")
        ending = detect("a\nerror: b.png", "--threshold=1")
        assert ending.out == "a\\nerror: b.png: 60 x 40, no objects\n"


class TestUnreadable:
    def test_one_among_many_is_reported_and_the_rest_are_done(self, detect):
        ending = detect("a.png", "notes.txt", "gone.png", "b.jpg", "--json=-", "--batch=3")
        assert ending.status == 1
        assert names_in(ending.out) == ["a.png", "b.jpg"]
        first, second = ending.err.splitlines()
        assert first.startswith("error: notes.txt: is not a picture")
        assert second == "error: gone.png: no such file"

    def test_none_readable_gives_an_empty_array(self, detect):
        ending = detect("gone.png", "--json=-")
        assert (ending.status, ending.out) == (1, "[]\n")

    def test_pattern_without_a_match_does_not_stop_the_others(self, detect):
        ending = detect("*.gif", "a.png", "--json=-")
        assert ending.status == 1
        assert ending.err == "error: *.gif: no file matches this pattern\n"
        assert names_in(ending.out) == ["a.png"]


class TestInputs:
    def test_folder_is_searched_with_its_sub_folders(self, detect, pictures):
        expected = [str(pictures / name) for name in ("a.png", "b.jpg", "sub/a.png")]
        assert names_in(detect(pictures, "--json=-").out) == expected

    def test_list_on_standard_input(self, detect, monkeypatch):
        feed_stdin(monkeypatch, b"b.jpg\r\n\nsub/a.png")
        assert names_in(detect("a.png", "-", "--json=-").out) == ["a.png", "b.jpg", "sub/a.png"]

    def test_exif_orientation_is_followed_unless_told_not_to(self, detect):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open("a.png").save("turned.png", exif=exif)
        upright = json.loads(detect("turned.png", "--json=-").out)[0]
        stored = json.loads(detect("turned.png", "--json=-", "--no-exif").out)[0]
        assert (upright["width"], upright["height"]) == (40, 60)
        assert (stored["width"], stored["height"]) == (60, 40)


class TestDrawings:
    def test_are_the_apis_drawings_under_the_sources_names(self, detect, model, pictures):
        ending = detect("a.png", "b.jpg", "--out=new/drawn")
        expected = np.asarray(model.load().detect("a.png").draw())
        assert np.array_equal(np.asarray(Image.open("new/drawn/a.png")), expected)
        with Image.open("new/drawn/b.jpg") as drawn:
            assert drawn.format == "JPEG"
        assert "drawn in new/drawn/b.jpg" in ending.out
        assert len(list((pictures / "new/drawn").iterdir())) == 2

    def test_sources_of_one_name_do_not_overwrite_each_other(self, detect, model):
        detect("a.png", "sub/a.png", "--out=drawn")
        for source, name in (("a.png", "a.png"), ("sub/a.png", "a-2.png")):
            expected = np.asarray(model.load().detect(source).draw())
            assert np.array_equal(np.asarray(Image.open(f"drawn/{name}")), expected)

    def test_folder_of_the_sources_is_refused_before_anything_is_done(self, detect, pictures):
        before = (pictures / "a.png").read_bytes()
        ending = detect("b.jpg", "a.png", "--out=.")
        assert (ending.status, ending.out) == (1, "")
        assert "would overwrite this picture" in ending.err
        assert (pictures / "a.png").read_bytes() == before


class TestOutputProblems:
    @pytest.mark.parametrize(
        "arguments",
        [["--json=gone/found.json"], ["--json=sub"], ["--out=notes.txt"], ["--out=notes.txt/x"]],
    )
    def test_are_found_before_the_model_is_loaded(self, detect, monkeypatch, arguments):
        monkeypatch.setattr("tinyyolo3.load", lambda *_, **__: pytest.fail("it was loaded"))
        ending = detect("a.png", *arguments)
        assert (ending.status, ending.out) == (1, "")
        assert ending.err.count("\n") == 1
        assert "cannot be written" in ending.err

    @pytest.mark.parametrize("problem", [KeyboardInterrupt, MemoryError, BackendError("broken")])
    def test_interrupted_run_leaves_no_file_and_keeps_the_old_one(
        self, detect, pictures, monkeypatch, problem
    ):
        (pictures / "found.json").write_text("old")

        def stop_at_the_second(path, **_):
            if path == "b.jpg":
                raise problem
            return np.zeros((40, 60, 3), np.uint8)

        monkeypatch.setattr("tinyyolo3.image.files.read_image", stop_at_the_second)
        before = sorted(pictures.iterdir())
        ending = detect("a.png", "b.jpg", "--json", "found.json")
        assert ending.status == (130 if problem is KeyboardInterrupt else 1)
        assert ending.out.startswith("a.png: ")
        assert sorted(pictures.iterdir()) == before
        assert (pictures / "found.json").read_text() == "old"


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--threshold=2"], "expected a number from 0 to 1, found '2'"),
            (["--threshold=nan"], "expected a number from 0 to 1, found 'nan'"),
            (["--threshold", "-1"], "expected a number from 0 to 1, found '-1'"),
            (["--nms=x"], "expected a number from 0 to 1 or none, found 'x'"),
            (["--nms-kind=soft"], "invalid choice: 'soft'"),
            (["--resize=crop"], "invalid choice: 'crop'"),
            (["--size=416x"], "expected pixels as 416x320 or 416, found '416x'"),
            (["--size=0"], "expected pixels as 416x320 or 416, found '0'"),
            (["--classes=a,,b"], "expected names or numbers with commas between, found 'a,,b'"),
            (["--device=tpu"], "invalid choice: 'tpu'"),
            (["--backend=fast"], "invalid choice: 'fast'"),
            (["--parity=torch"], "invalid choice: 'torch'"),
            (["--threads=0"], "expected a whole number from 1, found '0'"),
            (["--batch=1.5"], "expected a whole number from 1, found '1.5'"),
            (["--json=b.jpg"], "expected a file to write JSON to, or -, found 'b.jpg'"),
            (["--json="], "expected a file to write JSON to"),
            (["--agnostic=1"], "ignored explicit argument '1'"),
            (["--thresh=1"], "unrecognized arguments: --thresh=1"),
        ],
    )
    def test_bad_value_is_one_line_and_status_2(self, detect, arguments, complaint):
        ending = detect("a.png", *arguments)
        assert (ending.status, ending.out) == (2, "")
        assert ending.err.startswith("error: ")
        assert complaint in ending.err
        assert ending.err.endswith("--help)\n")
        assert ending.err.count("\n") == 1

    def test_arguments_that_must_be_there(self, command):
        ending = command("detect", "a.png", "--cfg=x")
        assert ending.status == 2
        assert ending.err == "error: --cfg and --weights belong together\n"

    def test_missing_cfg(self, command, model):
        ending = command("detect", "a.png", "--cfg=gone.cfg", f"--weights={model.weights}")
        assert ending.status == 1
        assert ending.err == "error: gone.cfg: no such file (expected a Darknet cfg)\n"

    def test_device_that_is_not_there(self, detect, monkeypatch):
        def fail():
            raise BackendError("no GPU is in this machine")

        monkeypatch.setattr("tinyyolo3.backends.select._open_cuda", fail)
        ending = detect("a.png", "--device=cuda")
        assert ending.status == 1
        assert ending.err == "error: device='cuda': no GPU is in this machine\n"

    def test_size_that_the_network_refuses(self, detect):
        ending = detect("a.png", "--size=99999")
        assert ending.status == 2
        assert "99999" in ending.err

    def test_weights_of_doubtful_value_warn_in_one_line(self, command, model, pictures):
        data = bytearray(model.weights.read_bytes())
        data[20:24] = np.float32("nan").tobytes()
        (pictures / "nan.weights").write_bytes(data)
        ending = command("detect", "a.png", f"--cfg={model.cfg}", "--weights=nan.weights")
        assert ending.err.startswith("warning: nan.weights: layer 0 [convolutional]")
        assert ending.err.count("\n") == 1

    def test_choices_are_all_the_engine_has(self):
        parser = make_parser()
        action = next(a for a in parser._actions if a.dest == "==SUPPRESS==" and a.choices)
        choices = {a.dest: a.choices for a in action.choices["detect"]._actions}
        assert choices["device"] == DEVICES
        assert choices["backend"] == tuple(BACKENDS)
        assert choices["parity"] == tuple(FLAVOURS)


def test_no_more_than_the_next_chunk_is_read_ahead(detect, monkeypatch):
    reading, seen = [], []
    read, look = image_files.read_image, Detector.detect

    def watched(source, **options):
        reading.append(source)
        return read(source, **options)

    def looking(self, images, **options):
        seen.append((len(images), len(reading)))
        return look(self, images, **options)

    monkeypatch.setattr(image_files, "read_image", watched)
    monkeypatch.setattr(Detector, "detect", looking)
    detect(*["a.png"] * 7, "--batch=3", "--json=-")
    assert [count for count, _ in seen] == [3, 3, 1]
    assert all(read <= limit for (_, read), limit in zip(seen, (6, 7, 7), strict=True))
    assert len(reading) == 7


def test_one_thread_reads_each_chunk_in_its_turn(detect, monkeypatch):
    reading, seen = [], []
    read, look = image_files.read_image, Detector.detect
    monkeypatch.setattr(image_files, "read_image", lambda s, **o: reading.append(s) or read(s, **o))
    monkeypatch.setattr(
        Detector, "detect", lambda d, i, **o: seen.append(len(reading)) or look(d, i, **o)
    )
    detect(*["a.png"] * 5, "--batch=2", "--threads=1", "--json=-")
    assert seen == [2, 4, 5]
