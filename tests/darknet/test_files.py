"""What opening a text file promises: the text, or one line that says what was found instead."""

import os
import stat

import pytest

from tinyyolo3.darknet.files import MAX_TEXT_BYTES, read_text, require_file
from tinyyolo3.errors import ConfigError, InputError


def refusal(path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(path, "a Darknet cfg", ConfigError)
    assert str(caught.value).startswith(f"{path}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_text_comes_without_byte_order_mark_and_with_plain_newlines(tmp_path, kind):
    path = tmp_path / "x.cfg"
    path.write_bytes("\ufeffä\r\nb\rc\n".encode())
    assert read_text(kind(path), "a Darknet cfg", ConfigError) == "ä\nb\nc\n"


def test_missing_file(tmp_path):
    assert refusal(tmp_path / "x.cfg").endswith(": no such file (expected a Darknet cfg)")


def test_file_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "cannot be read: Not a directory" in refusal(tmp_path / "file" / "x.cfg")


def test_directory(tmp_path):
    assert refusal(tmp_path).endswith(": expected a Darknet cfg, found a directory")


def test_empty_file(tmp_path):
    (tmp_path / "x.cfg").touch()
    assert refusal(tmp_path / "x.cfg").endswith(": expected a Darknet cfg, found an empty file")


def test_name_with_a_nul(tmp_path):
    with pytest.raises(ConfigError, match="null"):
        require_file(str(tmp_path / "x\0y"), "a Darknet cfg", ConfigError)


def test_name_too_long(tmp_path):
    assert "cannot be read: File name too long" in refusal(tmp_path / ("x" * 1000))


@pytest.mark.parametrize("path", [None, 3, b"x.cfg", ["x.cfg"]])
def test_something_that_is_no_path(path):
    with pytest.raises(InputError, match=r"^expected the path of a Darknet cfg, not "):
        require_file(path, "a Darknet cfg", ConfigError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    path = tmp_path / "x.cfg"
    os.mkfifo(path)
    assert refusal(path).endswith("found something that is not a regular file")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no /dev/zero")
def test_device_is_refused():
    assert refusal("/dev/zero").endswith("found something that is not a regular file")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to this user"
)
def test_forbidden_file(tmp_path):
    path = tmp_path / "x.cfg"
    path.write_text("x")
    path.chmod(stat.S_IWUSR)
    assert refusal(path).endswith(": cannot be read: Permission denied")


def test_more_bytes_than_any_cfg_has_are_not_read(tmp_path):
    path = tmp_path / "x.cfg"
    with open(path, "wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)  # sparse: it takes no place on disk
    assert refusal(path).endswith("16,777,217 bytes; a Darknet cfg has at most 16,777,216")


def test_binary_file(tmp_path):
    path = tmp_path / "x.cfg"
    path.write_bytes(b"ab\0\1")
    assert "a binary file (byte 2 is zero); are the arguments in the right order?" in refusal(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\n <!DOCTYPE html><html>", "a web page"),
        (b"<HTML><body>404</body>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
    ],
)
def test_what_a_failed_download_leaves_is_named(tmp_path, content, found):
    path = tmp_path / "x.cfg"
    path.write_bytes(content)
    assert f"expected a Darknet cfg, found {found}" in refusal(path)


def test_text_that_is_not_utf8_is_refused_at_its_line(tmp_path):
    path = tmp_path / "x.cfg"
    path.write_bytes("[net]\n# größe\n".encode("latin-1"))
    assert refusal(path) == f"{path}:2 is not UTF-8: byte 0xf6"
