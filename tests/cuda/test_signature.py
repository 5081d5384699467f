"""Kernels' parameters are read off the source as the compiler understands them."""

import ctypes

import numpy as np
import pytest

from tinyyolo3.cuda.budget import BUDGETS
from tinyyolo3.cuda.cpp import number_name, split_list
from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.cuda.maps import MapStruct
from tinyyolo3.cuda.signature import kernel_names, read_signature
from tinyyolo3.cuda.sources import kernel_folder, read_source
from tinyyolo3.errors import KernelError

SOURCE = """
// __global__ void commented_out(int x) {}
/* template <int N> __global__ void this_too(int x) {} */
#define KERNEL(name) extern "C" __global__ void name(float* x) { \\
  use(x); }
const char* text = "__global__ void in_a_string(int x)";
constexpr int SIDE = 16, ROWS = 8;
struct Inner { float a, b; };
struct Shape {
  int height, width;  // pixels
  float anchors[6];
  unsigned char flag;
  Inner inner;
};
struct Unknown { float* pointer; };

extern "C" __global__ void __launch_bounds__(SIDE * ROWS) plain(
    const float* __restrict__ x, float *y, unsigned char const* pixels, int count,
    const unsigned size, unsigned long long bytes, double epsilon, bool flag,
    __grid_constant__ const Shape shape, Unknown odd, const float4* quads, float** rows) {}

static __global__ void without_arguments() {}

template <class T, int N = 4>
__global__ void __launch_bounds__(N * 32, 2) copy(const T* x, T* y, long long count) {}

template <int N> struct Tile { float cells[N]; };
template <typename T>
__device__ T twice(T x) { return x + x; }
extern "C" __global__ void after_a_template(uint64_t n) {}
"""


class Shape(ctypes.Structure):
    class Inner(ctypes.Structure):
        _fields_ = (("a", ctypes.c_float), ("b", ctypes.c_float))

    _fields_ = (
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("anchors", ctypes.c_float * 6),
        ("flag", ctypes.c_ubyte),
        ("inner", Inner),
    )


def test_kernels_are_found_and_nothing_else() -> None:
    plain, templates = kernel_names(SOURCE)
    assert plain == ["plain", "without_arguments", "after_a_template"]
    assert templates == ["copy"]


def test_parameters_of_a_plain_kernel() -> None:
    signature = read_signature(SOURCE, "plain")
    assert signature.max_threads == 128
    found = [(p.name, p.type, p.is_pointer, p.is_const) for p in signature.parameters]
    assert found == [
        ("x", "float", True, True),
        ("y", "float", True, False),
        ("pixels", "unsigned char", True, True),
        ("count", "int", False, False),
        ("size", "unsigned", False, False),
        ("bytes", "unsigned long long", False, False),
        ("epsilon", "double", False, False),
        ("flag", "bool", False, False),
        ("shape", "Shape", False, False),
        ("odd", "Unknown", False, False),
        ("quads", "float4", True, True),
        ("rows", "float*", True, False),
    ]
    dtypes = [p.dtype for p in signature.parameters]
    assert dtypes[:3] == [np.float32, np.float32, np.uint8]
    assert dtypes[8] == np.dtype(Shape)
    assert dtypes[9:] == [None, None, None]


def test_template_arguments_stand_for_parameters() -> None:
    signature = read_signature(SOURCE, "copy<unsigned short, 8>")
    assert [p.dtype for p in signature.parameters] == [np.uint16, np.uint16, np.int64]
    assert signature.max_threads == 256
    assert read_signature(SOURCE, "copy<float>").parameters[0].dtype == np.float32


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plane", "no kernel 'plane'; kernels here: plain, without_arguments, copy"),
        ("commented_out", "no kernel"),
        ("copy<float, 4, 5>", "copy<float, 4, 5>: 2 template arguments expected"),
        ("copy", "2 template arguments expected"),
    ],
)
def test_a_kernel_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(KernelError, match=f"my.cu.*{message}"):
        read_signature(SOURCE, name, file="my.cu")


@pytest.mark.parametrize("parameter", ["float& x", "float", "void (*f)(int)"])
def test_a_parameter_that_is_not_understood(parameter: str) -> None:
    with pytest.raises(KernelError, match=r"k: the parameter '.*' is not understood"):
        read_signature(f"__global__ void k({parameter}) {{}}", "k")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("unsigned int", "unsigned"),
        ("long long int", "long long"),
        ("unsigned long long int", "unsigned long long"),
        ("signed int", "int"),
        ("signed char", "signed char"),
        ("const float", "float"),
        ("short int", "short"),
    ],
)
def test_numbers_have_one_name(words: str, name: str) -> None:
    assert number_name(words.split()) == name


def test_lists_are_split_outside_brackets() -> None:
    assert split_list("Tile<4, 8> a, int (b), c[2]") == ["Tile<4, 8> a", "int (b)", "c[2]"]
    assert split_list(" ") == []


@pytest.mark.parametrize("file", sorted({row.file for row in BUDGETS}))
def test_sizes_are_the_compilers(file: str) -> None:
    """Of every kernel of the package; the compiler knows structs and templates, we read text."""
    plain = [row.name for row in BUDGETS if row.file == file and "<" not in row.name]
    instances = [row.name for row in BUDGETS if row.file == file and "<" in row.name]
    modules = [HostModule(kernel_folder() / file, mode="fast")] if plain else []
    kernels = [modules[0].get_function(name) for name in plain]
    for name in instances[:1]:  # the parameters of the others are the same
        module = HostModule(kernel_folder() / file, name_expressions=[name], mode="fast")
        kernels.append(module.get_function(name))
    for kernel in kernels:
        found = [parameter.bytes for parameter in kernel.signature.parameters]
        assert found == kernel.sizes, kernel.signature.name


def test_map_is_the_map_of_the_kernels() -> None:
    source = read_source(kernel_folder() / "reorg.cu")
    signature = read_signature(source.everything, "reorg_forward")
    assert signature.parameters[1].dtype == np.dtype(MapStruct)
