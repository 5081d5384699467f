"""A case of the self-test: a kernel, numbers for it, and what has to come out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap, download_map, map_size, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import TinyYoloError

#: Numbers of any type, or records of them.
Array = NDArray[Any]
#: A map's images, channels, rows and columns.
Size = tuple[int, int, int, int]

#: What stands in memory that a kernel must not write: a NaN that no arithmetic gives.
_UNTOUCHED = np.uint32(0x7FEBCDEF)


class CaseError(TinyYoloError):
    """A kernel wrote where it must not."""


@dataclass(frozen=True, eq=False)
class Expected:
    """One array of what has to come out.

    Attributes:
        values: the right numbers.
        tolerance: how far each may be off; 0 asks for equality.
    """

    values: Array
    tolerance: FloatArray | float = 0.0


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case with its arrays in a target's memory.

    Attributes:
        launch: puts the work on the target's stream; may be called again.
        results: waits, and returns what came out, in the order of `Case.expected`.
        bytes: the least that has to be moved: what is read and what is written, once each.
    """

    launch: Callable[[], None]
    results: Callable[[], list[Array]]
    bytes: int


@dataclass(frozen=True, eq=False)
class Case:
    """One run of one kernel, or of a few that work together.

    Attributes:
        name: what is computed; cases of one name are a line of the table.
        files: the files of ``kernels/`` that it needs.
        label: what this case tries of it: shapes and options.
        prepare: puts the numbers into a target's memory.
        expected: computes what has to come out, by the plain reference.
        on_cpu: the same by what runs on the CPU instead of a kernel; None where that is the
            reference itself.
    """

    name: str
    files: tuple[str, ...]
    label: str
    prepare: Callable[[Target], Prepared]
    expected: Callable[[], list[Expected]]
    on_cpu: Callable[[], list[Array]] | None = None


def map_case(
    name: str,
    file: str,
    label: str,
    inputs: Sequence[FloatArray],
    shape: Size,
    launch: Callable[..., None],
    expected: Callable[[], Expected],
    *,
    margin: int = 0,
    arrays: Sequence[Array] = (),
    on_cpu: Callable[[], FloatArray] | None = None,
) -> Case:
    """Return a case of a kernel from maps to a map.

    Args:
        name: what is computed.
        file: the kernel's file.
        label: options and whatever else there is to say besides the first input's shape.
        inputs: float32 (N, C, H, W).
        shape: the output's (N, C, H, W).
        launch: called with the target, the inputs' `DeviceMap`s, `arrays` in the target's memory,
            and the output's `DeviceMap`.
        expected: the output as it has to be.
        margin: how many numbers follow each pixel of each map that belong to others.
        arrays: further arrays that the kernel reads.
        on_cpu: computes the output on the CPU.
    """

    def prepare(target: Target) -> Prepared:
        maps = [upload_map(target, x, x.shape[1] + margin) for x in inputs]
        out = untouched_map(target, shape, margin)
        others = [target.upload(array) for array in arrays]
        moved = sum(x.nbytes for x in inputs) + sum(array.nbytes for array in arrays)
        return Prepared(
            lambda: launch(target, *maps, *others, out),
            lambda: [read_map(target, out)],
            moved + 4 * int(np.prod(shape)),
        )

    return Case(
        name,
        (file,),
        " ".join(["x".join(map(str, x.shape)) for x in inputs[:1]] + [label]).rstrip(),
        prepare,
        lambda: [expected()],
        None if on_cpu is None else (lambda: [on_cpu()]),
    )


def untouched_map(target: Target, shape: Size, margin: int) -> DeviceMap:
    """Return a map (N, C, H, W) in which, and beside whose channels, nobody has written yet."""
    images, channels, height, width = shape
    pitch = channels + margin
    size = map_size(images * height * width, channels, pitch)
    data = target.upload(np.full(size, _UNTOUCHED).view(np.float32))
    return DeviceMap(data, images, height, width, channels, pitch)


def read_map(target: Target, out: DeviceMap) -> FloatArray:
    """Return a copy of a map of `untouched_map` as (N, C, H, W).

    Raises:
        CaseError: something was written beside its channels.
    """
    target.synchronize()
    rows = np.full(out.pixels * out.pitch, _UNTOUCHED)
    found = target.download(out.data)
    rows[: found.size] = found.view(np.uint32)
    if (rows.reshape(-1, out.pitch)[:, out.channels :] != _UNTOUCHED).any():
        raise CaseError("the kernel writes beside its map")
    return download_map(target, out)


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    """Return float32 numbers of a standard normal distribution."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
