"""What is compiled is kept, and never outlives a change; no state of the folder is an error."""

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from tinyyolo3.cuda import store
from tinyyolo3.cuda.store import KEPT_S, PLACE_VARIABLE, digest, load_entry, save_entry

ROOT_MAY_WRITE = sys.platform == "win32" or os.geteuid() == 0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLACE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_entry_comes_back(place: Path) -> None:
    assert load_entry("kind", "key", ".so") is None
    saved = save_entry("kind", "key", ".so", b"content", {"note": [1]})
    loaded = load_entry("kind", "key", ".so")
    assert saved == loaded
    assert loaded is not None
    assert loaded.file.parent == place / "kind"
    assert loaded.file.read_bytes() == b"content"
    assert loaded.notes == {"note": [1]}
    assert load_entry("other", "key", ".so") is None
    assert load_entry("kind", "other", ".so") is None


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("damage", ["content", "short", "notes", "no notes", "no file", "a folder"])
def test_a_damaged_entry_is_made_again(damage: str) -> None:
    file = save_entry("kind", "key", ".so", b"content", {}).file
    notes = file.with_suffix(".json")
    if damage == "content":
        file.write_bytes(b"contenu")
    elif damage == "short":
        file.write_bytes(b"cont")
    elif damage == "notes":
        notes.write_text("[1, 2")
    elif damage == "no notes":
        notes.write_text("3")
    elif damage == "no file":
        file.unlink()
    else:
        notes.unlink()
        notes.mkdir()
    assert load_entry("kind", "key", ".so") is None
    again = save_entry("kind", "key", ".so", b"content", {})
    assert again.file.read_bytes() == b"content"
    if damage != "a folder":  # then it lives as long as the process
        assert load_entry("kind", "key", ".so") == again


@pytest.mark.parametrize("obstacle", ["a file", "read-only"])
def test_without_a_folder_entries_live_as_long_as_the_process(place: Path, obstacle: str) -> None:
    if obstacle == "a file":
        place.write_text("")
    else:
        if ROOT_MAY_WRITE:
            pytest.skip("root may write everywhere")
        place.mkdir()
        place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    entry = save_entry("kind", "key", ".so", b"content", {"a": 1})
    assert entry.file.read_bytes() == b"content"
    assert entry.notes == {"a": 1}
    assert place not in entry.file.parents


def test_what_nobody_uses_is_removed(place: Path) -> None:
    old, used = (save_entry("kind", key, ".so", b"content", {}).file for key in ("old", "used"))
    long_ago = time.time() - KEPT_S - 60
    for file in (old, used):
        for part in (file, file.with_suffix(".json")):
            os.utime(part, (long_ago, long_ago))
    assert load_entry("kind", "used", ".so") is not None
    new = save_entry("kind", "new", ".so", b"content", {}).file
    assert sorted(p.name for p in place.joinpath("kind").iterdir()) == sorted(
        name for file in (used, new) for name in (file.name, file.with_suffix(".json").name)
    )


def test_keys_tell_parts_apart() -> None:
    keys = {digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", ""), digest()}
    assert len(keys) == 5


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(PLACE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert list(store._places()) == [tmp_path / "tinyyolo3"]
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nobody knows a home folder
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA")
    assert list(store._places()) == []
    entry = save_entry("kind", "key", ".so", b"content", {})
    assert entry.file.read_bytes() == b"content"
