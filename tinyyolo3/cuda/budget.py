"""What each kernel is meant to take of a GPU: the table that tests/kernels/test_compile.py checks.

Every kernel has a row here: a plain one by its name, a template by every instance that a launcher
asks for. The test compiles each for all of `ARCHITECTURES` and refuses spilled registers, more
registers than the row's cap, and fewer blocks on a multiprocessor than the row promises. A kernel
without a row fails it.

To add a row, put in what the kernel is designed for, then run the test: its message says what the
compiler made of it. Lower what is better than designed; think before raising anything.
"""

from dataclasses import dataclass

#: The oldest GPU that is supported, and the two that the kernels are tuned for.
ARCHITECTURES = ("sm_75", "sm_80", "sm_90")


@dataclass(frozen=True)
class Budget:
    """What one kernel is meant to take.

    Attributes:
        file: in the kernels' folder.
        name: the kernel, with its template arguments if it has any.
        threads: of a block, as launched.
        registers: of a thread, at the most.
        blocks: resident on one multiprocessor at the least, for each of `ARCHITECTURES`.
        shared_bytes: dynamic shared memory of a block, as launched.
    """

    file: str
    name: str
    threads: int
    registers: int
    blocks: tuple[int, int, int]
    shared_bytes: int = 0


BUDGETS = (
    Budget("maxpool.cu", "maxpool_forward", threads=256, registers=40, blocks=(4, 6, 6)),
)
