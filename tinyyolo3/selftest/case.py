"""A case of the self-test: a kernel, numbers for it, and what has to come out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap, download_map, map_size, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import TinyYoloError
from tinyyolo3.testing import tolerances

#: Numbers of any type, or records of them.
Array = NDArray[Any]
#: A map's images, channels, rows and columns.
Size = tuple[int, int, int, int]

#: What stands in memory that a kernel must not write: the bits of a NaN that no arithmetic gives,
#: by the bytes of a number.
_UNTOUCHED: dict[int, np.unsignedinteger[Any]] = {4: np.uint32(0x7FEBCDEF), 2: np.uint16(0x7EBC)}


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
        in_halves: makes the same case of maps of halves; None where the kernel has no such form.
        architectures: the first and the last GPUs that have the instructions, 75 for sm_75.
    """

    name: str
    files: tuple[str, ...]
    label: str
    prepare: Callable[[Target], Prepared]
    expected: Callable[[], list[Expected]]
    on_cpu: Callable[[], list[Array]] | None = None
    in_halves: "Callable[[], Case] | None" = None
    architectures: tuple[float, float] = (0, math.inf)

    def suits(self, target: Target) -> bool:
        """Return whether a target has the instructions; the host has all."""
        gpu: Any = getattr(target, "gpu", None)
        if gpu is None:
            return True
        first, last = self.architectures
        return first <= int(gpu.architecture.removeprefix("sm_")) <= last


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
    halves: bool = True,
) -> Case:
    """Return a case of a kernel from maps to a map.

    Args:
        name: what is computed.
        file: the kernel's file.
        label: options and whatever else there is to say besides the first input's shape.
        inputs: float32 (N, C, H, W), of numbers that halves have too.
        shape: the output's (N, C, H, W).
        launch: called with the target, the inputs' `DeviceMap`s, `arrays` in the target's memory,
            and the output's `DeviceMap`.
        expected: the output as it has to be.
        margin: how many numbers follow each pixel of each map that belong to others.
        arrays: further arrays that the kernel reads.
        on_cpu: computes the output on the CPU.
        halves: whether the kernel has a form for maps of halves.
    """

    def prepare(target: Target, dtype: DTypeLike = np.float32) -> Prepared:
        maps = [upload_map(target, x.astype(dtype), x.shape[1] + margin) for x in inputs]
        out = untouched_map(target, shape, margin, dtype)
        others = [target.upload(array) for array in arrays]
        moved = sum(x.size for x in inputs) + int(np.prod(shape))
        return Prepared(
            lambda: launch(target, *maps, *others, out),
            lambda: [read_map(target, out)],
            moved * np.dtype(dtype).itemsize + sum(array.nbytes for array in arrays),
        )

    case = Case(
        name,
        (file,),
        " ".join(["x".join(map(str, x.shape)) for x in inputs[:1]] + [label]).rstrip(),
        prepare,
        lambda: [expected()],
        None if on_cpu is None else (lambda: [on_cpu()]),
    )
    if not halves:
        return case
    return replace(case, in_halves=lambda: case_in_halves(case, partial(prepare, dtype=np.float16)))


def case_in_halves(case: Case, prepare: Callable[[Target], Prepared]) -> Case:
    """Return a case of maps of halves, whose results are rounded to them.

    Args:
        case: of maps of floats.
        prepare: puts the numbers into a target's memory, as halves.
    """
    return replace(
        case,
        name=f"{case.name}, fp16",
        prepare=prepare,
        expected=lambda: [stored_in_halves(one) for one in case.expected()],
        on_cpu=None,
        in_halves=None,
    )


def stored_in_halves(expected: Expected) -> Expected:
    """Return what has to come out where it is rounded to halves."""
    if not np.any(expected.tolerance):
        return Expected(expected.values.astype(np.float16))
    allowed = np.asarray(expected.tolerance)
    rounding = tolerances.rounded_to_half(np.abs(expected.values) + allowed)
    return Expected(expected.values, allowed + rounding)


def untouched_map(
    target: Target, shape: Size, margin: int, dtype: DTypeLike = np.float32
) -> DeviceMap:
    """Return a map (N, C, H, W) in which, and beside whose channels, nobody has written yet."""
    images, channels, height, width = shape
    pitch = channels + margin
    size = map_size(images * height * width, channels, pitch, dtype)
    data = target.upload(np.full(size, _UNTOUCHED[np.dtype(dtype).itemsize]).view(dtype))
    return DeviceMap(data, images, height, width, channels, pitch)


def read_map(target: Target, out: DeviceMap) -> FloatArray:
    """Return a copy of a map of `untouched_map` as (N, C, H, W).

    Raises:
        CaseError: something was written beside its channels.
    """
    target.synchronize()
    found = target.download(out.data)
    untouched = _UNTOUCHED[found.itemsize]
    rows = np.full(out.pixels * out.pitch, untouched)
    rows[: found.size] = found.view(untouched.dtype)
    if (rows.reshape(-1, out.pitch)[:, out.channels :] != untouched).any():
        raise CaseError("the kernel writes beside its map")
    return download_map(target, out)


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    """Return numbers of a standard normal distribution, rounded to halves, as float32."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return values.astype(np.float16).astype(np.float32)
