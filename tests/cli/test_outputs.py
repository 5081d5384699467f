"""Files of ``detect`` appear whole or not at all, under names of their own."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.cli.outputs import json_array, plan_drawings, save_drawing
from tinyyolo3.errors import OutputError

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))


class TestJsonArray:
    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_holds_its_elements_a_line_each(self, tmp_path, count):
        place = tmp_path / "found.json"
        elements = [{"image": f"é{index}"} for index in range(count)]
        with json_array(str(place)) as append:
            for element in elements:
                append(element)
        text = place.read_text(encoding="utf-8")
        assert json.loads(text) == elements
        assert text.count("\n") == (count + 2 if count else 1)

    def test_lone_surrogate_is_escaped(self, tmp_path):
        place = tmp_path / "found.json"
        with json_array(str(place)) as append:
            append("\udce9")
        assert "\\udce9" in place.read_text(encoding="utf-8")
        assert json.loads(place.read_text(encoding="utf-8")) == ["\udce9"]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
    def test_pipe_is_written_to_and_not_replaced(self, tmp_path):
        place = tmp_path / "pipe"  # stands for /dev/null too, which no test should put at risk
        os.mkfifo(place)
        reading = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
        with json_array(str(place)) as append:
            append(1)
        assert json.loads(os.read(reading, 100)) == [1]
        os.close(reading)
        assert place.is_fifo()

    def test_link_stays_a_link(self, tmp_path):
        (tmp_path / "real.json").write_text("old")
        (tmp_path / "link.json").symlink_to("real.json")
        with json_array(str(tmp_path / "link.json")) as append:
            append(1)
        assert (tmp_path / "link.json").is_symlink()
        assert json.loads((tmp_path / "real.json").read_text()) == [1]

    def test_errors_of_the_block_are_not_taken_for_the_files(self, tmp_path):
        with pytest.raises(FileNotFoundError), json_array(str(tmp_path / "found.json")):
            raise FileNotFoundError("elsewhere")


class TestPlan:
    def plan(self, folder: Path, *sources: str) -> list[str]:
        return [place.name for place in plan_drawings(str(folder / "out"), sources)]

    def test_names_are_the_sources(self, tmp_path):
        assert self.plan(tmp_path, "a/x.jpg", "y.PNG", "z.webp") == ["x.jpg", "y.PNG", "z.webp"]

    def test_shared_names_are_numbered(self, tmp_path):
        sources = ["a/x.jpg", "b/x.jpg", "x-2.jpg", "c/x.jpg", "d/X.JPG"]
        names = self.plan(tmp_path, *sources)
        assert names == ["x.jpg", "x-2.jpg", "x-2-2.jpg", "x-3.jpg", "X-4.JPG"]
        assert len({name.casefold() for name in names}) == len(sources)

    def test_formats_that_pillow_cannot_write_in_colour_become_png(self, tmp_path):
        sources = ["a.heic", "b.pgm", "c.ico", "d", "e.psd", "f.tar.xyz", "/", "a.png"]
        names = self.plan(tmp_path, *sources)
        stems = ["a", "b", "c", "d", "e", "f.tar", "picture", "a-2"]
        assert names == [f"{stem}.png" for stem in stems]

    def test_many_sources_of_one_name_stay_quick(self, tmp_path):
        names = self.plan(tmp_path, *(f"{index}/frame.jpg" for index in range(5000)))
        assert len(set(names)) == 5000
        assert names[-1] == "frame-5000.jpg"

    def test_overwriting_a_source_is_refused(self, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        PICTURE.save(out / "x.png")
        with pytest.raises(OutputError, match="would overwrite this picture"):
            self.plan(tmp_path, str(tmp_path / "other.png"), str(out / "x.png"))

    def test_drawings_of_an_earlier_run_are_replaced(self, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "x.png").touch()
        assert self.plan(tmp_path, "x.png") == ["x.png"]

    def test_folder_is_left_without_a_trace_of_the_trial(self, tmp_path):
        self.plan(tmp_path, "x.png")
        assert list((tmp_path / "out").iterdir()) == []


class TestSave:
    @pytest.mark.parametrize(
        ("suffix", "kind"),
        [(".png", "PNG"), (".bmp", "BMP"), (".TIF", "TIFF"), (".ppm", "PPM"), (".tga", "TGA")],
    )
    def test_lossless_formats_keep_every_pixel(self, tmp_path, suffix, kind):
        place = plan_drawings(str(tmp_path), ["x" + suffix])[0]
        save_drawing(PICTURE, place)
        with Image.open(place) as saved:
            assert saved.format == kind
            assert np.array_equal(np.asarray(saved), np.asarray(PICTURE))

    @pytest.mark.parametrize(("suffix", "kind"), [(".jpg", "JPEG"), (".webp", "WEBP")])
    def test_lossy_formats_stay_what_they_are(self, tmp_path, suffix, kind):
        place = plan_drawings(str(tmp_path), ["x" + suffix])[0]
        save_drawing(PICTURE.resize((70, 90)), place)
        with Image.open(place) as saved:
            assert (saved.format, saved.size) == (kind, (70, 90))

    def test_jpeg_keeps_thin_coloured_lines(self, tmp_path):
        lines = np.zeros((32, 32, 3), np.uint8)
        lines[:, ::8] = (255, 0, 0)
        save_drawing(Image.fromarray(lines), tmp_path / "x.jpg")
        with Image.open(tmp_path / "x.jpg") as saved:
            assert np.asarray(saved)[:, ::8, 0].min() > 200

    def test_picture_too_long_for_its_format_leaves_nothing(self, tmp_path):
        with pytest.raises(OutputError, match=r"x\.webp: cannot be written"):
            save_drawing(Image.new("RGB", (16384, 1)), tmp_path / "x.webp")
        assert list(tmp_path.iterdir()) == []
