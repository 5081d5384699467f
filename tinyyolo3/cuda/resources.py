"""What a kernel takes of a multiprocessor, and how many blocks of it fit there.

Limits: CUDA C++ Programming Guide, "Compute Capabilities" (table of technical specifications).
"""

import re
from dataclasses import dataclass

_ENTRY = re.compile(
    r"Compiling entry function '(?P<symbol>[^']+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)
_SHARED = re.compile(r"(\d+) bytes smem")
#: Threads of a warp, and registers that are handed out to a warp at a time.
WARP, REGISTER_UNIT = 32, 256


@dataclass(frozen=True)
class Resources:
    """What ptxas says of one kernel.

    Attributes:
        registers: of a thread.
        spill_bytes: of a thread's registers that are kept in memory, stored and loaded.
        shared_bytes: a block's static shared memory.
    """

    registers: int
    spill_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class Multiprocessor:
    """What one multiprocessor holds.

    Attributes:
        threads: at a time.
        blocks: at a time.
        registers: of 32 bits.
        shared_bytes: shared memory of all blocks.
        reserved_bytes: shared memory that each block costs in addition.
        block_shared_bytes: the most that one block may have.
    """

    threads: int
    blocks: int
    registers: int
    shared_bytes: int
    reserved_bytes: int
    block_shared_bytes: int


_KIB = 1024
MULTIPROCESSORS = {
    "sm_75": Multiprocessor(1024, 16, 65536, 64 * _KIB, 0, 64 * _KIB),
    "sm_80": Multiprocessor(2048, 32, 65536, 164 * _KIB, _KIB, 163 * _KIB),
    "sm_90": Multiprocessor(2048, 32, 65536, 228 * _KIB, _KIB, 227 * _KIB),
}


def read_resources(log: str) -> dict[str, Resources]:
    """Return the resources of each kernel, by symbol, from a log of ``-Xptxas=-v``."""
    found = {}
    for entry in _ENTRY.finditer(log):
        shared = _SHARED.search(entry["rest"])
        spills = int(entry["stores"]) + int(entry["loads"])
        bytes_ = int(shared[1]) if shared else 0
        found[entry["symbol"]] = Resources(int(entry["registers"]), spills, bytes_)
    return found


def resident_blocks(
    architecture: str, resources: Resources, threads: int, dynamic_bytes: int = 0
) -> int:
    """Return how many blocks of a kernel one multiprocessor runs at a time; 0: not even one.

    Args:
        architecture: of `MULTIPROCESSORS`.
        resources: the kernel's.
        threads: of a block.
        dynamic_bytes: a block's dynamic shared memory.
    """
    limits = MULTIPROCESSORS[architecture]
    shared = resources.shared_bytes + dynamic_bytes
    if shared > limits.block_shared_bytes:
        return 0
    warps = -(-threads // WARP)
    unit = REGISTER_UNIT
    registers = -(-max(resources.registers, 1) * WARP // unit) * unit
    return min(
        limits.blocks,
        limits.threads // (warps * WARP),
        limits.registers // (registers * warps),
        limits.shared_bytes // (shared + limits.reserved_bytes) if shared else limits.blocks,
    )
