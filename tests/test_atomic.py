"""Files and folders appear whole or not at all."""

import os
import stat

import pytest

from tinyyolo3.atomic import whole_file, whole_folder
from tinyyolo3.errors import OutputError


class TestWholeFile:
    def test_appears_when_the_block_ends(self, tmp_path):
        place = tmp_path / "result"
        with whole_file(place) as file:
            file.write(b"half")
            assert not place.exists()
        assert place.read_bytes() == b"half"
        assert list(tmp_path.iterdir()) == [place]

    def test_vanishes_when_the_block_fails(self, tmp_path):
        place = tmp_path / "result"
        place.write_bytes(b"old")

        def interrupted() -> None:
            with whole_file(place) as file:
                file.write(b"half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert place.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [place]

    def test_has_the_mode_of_any_new_file(self, tmp_path):
        before = os.umask(0o027)
        try:
            with whole_file(tmp_path / "result"):
                pass
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == 0o640

    def test_names_its_place_in_errors(self, tmp_path):
        place = tmp_path / "gone" / "result"
        with pytest.raises(OutputError, match="result: cannot be written: "), whole_file(place):
            pass


class TestWholeFolder:
    def test_appears_when_the_block_ends(self, tmp_path):
        place = tmp_path / "result"
        with whole_folder(place) as folder:
            (folder / "a").mkdir()
            assert not place.exists()
        assert [each.name for each in place.iterdir()] == ["a"]
        assert list(tmp_path.iterdir()) == [place]

    def test_vanishes_when_the_block_fails(self, tmp_path):
        def interrupted() -> None:
            with whole_folder(tmp_path / "result") as folder:
                (folder / "a").write_text("half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert list(tmp_path.iterdir()) == []

    def test_takes_the_place_of_an_empty_folder(self, tmp_path):
        place = tmp_path / "result"
        place.mkdir()
        with whole_folder(place) as folder:
            (folder / "a").touch()
        assert [each.name for each in place.iterdir()] == ["a"]

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_leaves_alone_what_is_there(self, tmp_path, kind):
        place = tmp_path / "result"
        kept = place if kind == "file" else place / "kept"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("old")
        with pytest.raises(OutputError, match="result: is there already"), whole_folder(place):
            pass
        assert kept.read_text() == "old"

    def test_leaves_alone_what_came_meanwhile(self, tmp_path):
        place = tmp_path / "result"

        def overtaken() -> None:
            with whole_folder(place):
                place.mkdir()
                (place / "new").touch()

        with pytest.raises(OutputError, match="cannot be written"):
            overtaken()
        assert [each.name for each in tmp_path.iterdir()] == ["result"]
        assert (place / "new").exists()

    def test_names_its_place_in_errors(self, tmp_path):
        with (
            pytest.raises(OutputError, match="result: cannot be written: "),
            whole_folder(tmp_path / "gone" / "result"),
        ):
            pass
