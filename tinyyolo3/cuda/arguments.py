"""A launch's arguments, checked against the kernel's parameters and converted to their types."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.signature import Parameter, Signature
from tinyyolo3.cuda.target import DeviceArray
from tinyyolo3.errors import InputError, KernelError

#: What a block may have along x, y, z, and a grid (CUDA C++ Programming Guide).
BLOCK_LIMITS, GRID_LIMITS = (1024, 1024, 64), (2**31 - 1, 65535, 65535)
MAX_THREADS = 1024

#: A pointer's array or None; a number or a struct as one element of its exact type.
Converted = DeviceArray | NDArray[Any] | None


def convert_arguments(
    signature: Signature, args: Sequence[Any], array_type: type
) -> list[Converted]:
    """Return a launch's arguments as the kernel declares them.

    Arrays and None stay what they are; every number, and every `ctypes.Structure`, becomes a NumPy
    array of shape (1,) and of exactly the parameter's type.

    Args:
        signature: the kernel's.
        args: as given to a `target.Kernel`.
        array_type: of the arrays in the target's memory.

    Raises:
        KernelError: their number, or one's kind, dtype, range or layout is wrong.
    """
    parameters = signature.parameters
    if len(args) != len(parameters):
        names = ", ".join(parameter.name for parameter in parameters)
        wanted = f"{len(parameters)} arguments ({names})"
        raise KernelError(f"{signature.name}: {wanted} expected, found {len(args)}")
    found = []
    for parameter, value in zip(parameters, args, strict=True):
        try:
            found.append(_convert(parameter, value, array_type))
        except _ArgumentError as wrong:
            raise KernelError(f"{signature.name}: {parameter.name}: {wrong}") from None
    return found


def check_launch(
    signature: Signature, grid: tuple[int, ...], block: tuple[int, ...]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return grid and block with all three sizes.

    Raises:
        KernelError: a size that no GPU takes, or more threads than the kernel is compiled for.
    """
    sizes = []
    for what, given, limits in (("grid", grid, GRID_LIMITS), ("block", block, BLOCK_LIMITS)):
        x, y, z = (*given, 1, 1, 1)[:3]
        if len(given) > 3 or not all(
            1 <= size <= limit for size, limit in zip((x, y, z), limits, strict=True)
        ):
            raise KernelError(
                f"{signature.name}: {what} {given}: sizes from 1 to {limits} expected"
            )
        sizes.append((int(x), int(y), int(z)))
    threads, most = int(np.prod(sizes[1])), signature.max_threads or MAX_THREADS
    if threads > most:
        raise KernelError(f"{signature.name}: block {block}: {most} threads at most, not {threads}")
    return sizes[0], sizes[1]


def check_outputs(
    signature: Signature, args: Sequence[Any], outputs: Sequence[DeviceArray]
) -> None:
    """Refuse outputs that are no arguments, or that the kernel cannot write.

    Raises:
        KernelError: naming the kernel.
    """
    for number, output in enumerate(outputs):
        names = [
            parameter
            for parameter, value in zip(signature.parameters, args, strict=True)
            if value is output
        ]
        if not names:
            raise KernelError(f"{signature.name}: outputs[{number}] is none of the arguments")
        if all(parameter.is_const for parameter in names):
            raise KernelError(f"{signature.name}: {names[0].name}: an output, but declared const")


def check_copy(destination: DeviceArray, source: DeviceArray) -> None:
    """Refuse a copy between arrays that are not alike, or not contiguous.

    Raises:
        InputError: saying what differs.
    """
    for what in ("shape", "dtype"):
        wanted, found = getattr(destination, what), getattr(source, what)
        if wanted != found:
            raise InputError(f"copy: {what} {wanted} expected, found {found}")
    if not (destination.flags.c_contiguous and source.flags.c_contiguous):
        raise InputError("copy: contiguous arrays expected")


class _ArgumentError(Exception):
    """What is wrong, without its place."""


def _convert(parameter: Parameter, value: Any, array_type: type) -> Converted:
    if parameter.is_pointer:
        return _convert_array(parameter, value, array_type)
    if parameter.dtype is None or parameter.dtype.names:
        return _convert_struct(parameter, value)
    return _convert_number(parameter, parameter.dtype, value)


def _convert_array(parameter: Parameter, value: Any, array_type: type) -> Converted:
    if value is None:
        return None
    if not isinstance(value, array_type):
        wanted = f"{array_type.__module__.partition('.')[0]}.{array_type.__name__}"
        raise _ArgumentError(f"{wanted} or None expected, found {type(value).__name__}")
    array: Any = value
    if not array.flags.c_contiguous:
        raise _ArgumentError(f"a contiguous array expected, found strides {array.strides}")
    if parameter.dtype is not None and array.dtype != parameter.dtype:
        raise _ArgumentError(f"an array of {parameter.dtype} expected, found {array.dtype}")
    if not parameter.is_const and not getattr(array.flags, "writeable", True):
        raise _ArgumentError("the kernel writes to it, but the array is read-only")
    return array


def _convert_number(parameter: Parameter, dtype: np.dtype[Any], value: Any) -> NDArray[Any]:
    found = np.asarray(value) if isinstance(value, int | float | np.generic) else None
    if found is None or found.dtype.kind not in "biuf":
        raise _ArgumentError(f"a number ({parameter.type}) expected, found {type(value).__name__}")
    if dtype.kind != "f" and found.dtype.kind == "f":
        raise _ArgumentError(f"an integer ({parameter.type}) expected, found {value!r}")
    with np.errstate(over="ignore"):
        converted = np.array([found[()]]).astype(dtype)
    if dtype.kind != "f" and int(converted[0]) != int(value):
        raise _ArgumentError(f"{value!r} does not fit into {parameter.type}")
    return converted


def _convert_struct(parameter: Parameter, value: Any) -> NDArray[Any]:
    if not isinstance(value, ctypes.Structure):
        found = type(value).__name__
        raise _ArgumentError(f"a ctypes.Structure ({parameter.type}) expected, found {found}")
    given = np.dtype(type(value))
    if parameter.dtype is not None and given != parameter.dtype:
        wanted = f"{parameter.type} has {_fields(parameter.dtype)}"
        raise _ArgumentError(f"{wanted}; found {type(value).__name__} with {_fields(given)}")
    return np.frombuffer(bytes(value), np.dtype((np.void, ctypes.sizeof(value))))


def _fields(dtype: np.dtype[Any]) -> str:
    names = dtype.names or ()
    return ", ".join(f"{dtype[name]} {name}" for name in names)
