"""Stage 2: every primitive that the kernels rely on, alone, against what NumPy says it must give.

The test-suite holds the CPU's build of the same kernels to the same answers; where this machine has
a C++ compiler the two builds are also compared with each other here, bit for bit. The elementary
functions, which two libraries may round differently, get a table of their errors instead.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from gpu_context import Context, Record
from gpu_launch import Array, Launch, poison, wrong
from gpu_tensor_primitives import TENSOR_CORES
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.maps import MapStruct
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import TinyYoloError
from tinyyolo3.testing.tolerances import ELEMENTARY_ULP

COUNT = 4096


def copies() -> tuple[Launch, list[Array]]:
    """Asynchronous copies of 16 and 4 bytes, some of them zeros, in two groups."""
    rng = np.random.default_rng(1)
    x, y = rng.random((64, 4), np.float32), rng.random(64, np.float32)
    launch = Launch("copies", (x.reshape(-1), y), (poison(320, np.float32),), shared_mem=64 * 20)
    index = np.arange(64)
    wide = np.where((index % 3 != 0)[:, np.newaxis], x, 0)
    narrow = np.where(index % 2 != 0, y, 0)
    expected = np.concatenate([np.roll(wide, -1, axis=0).T.reshape(-1), np.roll(narrow, -1)])
    return launch, [expected.astype(np.float32)]


def shared_layout() -> tuple[Launch, list[Array]]:
    """The members' offsets in a struct in shared memory, by C's rules of alignment."""
    launch = Launch("shared_layout", (), (poison(7),), block=1, shared_mem=64)
    return launch, [np.array([0, 4, 8, 16, 32, 48, 64], np.int32)]


def parameters() -> tuple[Launch, list[Array]]:
    """Numbers, structs and a null pointer between one another."""
    first, second = MapStruct(2, 3, 5, 7, 11), MapStruct(13, 17, 19, 23, 29)
    args = (-5, first, 0.1, None, (3 << 32) + 9, second)
    scale = int(np.float32(0.1).view(np.int32))
    return Launch("parameters", args, (poison(12),), block=1), [
        np.array([-5, 2, 3, 5, 7, 11, scale, 1, 3, 9, 13, 29], np.int32)
    ]


def collectives() -> tuple[Launch, list[Array]]:
    """Shuffles, votes and ballots of two warps."""
    x = np.random.default_rng(2).integers(-50, 50, 64).astype(np.int32)
    warps, lane = x.reshape(2, 32), np.arange(32)
    powers = np.uint64(1) << np.arange(32, dtype=np.uint64)

    def ballot(votes: Array) -> Array:
        bits = (votes * powers[: votes.shape[1]]).sum(axis=1).astype(np.uint32).view(np.int32)
        return np.repeat(bits[:, np.newaxis], 32, axis=1)

    half = np.where(lane < 16, ballot(warps[:, :16] % 2 != 0), -1)
    rows = [
        warps[:, lane * 7 % 32],
        np.where(lane >= 3, warps[:, (lane - 3) % 32], warps),
        np.where(lane < 27, warps[:, (lane + 5) % 32], warps),
        warps[:, lane ^ 16],
        ballot(warps > 0),
        np.repeat((warps == x[0]).any(axis=1, keepdims=True), 32, axis=1),
        np.repeat((warps > -1000).all(axis=1, keepdims=True), 32, axis=1),
        half,
    ]
    expected = np.concatenate([row.reshape(-1) for row in rows]).astype(np.int32)
    return Launch("collectives", (x,), (poison(512),)), [expected]


def atomics() -> tuple[Launch, list[Array]]:
    """Atomic sums, maxima, bits and exchanges from many blocks."""
    x = np.random.default_rng(3).integers(0, 1000, COUNT).astype(np.int32)
    sums, bits = np.zeros(6, np.uint32), np.zeros(1, np.uint64)
    words = np.bitwise_or.reduce(np.uint32(1) << (x & 31).astype(np.uint32))
    wide = np.bitwise_or.reduce(np.uint64(1) << (x & 63).astype(np.uint64))
    expected = np.array([x.sum(), x.sum(), x.max(), words, 7, 0], np.uint32)
    launch = Launch("atomics", (x,), (sums, bits), grid=COUNT // 64)
    return launch, [expected, np.array([wide], np.uint64)]


def numbers(seed: int) -> Array:
    """Return numbers of every size: powers of ten, small integers, subnormal ones, exact zeros."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.integers(-42, 17, COUNT)
    found = (rng.standard_normal(COUNT) * sizes).astype(np.float32)
    found[::7] = rng.integers(-20, 20, len(found[::7])) / np.float32(2)
    found[::11] = rng.standard_normal(len(found[::11]))
    return found


def arithmetic() -> tuple[Launch, list[Array]]:
    """What is correctly rounded: sums, products, quotients, roots, and integers of numbers."""
    x, y, z = numbers(4), numbers(5), numbers(6)
    y[y == 0] = z[z == 0] = 1  # so that no sign of a zero is left open
    with np.errstate(all="ignore"):
        quotient = x / y
        fused = fused_multiply_add(x, y, z)
        rows = [x + y, x - y, x * y, quotient, quotient, np.sqrt(np.abs(x)), fused]
        rows += [np.floor(x), np.rint(x), np.minimum(x, y), np.maximum(x, y)]
    bits = [row.astype(np.float32).view(np.int32) for row in rows]
    words = (x.view(np.uint32), y.view(np.uint32), np.abs(z).view(np.uint32))
    bits += [np.clip(x, -1e6, 1e6).astype(np.int32), np.bitwise_count(words[0]).astype(np.int32)]
    lowest = words[1] & -words[1].astype(np.int64)
    bits.append(np.where(words[1] == 0, 0, np.log2(np.maximum(lowest, 1)) + 1).astype(np.int32))
    bits.append((32 - np.ceil(np.log2(words[2].astype(np.float64) + 1))).astype(np.int32))
    launch = Launch("arithmetic", (x, y, z, COUNT), (poison(15 * COUNT),), grid=COUNT // 64)
    return launch, [np.concatenate(bits)]


def fused_multiply_add(x: Array, y: Array, z: Array) -> Array:
    """Return x·y + z of float32 arrays, rounded once: by exact fractions, one by one."""
    found = np.empty(len(x), np.float32)
    for i, (a, b, c) in enumerate(zip(x.tolist(), y.tolist(), z.tolist(), strict=True)):
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        near = np.float32(float(exact))  # rounded twice: one of the neighbours may be nearer
        around = (
            np.nextafter(near, np.float32(-np.inf)),
            near,
            np.nextafter(near, np.float32(np.inf)),
        )
        found[i] = min(
            around, key=lambda r: (abs(Fraction(float(r)) - exact), int(r.view(np.uint32)) & 1)
        )
    return found


EXACT: tuple[Callable[[], tuple[Launch, list[Array]]], ...] = (
    *(copies, shared_layout, parameters, collectives, atomics, arithmetic),
    *TENSOR_CORES,
)
#: The elementary functions in the order of `elementary`, in float64.
FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "expf": np.exp,
    "log1pf": lambda x: np.log1p(np.abs(x)),
    "tanhf": np.tanh,
    "logf": lambda x: np.log(np.abs(x)),
    "expm1f": np.expm1,
}


def elementary() -> Launch:
    """The elementary functions, over the arguments that networks meet and far beyond."""
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.normal(0, 3, COUNT // 2), rng.uniform(-86, 86, COUNT // 2)])
    x = x.astype(np.float32)
    outputs = (poison(len(FUNCTIONS) * COUNT, np.float32),)
    return Launch("elementary", (x, COUNT), outputs, grid=COUNT // 64)


def errors_ulp(found: Array) -> dict[str, float]:
    """Return each function's largest error in units in the last place of the right answer."""
    x = elementary().args[0].astype(np.float64)
    errors = {}
    for (name, function), values in zip(
        FUNCTIONS.items(), np.split(found, len(FUNCTIONS)), strict=True
    ):
        exact = function(x)
        unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
        errors[name] = float((np.abs(values - exact) / unit).max())
    return errors


def contracted(target: Target) -> bool:
    """Whether the compiler joins a product and a sum, which saves one rounding."""
    x, y = numbers(8), numbers(9)
    launch = Launch("contraction", (x, y, COUNT), (poison(COUNT),), grid=COUNT // 64)
    return not launch.run(target)[0].all()


def measure(context: Context, part: str, record: Record) -> None:  # noqa: ARG001 (has one part)
    """Run every primitive; what is wrong is recorded, and refused at the end."""
    target = context.open_target()
    host = HostTarget("fast")
    problems = []
    for make in EXACT:
        launch, expected = make()
        if not launch.runs_on(target):
            record(launch.kernel, {"skipped": f"needs sm_{launch.least_architecture}"})
            continue
        try:
            found = launch.run(target)
        except TinyYoloError as problem:
            record(launch.kernel, {"error": str(problem)})
            problems.append(launch.kernel)
            continue
        numbers_wrong = wrong(found, expected)
        record(
            launch.kernel, {"wrong": numbers_wrong, "host": compare_with_host(launch, host, found)}
        )
        if numbers_wrong:
            problems.append(launch.kernel)
    launch = elementary()
    found = launch.run(target)
    errors = errors_ulp(found[0])
    record("ulp", {name: round(error, 2) for name, error in errors.items()})
    record("elementary", {"host": compare_with_host(launch, host, found)})
    record("contracted", contracted(target))
    problems += [name for name, error in errors.items() if not error <= ELEMENTARY_ULP]
    record("problems", problems)


def compare_with_host(launch: Launch, host: HostTarget, found: list[Array]) -> int | str:
    """Return how many numbers differ from the CPU's, or why that could not be run."""
    try:
        return wrong(found, launch.run(host))
    except (TinyYoloError, OSError) as problem:
        return str(problem)
