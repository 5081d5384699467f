"""Compiled kernels kept between runs.

An entry is a file and the notes on it, both named after the key: a digest of everything the file
was made from. Nothing in the folder is ever an error: what is damaged is made again, and where
nothing can be written the file lives as long as the process.
"""

import atexit
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tinyyolo3.atomic import whole_file
from tinyyolo3.errors import OutputError

#: The environment variable that says where compiled kernels are kept.
PLACE_VARIABLE = "TINYYOLO3_CUDA_CACHE"
#: Entries that nobody has used for so long are removed when another is added.
KEPT_S = 30 * 24 * 3600


@dataclass(frozen=True)
class Entry:
    """One file of the store.

    Attributes:
        file: its place; not to be written to.
        notes: what was kept with it.
    """

    file: Path
    notes: dict[str, Any]


def digest(*parts: str) -> str:
    """Return the key of an entry that is made from `parts`."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape")
        found.update(b"%d:" % len(data))  # ("ab", "c") is not ("a", "bc")
        found.update(data)
    return found.hexdigest()[:32]


def load_entry(kind: str, key: str, suffix: str) -> Entry | None:
    """Return a whole entry of that kind; None if there is none.

    Args:
        kind: the folder within the store.
        key: from `digest`.
        suffix: of the file, with its dot.
    """
    for place in _places():
        file = place / kind / f"{key}{suffix}"
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.with_suffix(".json").read_text())
            if kept["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest():
                _mark_used(file)
                return Entry(file, dict(kept["notes"]))
    return None


def save_entry(kind: str, key: str, suffix: str, content: bytes, notes: dict[str, Any]) -> Entry:
    """Keep a file where the first folder can be written, else in one that ends with the process."""
    record = {"sha256": hashlib.sha256(content).hexdigest(), "notes": notes}
    for place in _places():
        folder = place / kind
        with suppress(OSError, OutputError):
            folder.mkdir(parents=True, exist_ok=True)
            return _write(folder, key, suffix, content, record)
    return _write(_process_folder(), f"{kind}-{key}", suffix, content, record)


def _write(folder: Path, key: str, suffix: str, content: bytes, record: dict[str, Any]) -> Entry:
    file = folder / f"{key}{suffix}"
    for place, data in ((file, content), (file.with_suffix(".json"), json.dumps(record).encode())):
        with whole_file(place) as stream:
            stream.write(data)
    _remove_unused(folder)
    return Entry(file, record["notes"])


def _places() -> Iterator[Path]:
    """Yield the folders that may be used: the user's choice alone, or the user's cache."""
    chosen = os.environ.get(PLACE_VARIABLE)
    if chosen:
        yield Path(chosen).expanduser()
        return
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    users = os.path.expanduser(base)
    if not users.startswith("~"):  # it stays where nobody knows a home folder
        yield Path(users, "tinyyolo3")


def _mark_used(file: Path) -> None:
    with suppress(OSError):
        for place in (file, file.with_suffix(".json")):
            os.utime(place)


def _remove_unused(folder: Path) -> None:
    oldest = time.time() - KEPT_S
    with suppress(OSError):
        for file in folder.iterdir():
            with suppress(OSError):
                if file.stat().st_mtime < oldest:
                    file.unlink()


@cache
def _process_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tinyyolo3-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
