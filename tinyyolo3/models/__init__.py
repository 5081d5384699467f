"""Models by name: the one that comes with the package, and those that Darknet's authors publish.

`digits` finds handwritten digits; it was trained by this package alone, and its files lie beside
this one. Published models are too large for that: for them there is a table of where their files
are, and of what their weights' SHA-256 is where that is certain.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from tinyyolo3.darknet.files import PathLike
from tinyyolo3.errors import InputError

#: What comes with the package, each as NAME.cfg, NAME.weights and NAME.names in this folder.
BUNDLED = ("digits",)
#: The model that is meant where none is named.
DEFAULT = "digits"
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes:
        cfg: the ``.cfg`` file.
        weights: the ``.weights`` file.
        names: the ``.names`` file, or the class names themselves, or None.
    """

    cfg: PathLike
    weights: PathLike
    names: PathLike | Sequence[str] | None = None


@dataclass(frozen=True)
class Published:
    """Where the files of a model are published.

    Attributes:
        cfg_url: of the cfg.
        weights_url: of the weights.
        sha256: of the weights, in hexadecimal, or None where it is not known for certain.
    """

    cfg_url: str
    weights_url: str
    sha256: str | None = None


_CFG = "https://raw.githubusercontent.com/pjreddie/darknet/master/cfg"
_WEIGHTS = "https://pjreddie.com/media/files"

#: Published models by name. Nothing here is ever downloaded by this package.
PUBLISHED = {
    "yolov3": Published(
        f"{_CFG}/yolov3.cfg",
        f"{_WEIGHTS}/yolov3.weights",
        "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
    ),
    "yolov3-spp": Published(
        f"{_CFG}/yolov3-spp.cfg",
        f"{_WEIGHTS}/yolov3-spp.weights",
        "87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4",
    ),
    "yolov3-tiny": Published(
        f"{_CFG}/yolov3-tiny.cfg",
        f"{_WEIGHTS}/yolov3-tiny.weights",
        "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
    ),
}

#: Bytes that are read at a time where a file is digested.
_CHUNK = 2**20


def find_model(
    cfg: PathLike | None = None,
    weights: PathLike | None = None,
    names: PathLike | Sequence[str] | None = None,
) -> ModelFiles:
    """Return the files that are meant; they are not looked at.

    Args:
        cfg: a ``.cfg`` file; without weights, the name of a bundled model; None for the default.
        weights: the ``.weights`` file that belongs to the cfg.
        names: take these for the classes; None for a bundled model's own, or for none.

    Raises:
        InputError: there are weights without a cfg, a cfg without weights, or a name that no
            bundled model has.
    """
    if cfg is None and weights is not None:
        raise InputError(f"{_quote(weights)} needs a cfg: weights alone are no model")
    if cfg is not None and weights is not None:
        return ModelFiles(cfg, weights, names)
    name = DEFAULT if cfg is None else cfg
    if not is_plain_name(name):
        raise InputError(f"{_quote(name)} needs weights: a cfg alone is no model")
    if name not in BUNDLED:
        raise InputError(explain_unknown(name))
    files = bundled_model(name)
    return files if names is None else ModelFiles(files.cfg, files.weights, names)


def bundled_model(name: str) -> ModelFiles:
    """Return the files of a model that comes with the package, one of `BUNDLED`."""
    stem = FOLDER / name
    return ModelFiles(*(stem.with_suffix(suffix) for suffix in (".cfg", ".weights", ".names")))


def is_plain_name(name: object) -> TypeGuard[str]:
    """Return whether this may be a model's name: text without folder and suffix."""
    return isinstance(name, str) and re.fullmatch(r"[\w-]+", name) is not None


def explain_unknown(name: str) -> str:
    """Return what to say where a plain name is not in `BUNDLED`."""
    if name not in PUBLISHED:
        comes = f"{', '.join(BUNDLED)}, which comes with the package"
        return f"model {name!r} is unknown; known are {comes}, and Darknet's {', '.join(PUBLISHED)}"
    model = PUBLISHED[name]
    return (
        f"{name} does not come with the package: get {model.cfg_url} and {model.weights_url}, "
        "and name both files"
    )


def published_name(weights: PathLike) -> str | None:
    """Return which published model's weights a file holds, told by its SHA-256, or None.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(weights, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    return next((name for name, model in PUBLISHED.items() if model.sha256 == found), None)


def _quote(path: object) -> str:
    return str(path) if isinstance(path, str | os.PathLike) else repr(path)
