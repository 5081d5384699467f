"""Where compiled code is kept between runs, and when it is thrown away.

Numba keeps machine code beside the source and compiles anew when the *file* of a function has
changed. But a function carries the code of those it calls, wherever they stand: after a change in
``layers/yolo.py`` the decoder in ``boxes`` would go on with the old logistic function. So the code
is kept in a folder named after a digest of all of the package's files, and the folders of earlier
digests are removed.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba

PACKAGE = Path(__file__).parent
#: Its attributes are made at run time from the environment.
_config: Any = numba.config
#: Folders of compiled code are called this and the digest.
PREFIX = "numba-"


@contextmanager
def numba_cache(folder: Path) -> Iterator[None]:
    """Let functions that are decorated in the block keep their code in `folder`.

    The setting is Numba's for the whole process, hence only for as long as a decorator runs.
    """
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        _config.CACHE_DIR = before


@cache
def cache_folder() -> Path | None:
    """Return the folder for this state of the package, made if need be; None if none can be."""
    name = PREFIX + package_digest(PACKAGE)
    return next((f for f in (_make_folder(b, name) for b in _places()) if f is not None), None)


def package_digest(package: Path) -> str:
    """Return a digest of the names and contents of all Python files below `package`."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _places() -> Iterator[Path]:
    """Yield where the folder may be: where the user says, in the package, in the user's cache."""
    own = "tinyyolo3-" + hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:8]
    if _config.CACHE_DIR:  # the environment variable NUMBA_CACHE_DIR
        yield Path(_config.CACHE_DIR, own)
    yield PACKAGE / "__pycache__"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    yield Path(os.path.expanduser(base), own)


def _make_folder(place: Path, name: str) -> Path | None:
    """Make the folder, remove its predecessors, and return it; None if it cannot be written in."""
    folder = place / name
    try:
        fresh = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return None
    if fresh:
        for other in place.glob(PREFIX + "*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    return folder
