"""Arguments reach a kernel as its source declares them, or not at all."""

import ctypes
from typing import Any

import numpy as np
import pytest

from tinyyolo3.cuda.arguments import (
    check_copy,
    check_launch,
    check_outputs,
    convert_arguments,
)
from tinyyolo3.cuda.signature import read_signature
from tinyyolo3.errors import InputError, KernelError

SIGNATURE = read_signature(
    """
    struct Shape { int height, width; };
    __global__ void __launch_bounds__(128) k(
        const float* x, unsigned char* y, int count, float scale, unsigned long long bytes,
        Shape shape, const float4* quads, bool flag) {}
    """,
    "k",
)


class Shape(ctypes.Structure):
    _fields_ = (("height", ctypes.c_int), ("width", ctypes.c_int))


class Swapped(ctypes.Structure):
    _fields_ = (("width", ctypes.c_int), ("height", ctypes.c_int))


def arguments(**changes: Any) -> list[Any]:
    values: dict[str, Any] = {
        "x": np.zeros(4, np.float32),
        "y": np.zeros(4, np.uint8),
        "count": 7,
        "scale": 0.5,
        "bytes": 1 << 40,
        "shape": Shape(3, 5),
        "quads": np.zeros(4, np.float32),
        "flag": True,
    }
    return list((values | changes).values())


def test_numbers_take_the_declared_types() -> None:
    given = arguments(count=np.int64(-7), scale=2, flag=1)
    found = convert_arguments(SIGNATURE, given, np.ndarray)
    assert found[0] is given[0]
    assert found[1] is given[1]
    numbers = [(a.dtype, a.shape, a[0]) for a in (*found[2:5], found[7])]
    assert numbers == [
        (np.int32, (1,), -7),
        (np.float32, (1,), 2.0),
        (np.uint64, (1,), 1 << 40),
        (np.bool_, (1,), True),
    ]
    assert found[5].shape == (1,)
    assert found[5].tobytes() == bytes(Shape(3, 5))


def test_none_is_a_null_pointer() -> None:
    assert convert_arguments(SIGNATURE, arguments(x=None), np.ndarray)[0] is None


READ_ONLY = np.zeros(4, np.uint8)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros(4)}, "k: x: an array of float32 expected, found float64"),
        ({"x": [1.0]}, "k: x: numpy.ndarray or None expected, found list"),
        ({"x": np.zeros((4, 4), np.float32)[:, 1]}, r"k: x: a contiguous array .* strides \(16,\)"),
        ({"y": READ_ONLY}, "k: y: the kernel writes to it, but the array is read-only"),
        ({"count": 2.0}, r"k: count: an integer \(int\) expected, found 2.0"),
        ({"count": 1 << 31}, "k: count: 2147483648 does not fit into int"),
        ({"count": None}, r"k: count: a number \(int\) expected, found NoneType"),
        ({"count": np.zeros(1, np.int32)}, r"k: count: a number \(int\) expected, found ndarray"),
        ({"bytes": -1}, "k: bytes: -1 does not fit into unsigned long long"),
        ({"scale": "1"}, r"k: scale: a number \(float\) expected, found str"),
        ({"scale": 1j}, r"k: scale: a number \(float\) expected, found complex"),
        ({"shape": (3, 5)}, r"k: shape: a ctypes.Structure \(Shape\) expected, found tuple"),
        ({"shape": Swapped(5, 3)}, "Shape has int32 height, int32 width; found Swapped with int32"),
        ({"flag": 2}, "k: flag: 2 does not fit into bool"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        convert_arguments(SIGNATURE, arguments(**changes), np.ndarray)


def test_their_number_is_checked() -> None:
    with pytest.raises(KernelError, match=r"k: 8 arguments \(x, y, count, .*\) expected, found 7"):
        convert_arguments(SIGNATURE, arguments()[:-1], np.ndarray)


def test_outputs_are_arguments_that_the_kernel_may_write() -> None:
    given = arguments()
    check_outputs(SIGNATURE, given, [given[1]])
    with pytest.raises(KernelError, match=r"k: outputs\[0\] is none of the arguments"):
        check_outputs(SIGNATURE, given, [given[1].copy()])
    with pytest.raises(KernelError, match="k: x: an output, but declared const"):
        check_outputs(SIGNATURE, given, [given[0]])


def test_a_launch_has_three_sizes_that_a_gpu_takes() -> None:
    assert check_launch(SIGNATURE, (5,), (16, 8)) == ((5, 1, 1), (16, 8, 1))
    for grid, block, message in (
        ((0,), (1,), r"k: grid \(0,\): sizes from 1 to"),
        ((1, 65536), (1,), "k: grid"),
        ((1,), (1, 1, 65), "k: block"),
        ((1, 1, 1, 1), (1,), "k: grid"),
        ((1,), (129,), r"k: block \(129,\): 128 threads at most, not 129"),
    ):
        with pytest.raises(KernelError, match=message):
            check_launch(SIGNATURE, grid, block)


def test_copies_are_between_arrays_of_one_kind() -> None:
    x = np.zeros((2, 3), np.float32)
    check_copy(x, x.copy())
    for other, message in (
        (x.reshape(3, 2), r"shape \(2, 3\) expected, found \(3, 2\)"),
        (x.astype(np.int32), "dtype float32 expected, found int32"),
        (np.zeros((3, 2), np.float32).T, "contiguous"),
    ):
        with pytest.raises(InputError, match=message):
            check_copy(x, other)
