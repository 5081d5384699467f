"""The machine that code is compiled for: how wide its vectors are, and how many it holds.

Everything below this room is written once, for vectors of `Target.lanes` floats. The widest that
the machine computes with in one instruction is the right choice: 16 with AVX-512, 8 with AVX, 4
with SSE and NEON. It decides the memory layout too (channels in blocks of `lanes`), so a network
packed for one width serves no other.

Numba compiles for the processor it runs on; ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` override
it, and this module follows: a machine with AVX-512 tests the code of one without.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba

_config: Any = numba.config

_MULTIPLY_ADD = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define <16 x float> @probe(<16 x float> %x, <16 x float> %y, <16 x float> %z) {
  %sum = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %y, <16 x float> %z)
  ret <16 x float> %sum
}
"""


@dataclass(frozen=True)
class Target:
    """What the kernels need to know of a processor.

    Attributes:
        lanes: floats in a vector.
        rows: pixels in a tile of the matrix kernel, whose ``2 * rows`` sums stay in registers
            beside two vectors of weights: 13 in AVX-512's 32 registers, 6 in AVX's 16, 12 in
            NEON's 32.
        short_rows: pixels in a lower tile, for maps that it divides better, and still enough of
            them that their sums need not wait for each other; else the same.
        fused: whether it multiplies and adds in one instruction. Without one, the portable way to
            ask for a fused result is a library call per number.
        bf16: whether it multiplies pairs of bfloat16 numbers (AVX-512 BF16).
    """

    lanes: int
    rows: int
    short_rows: int
    fused: bool
    bf16: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of a vector, and of one pixel's block of channels."""
        return 4 * self.lanes


@cache
def current_target() -> Target:
    """Return the target of this process."""
    if _config.CPU_NAME:
        return probe_target(str(_config.CPU_NAME), str(_config.CPU_FEATURES or ""))
    return describe_target(llvm.get_host_cpu_features(), llvm.get_process_triple())


def describe_target(features: Mapping[str, bool], triple: str) -> Target:
    """Return the target for LLVM's feature names, as it reports them for the host."""
    if not triple.startswith(("x86_64", "i686", "amd64")):
        return Target(lanes=4, rows=12, short_rows=10, fused=True)
    if all(features.get(name) for name in ("avx512f", "avx512bw", "avx512vl", "fma")):
        bf16 = bool(features.get("avx512bf16"))
        return Target(lanes=16, rows=13, short_rows=10, fused=True, bf16=bf16)
    if features.get("avx"):
        return Target(lanes=8, rows=6, short_rows=6, fused=bool(features.get("fma")))
    return Target(lanes=4, rows=6, short_rows=6, fused=False)


def probe_target(name: str, features: str) -> Target:
    """Return the target for a processor by its LLVM name.

    LLVM tells nobody what a name stands for, but its code does: a multiply-add of sixteen floats
    is compiled, and the registers and instructions that it took are looked at.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.get_process_triple()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=name, features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(_MULTIPLY_ADD))
    found = {
        "avx": "ymm" in assembly or "zmm" in assembly,
        "fma": "vfmadd" in assembly,
        **dict.fromkeys(("avx512f", "avx512bw", "avx512vl"), "zmm" in assembly),
    }
    return describe_target(found, triple)
