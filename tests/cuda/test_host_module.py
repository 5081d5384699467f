"""Anybody's kernel can be run on the CPU, in the manner of `cupy.RawModule`."""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.errors import InputError
from tinyyolo3.testing import HostModule, KernelError

CODE = """
struct Pair { int first, second; };

extern "C" __global__ void reverse(const float* x, float* y, int n) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[n - 1 - threadIdx.x];
}

extern "C" __global__ void skips(float* y, int skipped) {
  if (threadIdx.x != skipped) y[threadIdx.x] = 1;
}

__global__ void spelt_in_cpp(float* y, Pair pair, double factor) {
  y[threadIdx.x] = (pair.first - pair.second) * factor;
}

template <int N> __global__ void fill(int* y) { y[threadIdx.x] = N; }

extern "C" __global__ void accumulate(float* y) { y[threadIdx.x] += 1; }

extern "C" __global__ void order(int* y) { y[threadIdx.x] = atomicAdd(&y[32], 1); }
"""


class Pair(ctypes.Structure):
    _fields_ = (("first", ctypes.c_int), ("second", ctypes.c_int))


@pytest.fixture(scope="module", params=["check", "fast"])
def module(request: pytest.FixtureRequest) -> HostModule:
    return HostModule(code=CODE, name_expressions=["fill<7>"], mode=request.param)


@pytest.fixture(scope="module")
def checked() -> HostModule:
    return HostModule(code=CODE)


def test_kernels_compute(module: HostModule) -> None:
    x = np.arange(64, dtype=np.float32)
    y = np.empty_like(x)
    module.get_function("reverse")((1,), (64,), (x, y, 64), outputs=(y,))
    assert y.tolist() == x[::-1].tolist()


def test_structs_numbers_and_templates(module: HostModule) -> None:
    y = np.empty(4, np.float32)
    module.get_function("spelt_in_cpp")((1,), (4,), (y, Pair(5, 2), 0.5), outputs=(y,))
    assert y.tolist() == [1.5] * 4
    z = np.empty(4, np.int32)
    module.get_function("fill<7>")((1, 1, 1), (4, 1, 1), [z], outputs=[z])
    assert z.tolist() == [7] * 4


def test_what_a_file_does_not_have(module: HostModule) -> None:
    with pytest.raises(KernelError, match=r"code\.cu: no kernel 'revers'; kernels here: reverse, "):
        module.get_function("revers")
    with pytest.raises(KernelError, match=r"'fill<8>' is not among the name_expressions"):
        module.get_function("fill<8>")


def test_wrong_calls_are_refused() -> None:
    for options in ({}, {"path": "k.cu", "code": ""}, {"code": "", "mode": "slow"}):
        with pytest.raises(InputError, match="HostModule"):
            HostModule(**options)
    with pytest.raises(KernelError, match=r"nowhere\.cu: cannot be read"):
        HostModule("nowhere.cu")


def test_a_struct_of_another_size_is_refused() -> None:
    code = "struct Box { float* p; int n; };\n__global__ void k(float* y, Box box) {}"
    kernel = HostModule(code=code, mode="fast").get_function("k")
    with pytest.raises(KernelError, match=r"k: box: 16 bytes \(Box\) expected, found 8"):
        kernel((1,), (1,), (np.zeros(1, np.float32), Pair(1, 2)))


class TestCheckMode:
    def test_a_message_has_kernel_line_text_block_and_thread(self, checked: HostModule) -> None:
        x = np.zeros(64, np.float32)
        with pytest.raises(KernelError) as error:
            checked.get_function("reverse")((2,), (32,), (x, np.zeros_like(x), 65))
        said = str(error.value)
        assert "\n" not in said
        for part in (
            "code.cu: reverse: ",
            "code.cu:8",
            "y[threadIdx.x] = tile[n - 1 - threadIdx.x];",
            "block (0,0,0)",
            "thread (",
        ):
            assert part in said, said

    def test_an_output_that_is_not_written(self, checked: HostModule) -> None:
        y = np.zeros(8, np.float32)
        checked.get_function("skips")((1,), (8,), (y, 8), outputs=(y,))
        with pytest.raises(KernelError, match="skips: never written: 4 of 32 bytes of y"):
            checked.get_function("skips")((1,), (8,), (y, 3), outputs=(y,))
        checked.get_function("skips")((1,), (8,), (y, 3))

    def test_contents_that_nobody_has_written(self, checked: HostModule) -> None:
        y = np.zeros(8, np.float32)
        kernel = checked.get_function("accumulate")
        kernel((1,), (8,), (y,))
        for options in ({"outputs": (y,)}, {"unwritten": (y,)}):
            with pytest.raises(KernelError, match=r"uninitialised|nobody has written"):
                kernel((1,), (8,), (y,), **options)

    def test_an_array_given_twice_has_contents(self, checked: HostModule) -> None:
        x = np.arange(32, dtype=np.float32)
        checked.get_function("reverse")((1,), (32,), (x, x, 32), outputs=(x,))
        assert x[0] == 31

    def test_arrays_that_overlap_are_one(self, checked: HostModule) -> None:
        x = np.arange(40, dtype=np.float32)
        expected = x[31::-1].tolist()
        first, second = x[:32], x[8:]
        kernel = checked.get_function("reverse")
        kernel((1,), (32,), (first, second, 32), unwritten=(first,))
        assert second.tolist() == expected

    def test_memory_is_forgotten_after_a_launch_that_fails(self, checked: HostModule) -> None:
        y = np.zeros(8, np.float32)
        with pytest.raises(KernelError):
            checked.get_function("accumulate")((1,), (9,), (y,))
        checked.get_function("accumulate")((1,), (8,), (y,))
        assert y.sum() >= 8

    def test_a_seed_orders_the_threads(self, checked: HostModule) -> None:
        def order(seed: int) -> list[int]:
            y = np.zeros(33, np.int32)
            checked.get_function("order")((1,), (32,), (y,), seed=seed)
            return [int(number) for number in y[:32]]

        assert order(0) == list(range(32))
        assert order(5) == order(5) != order(0)
        assert sorted(order(5)) == order(0)


def test_threads_launch_one_after_the_other(module: HostModule) -> None:
    from concurrent.futures import ThreadPoolExecutor

    kernel = module.get_function("reverse")

    def run(number: int) -> bool:
        x = np.full(64, number, np.float32)
        y = np.zeros_like(x)
        kernel((1,), (64,), (x, y, 64))
        return bool((y == number).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(64)))


def test_it_needs_neither_cupy_nor_hypothesis(tmp_path: Path) -> None:
    code = (
        "import sys; import tinyyolo3.testing;"
        "print([m for m in ('cupy', 'cuda', 'hypothesis') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
