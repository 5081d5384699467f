"""Where compiled code is kept between runs, and when it is thrown away.

Left to itself, Numba keeps machine code beside the source and compiles anew when the *file* of a
function has changed. But a function carries the code of those it calls, wherever they stand: after
a change in ``layers/yolo.py`` the decoder in ``boxes`` would go on with the old logistic function.
So the code is kept in a folder named after a digest of all of the package's files, and the folders
of earlier digests are removed.

A file in that folder, the *marker*, says that all code is there for this processor and this Numba.
Whoever finds it can start at once; a folder with it is used even where it cannot be written in.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.registry import cpu_target

PACKAGE = Path(__file__).parent
#: Its attributes are made at run time from the environment.
_config: Any = numba.config
#: Folders of compiled code are called this and the digest.
PREFIX = "numba-"
#: The lock of whoever compiles everything.
LOCK_NAME = "compiling.lock"


class _Locator(_CacheLocator):
    """Tells Numba where one function's code is kept: in our folder, by module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._module, self._code = function.__module__, function.__code__

    def get_cache_path(self) -> str:
        return str(Path(cache_folder() or os.devnull, self._module))

    def ensure_cache_path(self) -> None:
        os.makedirs(self.get_cache_path(), exist_ok=True)

    def get_source_stamp(self) -> object:
        """Return what must not have changed since; for our own files, the folder's name says it."""
        if self._module.startswith(__package__ + "."):
            return None
        with suppress(OSError):
            return os.stat(self._code.co_filename).st_mtime_ns
        return None

    def get_disambiguator(self) -> str:
        return str(self._code.co_firstlineno)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], _py_file: str) -> "_Locator":
        return cls(py_func)


class _Implementation(CompileResultCacheImpl):
    _locator_classes = (_Locator,)  # type: ignore[assignment]


class CodeCache(FunctionCache):
    """Numba's cache of one function's code, to which nothing on the disk is an error.

    Damaged files are replaced; what cannot be read or written is compiled in each process.
    """

    _impl_class = _Implementation

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled code for a signature; None if there is none that can be used."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # unpickling what is no pickle raises nearly every type
            try:
                self.flush()  # type: ignore[no-untyped-call]
            except OSError:
                self.disable()  # type: ignore[no-untyped-call]
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled code for a signature, if it can be kept."""
        with suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def keep_code(compiler: Any, function: Callable[..., Any]) -> None:
    """Let a Numba dispatcher or C callback find its function's code on disk, and keep it there.

    Where no folder can be written (a read-only install without a home folder) it goes on
    compiling in each process.
    """
    if cache_folder() is not None:
        compiler._cache = CodeCache(function)  # type: ignore[no-untyped-call]


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


def marker(folder: Path) -> Path:
    """Return the file whose existence says that a folder holds all code for this machine."""
    return folder / f"complete-{_machine_digest()}"


@cache
def _machine_digest() -> str:
    """Return a digest of what compiled code depends on beside our own files."""
    parts = (
        numba.__version__,
        sys.implementation.cache_tag,
        getattr(sys, "abiflags", ""),
        cpu_target.target_context.codegen().magic_tuple(),  # system, processor and its features
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _places() -> Iterator[Path]:
    """Yield where the folder may be: where the user says, in the package, in the user's cache."""
    own = "tinyyolo3-" + hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:8]
    if _config.CACHE_DIR:  # the environment variable NUMBA_CACHE_DIR
        yield Path(_config.CACHE_DIR, own)
    yield PACKAGE / "__pycache__"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    users = os.path.expanduser(base)
    if not users.startswith("~"):  # it stays where nobody knows a home folder
        yield Path(users, own)


def _make_folder(place: Path, name: str) -> Path | None:
    """Make the folder, remove its predecessors, and return it; None if it cannot be used."""
    folder = place / name
    try:
        fresh = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return folder if _is_complete(folder) else None
    if fresh:
        for other in place.glob(PREFIX + "*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def _is_complete(folder: Path) -> bool:
    try:
        return marker(folder).exists()
    except OSError:  # a folder that not even its owner may look into
        return False
