"""The text of kernels: where it lies, and every header that takes part in it.

A `Source` is all of our own text that a compiler is going to read, so that what is made from it can
be kept under a key that changes with any of it. CuPy's own cache leaves headers out of its key.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tinyyolo3 import activations
from tinyyolo3.errors import KernelError

#: Every kernel's activation codes are the package's, in its order, and so are their constants.
DEFINES: dict[str, float] = {
    **{f"ACTIVATION_{name.upper()}": code for code, name in enumerate(activations.ACTIVATIONS)},
    "LEAKY_SLOPE": activations.LEAKY_SLOPE,
    "MISH_THRESHOLD": activations.MISH_THRESHOLD,
    "SELU_SCALE": activations.SELU_SCALE,
    "SELU_ALPHA": activations.SELU_ALPHA,
}
#: The header that tells the kernels' folder from any other of that name.
LANDMARK = "device.cuh"
#: The folder in it with what stands in for a GPU.
HOST = "host/"
_PACKAGE = Path(__file__).parents[1]
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
_OPTIONS = re.compile(r"^// options:(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A kernel file's text with its headers.

    Attributes:
        name: what compilers call it in messages: the file's path, or "code.cu".
        text: its contents.
        headers: the contents of what it includes, directly or not, by the name in ``#include``.
        options: of the file's ``// options:`` line: NVRTC's, for this file only.
        folder: where its own includes are looked for first; None for text without a file.
    """

    name: str
    text: str
    headers: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def everything(self) -> str:
        """All of its text, headers first."""
        return "\n".join([*self.headers.values(), self.text])

    @property
    def for_gpu(self) -> "Source":
        """The same without the headers that stand in for a GPU."""
        headers = {name: self.headers[name] for name in self.headers if not name.startswith(HOST)}
        return replace(self, headers=headers)


def kernel_folder(package: Path = _PACKAGE) -> Path:
    """Return the folder of the kernels: inside an installed package, beside one in a checkout.

    Raises:
        KernelError: neither is there.
    """
    for folder in (package / "kernels", package.parent / "kernels"):
        if (folder / LANDMARK).is_file():
            return folder
    raise KernelError(f"{package / 'kernels'}: the package's CUDA kernels are missing")


def read_source(path: Path) -> Source:
    """Read a kernel file and all of its headers.

    A file may ask for options of its own in one line, ``// options: -fmad=false``: without fused
    multiply-adds, `a * b + c` rounds twice, as on the CPU.

    Raises:
        KernelError: the file or one of its headers cannot be read, or two headers have one name.
    """
    return make_source(_read(path), name=str(path), folder=path.parent)


def make_source(text: str, *, name: str = "code.cu", folder: Path | None = None) -> Source:
    """Return a text with all of its headers; see `read_source`."""
    options = tuple(word for line in _OPTIONS.findall(text) for word in line.split())
    places: dict[str, Path] = {}
    for included, place in _headers(text, folder):
        if places.setdefault(included, place) != place:
            raise KernelError(f"{name}: {places[included]} and {place} are both {included!r} to it")
    headers = {included: _read(place) for included, place in places.items()}
    return Source(name, text, headers, options, folder)


def _headers(text: str, folder: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield the name and place of each header, once for each folder that it is included from."""
    waiting, seen = [(text, folder)], set()
    while waiting:
        text, folder = waiting.pop()
        for included in _INCLUDE.findall(text):
            place = _find(included, folder)
            if place is None:  # the compiler will say so, if it comes to reading that line
                continue
            yield included, place
            if place not in seen:
                seen.add(place)
                waiting.append((_read(place), place.parent))


def _find(included: str, folder: Path | None) -> Path | None:
    """Return the place of a header: beside the file that includes it, or among our kernels."""
    for place in ([folder] if folder is not None else []) + [kernel_folder()]:
        if (place / included).is_file():
            return (place / included).resolve()
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as problem:
        raise KernelError(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise KernelError(f"{path}: is not text") from None
