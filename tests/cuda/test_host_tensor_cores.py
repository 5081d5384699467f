"""kernels/tensor_cores.cuh on the CPU: conversions, fragments, and what is done wrong with them."""

import numpy as np
import pytest

from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.errors import KernelError
from tinyyolo3.layers.convolution.cuda_mma import round_to_tf32

CONVERSIONS = """
#include "tensor_cores.cuh"
extern "C" __global__ void convert(const float* x, half* rounded, float* back, unsigned* tf32) {
  const int i = 2 * threadIdx.x;
  const unsigned packed = dev::pack_halves(x[i], x[i + 1]);
  rounded[i].bits = packed & 0xffff;
  rounded[i + 1].bits = packed >> 16;
  const float2 values = dev::unpack_halves(packed);
  back[i] = values.x;
  back[i + 1] = values.y;
  for (int e = 0; e < 2; e++) tf32[i + e] = dev::round_to_tf32(__float_as_uint(x[i + e]));
}
"""

#: One warp multiplies x, 16 rows of two chunks, by w, 8 columns of two chunks, and adds to sums.
MULTIPLICATION = """
#include "tensor_cores.cuh"
template <class Element>
__global__ void multiply(const Element* x, const Element* w, float* sums) {
  constexpr int terms = 32 / sizeof(Element), chunk = terms / 2;
  alignas(16) __shared__ Element rows[24 * terms];
  const int lane = threadIdx.x;
  const Element* row = lane < 16 ? x + lane * terms : w + (lane - 16) * terms;
  if (lane < 24)
    for (int k = 0; k < terms; k++) FILL rows[lane * terms + k] = row[k];
  __syncwarp();
  unsigned a[4], b[4];
  LOAD_A dev::load_matrices(a, rows + lane % 16 * terms + lane / 16 * chunk OFFSET);
  dev::load_matrices(b, rows + (16 + lane % 8) * terms + lane / 8 % 2 * chunk);
  const unsigned factors[2] = {b[0], b[1]};
  float d[4];
  float* first = sums + lane / 4 * 8 + lane % 4 * 2;
  for (int e = 0; e < 4; e++) d[e] = first[e / 2 * 64 + e % 2];
  dev::multiply<Element>(d, a, factors);
  for (int e = 0; e < 4; e++) first[e / 2 * 64 + e % 2] = d[e];
}
"""


def multiplication(mode: str, element: str, **changes: str) -> HostModule:
    code = MULTIPLICATION
    for word in ("FILL", "LOAD_A", "OFFSET"):
        code = code.replace(word, changes.get(word, ""))
    return HostModule(code=code, mode=mode, name_expressions=[f"multiply<{element}>"])


@pytest.mark.parametrize("mode", ["fast", "check"])
def test_floats_become_halves_and_tf32_as_numpy_rounds_them(mode: str) -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    every = every[np.isfinite(every)]
    rng = np.random.default_rng(0)
    # The halves themselves, what lies half way between them, and beside that; and what overflows.
    between = (every[:-1] + every[1:]) / 2
    special = np.array([65519.9, 65520, 1e30, -1e30, np.inf, -np.inf, np.nan, 1e-30], np.float32)
    numbers = np.concatenate([every, between, np.nextafter(between, np.float32(9)), special])
    x = rng.permutation(numbers)[: len(numbers) // 2048 * 2048].reshape(-1, 2048)[:8]
    x[0, : len(special)] = special
    convert = HostModule(code=CONVERSIONS, mode=mode).get_function("convert")
    for row in x:
        row = np.ascontiguousarray(row)
        rounded, back = np.empty(2048, np.float16), np.empty(2048, np.float32)
        tf32 = np.empty(2048, np.uint32)
        convert((1,), (1024,), (row, rounded, back, tf32), outputs=(rounded, back, tf32))
        with np.errstate(over="ignore"):
            expected = row.astype(np.float16)
        assert np.array_equal(rounded, expected, equal_nan=True)
        assert np.array_equal(back, expected.astype(np.float32), equal_nan=True)
        assert np.array_equal(tf32.view(np.float32), round_to_tf32(row), equal_nan=True)


@pytest.mark.parametrize("mode", ["fast", "check"])
@pytest.mark.parametrize(("element", "dtype"), [("half", np.float16), ("float", np.float32)])
def test_a_warp_multiplies_matrices(mode: str, element: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    terms = 32 // np.dtype(dtype).itemsize
    # Whole numbers, so that every order of summation gives the same.
    x, w = (rng.integers(-9, 10, (rows, terms)).astype(dtype) for rows in (16, 8))
    sums = rng.integers(-99, 100, (16, 8)).astype(np.float32)
    expected = sums + x.astype(np.float32) @ w.astype(np.float32).T
    multiply = multiplication(mode, element).get_function(f"multiply<{element}>")
    multiply((1,), (32,), (x, w, sums))
    assert np.array_equal(sums, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"FILL": "if (lane != 5)"}, "uninitialised: .*reads .*shared memory"),
        ({"OFFSET": "+ 1"}, "misaligned: .*row from an address that is no multiple of 16"),
        ({"LOAD_A": "if (lane != 5)"}, "divergent warp: .*lane"),
    ],
)
def test_what_is_done_wrong_is_said(changes: dict[str, str], message: str) -> None:
    x, w = np.ones((16, 16), np.float16), np.ones((8, 16), np.float16)
    multiply = multiplication("check", "half", **changes).get_function("multiply<half>")
    with pytest.raises(KernelError, match=message):
        multiply((1,), (32,), (x, w, np.zeros((16, 8), np.float32)))


#: Each thread copies 5 of 8 halves.
PARTIAL = """
#include "tensor_cores.cuh"
extern "C" __global__ void copy(const half* x, half* y) {
  alignas(16) __shared__ half chunks[4][8];
  const int thread = threadIdx.x;
  dev::cp_async16_first<true>(chunks[thread], x + 8 * thread, 10);
  dev::cp_async_commit();
  dev::cp_async_wait<0>();
  for (int e = 0; e < 8; e++) y[8 * thread + e] = chunks[thread][e];
}
"""


def test_part_of_a_chunk_is_copied_and_all_of_it_is_in_the_array() -> None:
    """Elsewhere memcheck ends the program, though a GPU would not read what is outside."""
    copy = HostModule(code=PARTIAL).get_function("copy")
    x, y = np.arange(32, dtype=np.float16), np.ones(32, np.float16)
    copy((1,), (4,), (x, y), outputs=(y,))
    assert np.array_equal(y.reshape(4, 8), np.where(np.arange(8) < 5, x.reshape(4, 8), 0))
    message = r"out of bounds: .*thread \(3,0,0\) reads 16 bytes of byte 48 of x"
    with pytest.raises(KernelError, match=message):
        copy((1,), (4,), (x[:29], y), outputs=(y,))
