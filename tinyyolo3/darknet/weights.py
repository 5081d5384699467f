"""The ``.weights`` file: a short header, then float32 numbers with no structure of their own.

Header (parser.c load_weights_upto): int32 major, minor, revision; then the number of images seen
in training, as uint64 when ``major*10 + minor >= 2`` and as int32 before. What follows is known
only from the network: `Slot` says which arrays, of which shapes, in which order. Everything is
little-endian.

`open_weights` checks a file and `WeightsFile.read_layer` then reads one layer's arrays, so that no
more of a large file is in memory than its user wants; `read_weights` reads them all.
"""

import os
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.atomic import output_errors, whole_file
from tinyyolo3.darknet.files import PathLike, require_file, wrong_kind_of_text
from tinyyolo3.errors import WeightsError, WeightsWarning

Weights = NDArray[np.float32]
#: One mapping per layer, from a parameter's name to its array; empty for a layer without any.
LayerWeights = dict[str, Weights]


@dataclass(frozen=True)
class Header:
    """The file's version, and how many images its training had seen."""

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0

    @property
    def wide(self) -> bool:
        """Whether `seen` takes eight bytes."""
        return self.major * 10 + self.minor >= 2

    @property
    def transposed(self) -> bool:
        """Whether the matrices of [connected] layers are stored as (inputs, outputs)."""
        return self.major > 1000 or self.minor > 1000

    def to_bytes(self) -> bytes:
        """Return the header as it stands in the file."""
        layout = "<iiiQ" if self.wide else "<iiiI"
        return struct.pack(layout, self.major, self.minor, self.revision, self.seen)


@dataclass(frozen=True)
class Slot:
    """One array of the file: its layer's index and section, its name, and its shape in memory."""

    layer: int
    section: str
    name: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of floats."""
        return prod(self.shape)


@dataclass(frozen=True)
class StoredLayer:
    """Where a layer's arrays stand in the file: they follow one another from byte `offset` on."""

    offset: int
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class WeightsFile:
    """A ``.weights`` file that was found to fit a network; its arrays are read when asked for.

    The file is opened anew for each layer and nothing is kept. It is read and not mapped into
    memory: pages of a map count as the process's own, and a file cut short under a map ends the
    process.

    Attributes:
        place: its path as it was given, for messages.
        absolute: the same, whatever the current folder becomes.
        header: its header.
        layers: the layers that it holds whole, by index.
        size: its length in bytes, when it was checked.
        modified_ns: when it had last been modified by then, in the file system's nanoseconds.
    """

    place: Path
    absolute: Path
    header: Header
    layers: Mapping[int, StoredLayer]
    size: int
    modified_ns: int

    def read_layer(self, index: int) -> LayerWeights:
        """Return new float32 arrays of one of `layers`, by name.

        Raises:
            WeightsError: the file cannot be read any more, or is not the one that was checked.
        """
        stored = self.layers[index]
        place = f"{self.place}: layer {index} [{stored.slots[0].section}]"
        try:
            with open(self.absolute, "rb") as file:
                file.seek(stored.offset)
                flat = [np.fromfile(file, "<f4", slot.count) for slot in stored.slots]
                # Asked after reading, so that a change before or meanwhile is seen alike.
                status = os.fstat(file.fileno())
        except OSError as problem:
            raise WeightsError(f"{place} cannot be read: {problem.strerror or problem}") from None
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified_ns):
            raise WeightsError(
                f"{place} cannot be read: the file has been replaced or rewritten since it was "
                f"checked ({self.size:,} bytes then, {status.st_size:,} now)"
            )
        return {
            slot.name: _in_memory(slot, array, self.header.transposed)
            for slot, array in zip(stored.slots, flat, strict=True)
        }


def open_weights(
    path: PathLike,
    slots: Sequence[Slot],
    *,
    strict: bool = True,
    cutoff: int | None = None,
) -> WeightsFile:
    """Check that a file holds the arrays that `slots` describe, reading no more than its header.

    Args:
        path: the ``.weights`` file.
        slots: every array of the network, in file order, layer after layer.
        strict: refuse a file that is too short or too long. Otherwise a layer that the file does
            not hold whole is left out of the result, and left-over bytes are ignored, both with
            a `WeightsWarning`. (Darknet does so without strictness, nearly silently.)
        cutoff: take only the layers before this index, as Darknet does for partial files such as
            ``darknet53.conv.74`` (cutoff 74); more floats may follow.

    Raises:
        WeightsError: the file is missing, no weights file, or of the wrong length: the message
            names the layer where it ran out, and both counts.
    """
    place = require_file(path, "Darknet weights", WeightsError)
    wanted = [slot for slot in slots if cutoff is None or slot.layer < cutoff]
    try:
        with open(place, "rb") as file:
            status = os.fstat(file.fileno())
            header = _read_header(file, place, status.st_size, sum(slot.count for slot in slots))
            start = file.tell()
    except OSError as problem:
        raise WeightsError(f"{place}: cannot be read: {problem.strerror or problem}") from None
    _check_length(place, status.st_size - start, wanted, strict, exact=cutoff is None)
    size, modified_ns = status.st_size, status.st_mtime_ns
    layers = _stored_layers(wanted, start, size)
    return WeightsFile(place, place.absolute(), header, layers, size, modified_ns)


def read_weights(
    path: PathLike,
    slots: Sequence[Slot],
    *,
    strict: bool = True,
    cutoff: int | None = None,
) -> tuple[Header, dict[int, LayerWeights]]:
    """Read the arrays that `slots` describe, all at once; the arguments are `open_weights`'s.

    Returns:
        The header, and the arrays of each layer that was read, float32, by layer and name.

    Raises:
        WeightsError: as `open_weights` and `WeightsFile.read_layer`.
    """
    file = open_weights(path, slots, strict=strict, cutoff=cutoff)
    return file.header, {index: file.read_layer(index) for index in file.layers}


def write_weights(
    path: PathLike,
    slots: Sequence[Slot],
    arrays: Mapping[int, Mapping[str, NDArray[np.floating]]],
    header: Header | None = None,
) -> None:
    """Write the arrays that `slots` describe, in their order (parser.c save_weights_upto).

    The file appears whole or not at all (`tinyyolo3.atomic`).

    Raises:
        WeightsError: an array is missing or has another shape than its slot.
        OutputError: the file cannot be written.
    """
    header = header or Header()
    for slot in slots:
        array = arrays.get(slot.layer, {}).get(slot.name)
        if array is None or array.shape != slot.shape:
            found = "nothing" if array is None else f"shape {array.shape}"
            raise WeightsError(
                f"layer {slot.layer} [{slot.section}] {slot.name}: "
                f"expected shape {slot.shape}, found {found}"
            )
    place = Path(path)
    with whole_file(place) as file, output_errors(place):
        file.write(header.to_bytes())
        for slot in slots:
            array = arrays[slot.layer][slot.name]
            stored = array.T if _is_transposed(slot, header.transposed) else array
            file.write(np.ascontiguousarray(stored, "<f4").tobytes())


def _read_header(file: BinaryIO, place: Path, size: int, floats: int) -> Header:
    """Read the header; the file's `size` in bytes and the network's `floats` tell its width."""
    head = file.read(512)
    disguise = wrong_kind_of_text(head)
    if disguise:
        raise WeightsError(f"{place}: expected Darknet weights, found {disguise}")
    if len(head) < 16:
        raise WeightsError(f"{place}: expected a 16 or 20-byte header, found {len(head)} bytes")
    major, minor, revision = struct.unpack_from("<iii", head)
    if not (0 <= major < 10000 and 0 <= minor < 10000 and 0 <= revision < 10000):
        raise WeightsError(
            f"{place}: expected Darknet weights, found a file of another kind "
            f"(version {major}.{minor}.{revision}, first bytes {head[:8]!r})"
        )
    wide = major * 10 + minor >= 2
    if wide and max(major, minor) >= 1000:
        # DARKNET: pjreddie's build keeps the short header for transposed files, AlexeyAB's does
        # not. The length tells which of them wrote this one.
        wide = size != 16 + 4 * floats
    if wide and len(head) < 20:
        raise WeightsError(f"{place}: expected a 20-byte header, found {len(head)} bytes")
    file.seek(20 if wide else 16)
    seen = struct.unpack_from("<Q" if wide else "<I", head, 12)[0]
    return Header(major, minor, revision, seen)


def _check_length(
    place: Path, held_bytes: int, wanted: Sequence[Slot], strict: bool, *, exact: bool
) -> None:
    """Compare the bytes after the header with what the network wants, before anything is read."""
    found, rest = divmod(held_bytes, 4)
    expected = sum(slot.count for slot in wanted)
    held = f"the file holds {found:,}" + (f" and {rest} bytes" if rest else "")
    message = None
    if found < expected:
        end = 0
        for slot in wanted:
            end += slot.count
            if end > found:
                message = (
                    f"{place}: too short: it ends inside layer {slot.layer} [{slot.section}] "
                    f"{slot.name}, which needs floats {end - slot.count:,} to {end:,}; "
                    f"the network needs {expected:,} floats, {held}"
                )
                break
    elif exact and (found > expected or rest):
        message = (
            f"{place}: too long: after the last layer the network has {expected:,} floats, {held}; "
            "do cfg and weights belong together?"
        )
    if message and strict:
        raise WeightsError(message)
    if message:
        warnings.warn(message, WeightsWarning, stacklevel=3)


def _stored_layers(wanted: Sequence[Slot], start: int, size: int) -> dict[int, StoredLayer]:
    """Return where each layer stands that ends within the file's `size` bytes."""
    layers: dict[int, StoredLayer] = {}
    for index, group in groupby(wanted, key=lambda slot: slot.layer):
        own = tuple(group)
        end = start + 4 * sum(slot.count for slot in own)
        if end > size:
            break
        layers[index] = StoredLayer(start, own)
        start = end
    return layers


def _in_memory(slot: Slot, stored: NDArray[np.floating], transposed: bool) -> Weights:
    """Return an array as read, in the slot's shape and the machine's own byte order."""
    flat = stored.astype(np.float32, copy=False)
    if _is_transposed(slot, transposed):
        return np.ascontiguousarray(flat.reshape(slot.shape[::-1]).T)
    return flat.reshape(slot.shape)


def _is_transposed(slot: Slot, transposed: bool) -> bool:
    return transposed and slot.section == "connected" and slot.name == "weights"
