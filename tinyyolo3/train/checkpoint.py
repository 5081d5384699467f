"""Checkpoints: one file with all that a training needs to go on as if it had never stopped.

It is an ``.npz`` of plain arrays, without pickled objects, that appears whole or not at all:
``parameters/<layer>/<name>``, ``buffers/...`` for momentum, ``averages/...`` if there are any, and
``about``, the UTF-8 bytes of a JSON object. Nothing else is needed, for what is random in an
iteration depends on the seed and the iteration's number alone.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.atomic import output_errors, whole_file
from tinyyolo3.darknet.config import Config
from tinyyolo3.errors import WeightsError
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import RUNNING_STATISTICS, Parameters, layer_slots
from tinyyolo3.train.step import TrainingState

#: What ``about`` begins with, and the version of the format.
FORMAT = "tinyyolo3 checkpoint 1"
#: An array's header in an ``.npy`` is never longer than this.
_MOST_HEADER_BYTES = 4096


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a training stands.

    Attributes:
        state: parameters, momentum and pictures seen.
        averages: of the parameters and running statistics, or None.
        first_seen: the pictures that had been seen when it began.
        settings: what it was begun with and what may not change under it, as JSON has it.
    """

    state: TrainingState
    averages: Parameters | None
    first_seen: int
    settings: Mapping[str, Any]


def digest_config(config: Config) -> str:
    """Return the SHA-256 of what a cfg says, whatever its comments and the order of options."""
    digest = hashlib.sha256()
    for section in (config.net, *config.layers):
        options = {name: option.text for name, option in sorted(section.options.items())}
        digest.update(repr((section.kind, options)).encode())
    return digest.hexdigest()


def write_checkpoint(path: Path, config: Config, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of an earlier one, which stays if this cannot be completed.

    Raises:
        OutputError: it cannot be written.
    """
    about = {
        "format": FORMAT,
        "cfg": digest_config(config),
        "seen": checkpoint.state.seen,
        "first_seen": checkpoint.first_seen,
        "settings": dict(checkpoint.settings),
    }
    groups = {"parameters": checkpoint.state.parameters, "buffers": checkpoint.state.buffers}
    if checkpoint.averages is not None:
        groups["averages"] = checkpoint.averages
    arrays: dict[str, Any] = {
        f"{group}/{index}/{name}": array
        for group, parameters in groups.items()
        for index, own in parameters.items()
        for name, array in own.items()
    }
    encoded = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with whole_file(path) as file, output_errors(path):
        np.savez(file, about=encoded, **arrays)


def read_checkpoint(path: Path, graph: Graph, settings: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint and see that it is of this training.

    Args:
        path: the file.
        graph: the network.
        settings: what the training that wants to go on is begun with.

    Raises:
        WeightsError: it cannot be read, is no checkpoint or not whole, or belongs to another cfg
            or other settings; the message says which.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = _read_about(path, archive)
            _check_same(path, about, graph.config, settings)
            wanted = dict(_expected(graph, averages=settings.get("ema") is not None))
            _check_members(path, archive, wanted)
            arrays = {name: _read_array(path, archive, name, wanted[name]) for name in wanted}
    except OSError as problem:
        raise WeightsError(f"{path}: cannot be read: {problem.strerror or problem}") from None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, NotImplementedError) as problem:
        reason = " ".join(str(problem).split())
        raise WeightsError(f"{path}: expected a whole checkpoint, found: {reason}") from None
    groups: dict[str, dict[int, dict[str, FloatArray]]] = {}
    for (group, index, name), array in zip(map(_split, arrays), arrays.values(), strict=True):
        groups.setdefault(group, {}).setdefault(index, {})[name] = array
    state = TrainingState(groups["parameters"], groups["buffers"], about["seen"])
    return Checkpoint(state, groups.get("averages"), about["first_seen"], about["settings"])


def _read_about(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    about = json.loads(_read_member(archive, "about").tobytes())
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise WeightsError(f"{path}: expected a file of the format {FORMAT!r}, found another")
    for name, kind in (("seen", int), ("first_seen", int), ("settings", dict)):
        if not isinstance(about.get(name), kind):
            raise ValueError(f"{name}={about.get(name)!r}")
    return about


def _check_same(
    path: Path, about: Mapping[str, Any], config: Config, settings: Mapping[str, Any]
) -> None:
    """Refuse to go on with another network or other settings: it would be another training."""
    if about["cfg"] != digest_config(config):
        raise WeightsError(
            f"{path}: belongs to another cfg than {config.source}; another folder begins anew"
        )
    for name, value in settings.items():
        begun = about["settings"].get(name)
        if begun != value:
            raise WeightsError(
                f"{path}: was begun with {name}={begun}, not {value}; another folder begins anew"
            )


def _expected(graph: Graph, *, averages: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of each array of a checkpoint."""
    for layer in graph.layers:
        for slot in layer_slots(layer):
            place = f"{layer.index}/{slot.name}"
            yield f"parameters/{place}", slot.shape
            if slot.name not in RUNNING_STATISTICS:
                yield f"buffers/{place}", slot.shape
            if averages:
                yield f"averages/{place}", slot.shape


def _check_members(
    path: Path, archive: zipfile.ZipFile, wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """See that the arrays are those of the network, before memory is taken for them."""
    sizes = {each.filename: each.file_size for each in archive.infolist()}
    sizes.pop("about.npy")
    for name, shape in wanted.items():
        size = sizes.pop(f"{name}.npy", None)
        expected = 4 * int(np.prod(shape))
        if size is None or not expected < size <= expected + _MOST_HEADER_BYTES:
            found = "nothing" if size is None else f"{size:,} bytes"
            raise WeightsError(f"{path}: {name}: expected {expected:,} bytes, found {found}")
    if sizes:
        raise WeightsError(f"{path}: {next(iter(sizes))}: the network has no such array")


def _read_array(
    path: Path, archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]
) -> FloatArray:
    array: FloatArray = _read_member(archive, name)
    if array.shape != shape or array.dtype != np.float32 or not array.flags.c_contiguous:
        raise WeightsError(
            f"{path}: {name}: expected float32 of shape {shape}, found {array.dtype} of shape "
            f"{array.shape}"
        )
    return array


def _read_member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as member:
        # At the member's end the archive compares its checksum.
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _split(name: str) -> tuple[str, int, str]:
    group, index, own = name.split("/")
    return group, int(index), own
