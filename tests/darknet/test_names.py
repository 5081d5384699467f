"""Name lists and data files."""

import pytest

from tinyyolo3.darknet.names import read_data, read_names
from tinyyolo3.errors import ConfigError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.names"


def test_line_i_names_class_i(path):
    path.write_text(" person\ntraffic light \n日本\n", encoding="utf-8")
    assert read_names(path) == ("person", "traffic light", "日本")


def test_blank_lines_keep_their_place_except_at_the_end(path):
    path.write_bytes(b"a\r\n\r\nb\r\n\r\n \r\n")
    assert read_names(path) == ("a", "", "b")


def test_a_hash_belongs_to_a_name(path):
    path.write_text("c#\n;\n")
    assert read_names(path) == ("c#", ";")


def test_only_blank_lines_are_refused(path):
    path.write_text("\n \n")
    with pytest.raises(ConfigError, match=r"x\.names: expected a name a line, found only blank"):
        read_names(path)


def test_names_that_are_not_utf8_are_refused_at_their_line(path):
    path.write_bytes(b"a\nb\n\xff\n")
    with pytest.raises(ConfigError, match=r"x\.names:3 is not UTF-8: byte 0xff"):
        read_names(path)


def test_names_of_the_reference(reference):
    assert len(read_names(reference / "cfg" / "coco.names")) == 80
    assert read_names(reference / "cfg" / "voc.names")[0] == "aeroplane"


def test_data_options_keep_inner_spaces_and_the_first_one_wins(path):
    path.write_text(
        "# a comment\n;\nclasses= 80\nnames = my data/coco.names\nclasses=2\nx=a=b\nempty=\n"
    )
    assert read_data(path) == {
        "classes": "80",
        "names": "my data/coco.names",
        "x": "a=b",
        "empty": "",
    }


@pytest.mark.parametrize("line", ["classes 80", "=80", " = 80"])
def test_a_data_line_that_is_no_option_is_refused_at_its_line(path, line):
    path.write_text(f"a=1\n{line}\n")
    with pytest.raises(ConfigError, match=r"x\.names:2 expected name=value, found "):
        read_data(path)
