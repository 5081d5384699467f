"""Files appear whole or not at all."""

import os
import stat

import pytest

from tinyyolo3.atomic import whole_file
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
