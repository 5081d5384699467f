"""What the primitives of tensor cores must give, for `gpu_primitives`.

Tensor cores do not round a sum as IEEE 754 says, so the products here are of whole numbers, whose
sums are exact in any order.
"""

import numpy as np

from gpu_launch import Array, Launch, poison
from tinyyolo3.layers.convolution.cuda_mma import round_to_tf32

FILE = "tensor_primitives.cu"
COUNT = 16384


def conversions() -> tuple[Launch, list[Array]]:
    """Floats to halves, back, and to tf32: halves, what lies between two of them, what overflows.

    The numbers that lie exactly half way say how ties are rounded, their neighbours that nothing
    is rounded twice.
    """
    rng = np.random.default_rng(1)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = np.sort(halves[np.isfinite(halves)].astype(np.float32))
    between = (every[:-1] + every[1:]) / 2
    lower, upper = (np.nextafter(between, np.float32(end)) for end in (-np.inf, np.inf))
    # Half a unit of tf32's last place away from the halves, and beside that.
    ties = (every.view(np.uint32) | 0x1000).view(np.float32)
    x = rng.permutation(np.concatenate([every, between, lower, upper, ties]))[:COUNT]
    special = [65504, 65519.996, 65520, 1e30, np.inf, 0.0, 1e-30, 2.0**-24, 2.0**-25, 3e38]
    x[: 2 * len(special)] = np.concatenate([special, np.negative(special)])
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float16)
    launch = Launch(
        "conversions",
        (x, COUNT // 2),
        (poison(COUNT // 2, np.uint32), poison(COUNT, np.float32), poison(COUNT, np.uint32)),
        grid=COUNT // 128,
        file=FILE,
        least_architecture=80,
    )
    tf32 = round_to_tf32(x).view(np.uint32)
    return launch, [rounded.view(np.uint32), rounded.astype(np.float32), tf32]


def partial_copies() -> tuple[Launch, list[Array]]:
    """Asynchronous copies of the first few bytes of 16, zeros after them."""
    x = np.random.default_rng(2).integers(1, 1 << 16, (64, 8)).astype(np.uint16)
    kept = np.where(np.arange(8) < np.arange(64)[:, np.newaxis] % 9, x, 0)
    expected = np.tile(np.roll(kept, -1, axis=0).astype(np.uint16).reshape(-1), 2)
    launch = Launch(
        "partial_copies",
        (x.reshape(-1),),
        (poison(512, np.uint32),),
        shared_mem=2 * 64 * 16,
        file=FILE,
    )
    return launch, [expected.view(np.uint32)]


def matrices() -> tuple[Launch, list[Array]]:
    """Fragments of four matrices, whose rows lie in any order."""
    x = np.random.default_rng(3).integers(0, 1 << 32, (32, 4), dtype=np.uint32)
    given = x[(5 * np.arange(32) + 3) % 32].reshape(4, 8, 4)  # matrix, row, word
    lane = np.arange(32)
    expected = given[:, lane // 4, lane % 4].T.reshape(-1)
    outputs = (poison(128, np.uint32),)
    launch = Launch("matrices", (x.reshape(-1),), outputs, block=32, shared_mem=32 * 16, file=FILE)
    return launch, [np.ascontiguousarray(expected)]


def products_of_halves() -> tuple[Launch, list[Array]]:
    """A warp's product of matrices of halves, added to what was there."""
    return _multiplication("half", np.float16)


def products_of_tf32() -> tuple[Launch, list[Array]]:
    """The same of floats as tf32; the bits that it does not look at are set."""
    return _multiplication("float", np.float32)


def _multiplication(element: str, dtype: type) -> tuple[Launch, list[Array]]:
    rng = np.random.default_rng(4)
    terms = 32 // np.dtype(dtype).itemsize
    # Products of up to 2²⁰ and sums of up to 2²³ in steps of one: exact, whatever the order is.
    x: Array = rng.integers(-1000, 1001, (16, terms)).astype(dtype)
    w: Array = rng.integers(-1000, 1001, (8, terms)).astype(dtype)
    sums = rng.integers(-(1 << 22), 1 << 22, (16, 8)).astype(np.float32)
    expected = sums + x.astype(np.float64) @ w.astype(np.float64).T
    if dtype is np.float32:
        x, w = ((a.view(np.uint32) | 0x1FFF).view(np.float32) for a in (x, w))
    launch = Launch(
        f"multiplication<{element}>",
        (x.reshape(-1), w.reshape(-1)),
        (sums.reshape(-1),),
        block=32,
        shared_mem=2 * 32 * 16,
        file=FILE,
        least_architecture=75 if dtype is np.float16 else 80,
    )
    return launch, [expected.astype(np.float32).reshape(-1)]


TENSOR_CORES = (conversions, partial_copies, matrices, products_of_halves, products_of_tf32)
