"""The ``.weights`` file: a short header, then float32 numbers with no structure of their own.

Header (parser.c load_weights_upto): int32 major, minor, revision; then the number of images seen
in training, as uint64 when ``major*10 + minor >= 2`` and as int32 before. What follows is known
only from the network: `Slot` says which arrays, of which shapes, in which order. Everything is
little-endian.
"""

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


def read_weights(
    path: PathLike,
    slots: Sequence[Slot],
    *,
    strict: bool = True,
    cutoff: int | None = None,
) -> tuple[Header, dict[int, LayerWeights]]:
    """Read the arrays that `slots` describe.

    Args:
        path: the ``.weights`` file.
        slots: every array of the network, in file order.
        strict: refuse a file that is too short or too long. Otherwise a layer that the file does
            not hold whole is left out of the result, and left-over bytes are ignored, both with
            a `WeightsWarning`. (Darknet does so without strictness, nearly silently.)
        cutoff: read only the layers before this index, as Darknet does for partial files such as
            ``darknet53.conv.74`` (cutoff 74); more floats may follow.

    Returns:
        The header, and the arrays of each layer that was read, float32, by layer and name.

    Raises:
        WeightsError: the file is missing, no weights file, or of the wrong length: the message
            names the layer where it ran out, and both counts.
    """
    place = require_file(path, "Darknet weights", WeightsError)
    wanted = [slot for slot in slots if cutoff is None or slot.layer < cutoff]
    try:
        with open(place, "rb") as file:
            header = _read_header(file, place, sum(slot.count for slot in slots))
            found = _check_length(place, file.tell(), wanted, strict, exact=cutoff is None)
            return header, _read_slots(file, wanted, found, header.transposed)
    except OSError as problem:
        raise WeightsError(f"{place}: cannot be read: {problem.strerror or problem}") from None


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


def _read_header(file: BinaryIO, place: Path, floats: int) -> Header:
    """Read the header, deciding its width; `floats` is what the whole network holds."""
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
        wide = place.stat().st_size != 16 + 4 * floats
    if wide and len(head) < 20:
        raise WeightsError(f"{place}: expected a 20-byte header, found {len(head)} bytes")
    file.seek(20 if wide else 16)
    seen = struct.unpack_from("<Q" if wide else "<I", head, 12)[0]
    return Header(major, minor, revision, seen)


def _check_length(
    place: Path, offset: int, wanted: Sequence[Slot], strict: bool, *, exact: bool
) -> int:
    """Compare the file's length with what the network wants, before anything is allocated.

    Returns:
        How many floats the file holds.
    """
    size = place.stat().st_size
    found, rest = divmod(size - offset, 4)
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
    return found


def _read_slots(
    file: BinaryIO, wanted: Sequence[Slot], found: int, transposed: bool
) -> dict[int, LayerWeights]:
    whole: dict[int, LayerWeights] = {}
    position = 0
    for layer, group in groupby(wanted, key=lambda slot: slot.layer):
        own = tuple(group)
        position += sum(slot.count for slot in own)
        if position > found:
            break
        arrays = whole.setdefault(layer, {})
        for slot in own:
            flat = np.fromfile(file, "<f4", slot.count).astype(np.float32, copy=False)
            if _is_transposed(slot, transposed):
                flat = np.ascontiguousarray(flat.reshape(slot.shape[::-1]).T)
            arrays[slot.name] = flat.reshape(slot.shape)
    return whole


def _is_transposed(slot: Slot, transposed: bool) -> bool:
    return transposed and slot.section == "connected" and slot.name == "weights"
