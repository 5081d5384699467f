"""Write a CUDA kernel, prove it against NumPy, plant a race and see it named. No GPU is needed.

python examples/verify_a_kernel.py

Needs a C++ compiler and Hypothesis (``pip install 'tinyyolo3[test]'``). The kernel runs on the CPU,
each of its threads for itself, and every access to memory is watched: see
``docs/kernels-on-the-cpu.md``.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.testing import HostModule, KernelError

#: The softmax of each row: one block for a row, its sum made in pairs in shared memory.
KERNEL = """
extern "C" __global__ void __launch_bounds__(128)
    row_softmax(const float* x, float* y, int columns) {
  __shared__ float partial[128];
  const float* row = x + blockIdx.x * columns;
  const int thread = threadIdx.x;
  float sum = 0.f;
  for (int i = thread; i < columns; i += 128) sum += expf(row[i]);
  partial[thread] = sum;
  __syncthreads();
  for (int half = 64; half > 0; half /= 2) {
    if (thread < half) partial[thread] += partial[thread + half];
    __syncthreads();
  }
  for (int i = thread; i < columns; i += 128)
    y[blockIdx.x * columns + i] = expf(row[i]) / partial[0];
}
"""


def main() -> None:
    check(HostModule(code=KERNEL))
    print("row_softmax agrees with NumPy on 50 random matrices, in random orders of its threads")

    # Half of a warp reads what the other half has not written yet, perhaps.
    barrier = "partial[thread + half];\n    __syncthreads();"
    racy = KERNEL.replace(barrier, "partial[thread + half];")
    try:
        check(HostModule(code=racy))
    except KernelError as error:
        print(f"Without the barrier in the loop:\n{error}")


def check(module: HostModule) -> None:
    """Compare the kernel with its definition, on rows and seeds that Hypothesis chooses."""
    softmax = module.get_function("row_softmax")

    @settings(max_examples=50, database=None, deadline=None)
    @given(rows=st.integers(1, 4), columns=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
    def agrees(rows: int, columns: int, seed: int) -> None:
        x = np.random.default_rng(seed).normal(0, 3, (rows, columns)).astype(np.float32)
        y = np.empty_like(x)
        softmax((rows,), (128,), (x, y, columns), outputs=(y,), seed=seed)
        expected = np.exp(x.astype(np.float64))
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(y, expected, rtol=1e-5)

    agrees()


if __name__ == "__main__":
    main()
