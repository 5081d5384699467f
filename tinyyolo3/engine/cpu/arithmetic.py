"""The numbers that the matrix kernel multiplies: float32, pairs of them, and pairs of bfloat16.

A bfloat16 is the upper half of a float32: its range, and 8 bits of its precision. One instruction
(AVX-512 BF16's ``vdpbf16ps``) multiplies two neighbouring channels of a pixel with their weights
and adds both products to a float32 sum: twice as many multiplications as in float32, from half the
memory. Products and sums are float32; what is lost is in the rounding of inputs and weights, to one
part in 256 each.

A layer of few filters, at most half a vector of them, leaves half of each multiplication unused. So
two neighbouring channels are multiplied at once here too, both in float32: a vector of B has each
filter's weights for both, side by side, as has one for bfloat16. Each lane sums up every other
channel, and at the end neighbouring lanes are added (`Arithmetic.fold`).

In all three the kernel reads some bytes of A, broadcasts them, and reads whole vectors of B.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    FLOAT,
    INT32,
    INT64,
    LANES,
    TARGET,
    VECTOR,
    inline,
    load,
    multiply_add,
    splat,
    store,
    vector,
)

#: Bytes of one pixel's block of channels in bfloat16.
HALF_BLOCK = BLOCK // 2


class _BFloat16(ir.Type):  # type: ignore[misc]  # llvmlite has no types
    """LLVM's ``bfloat``, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat16)

    def __hash__(self) -> int:
        return hash(_BFloat16)


PAIRS = ir.VectorType(_BFloat16(), 2 * LANES)
BFLOATS = ir.VectorType(_BFloat16(), LANES)


@dataclass(frozen=True)
class Arithmetic:
    """How the matrix kernel multiplies.

    Attributes:
        name: behind an algorithm's name; none for plain float32.
        channels: of A that are broadcast together.
        channel_bytes: bytes of one of them.
        broadcast: ``(builder, address)``: these channels, in all lanes.
        column: ``(builder, address)``: a vector of B.
        multiply_add: ``(builder, x, y, sums)``.
        fold: ``(builder, sums)``: the filters' sums, where a vector holds two parts of each.
    """

    name: str
    channels: int
    channel_bytes: int
    broadcast: Callable[[ir.IRBuilder, Any], Any]
    column: Callable[[ir.IRBuilder, Any], Any]
    multiply_add: Callable[[ir.IRBuilder, Any, Any, Any], Any]
    fold: Callable[[ir.IRBuilder, Any], Any] | None = None

    @property
    def filters(self) -> int:
        """How many filters a vector of B serves."""
        return LANES // 2 if self.fold else LANES

    @property
    def step_bytes(self) -> int:
        """Bytes of A that are broadcast together."""
        return self.channels * self.channel_bytes

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel's block of channels."""
        return LANES * self.channel_bytes


def _broadcast_floats(builder: ir.IRBuilder, address: Any) -> Any:
    pair = load(builder, address, INT64, 4)
    return builder.bitcast(splat(builder, pair, ir.VectorType(INT64, LANES // 2)), VECTOR)


def _add_neighbours(builder: ir.IRBuilder, sums: Any) -> Any:
    """Add lanes 0 and 1, 2 and 3, …, and move the sums to the front; zeros follow."""
    kind = ir.VectorType(INT32, LANES)
    other = builder.shuffle_vector(sums, sums, ir.Constant(kind, [i ^ 1 for i in range(LANES)]))
    front = [*range(0, LANES, 2), *[LANES] * (LANES // 2)]
    return builder.shuffle_vector(builder.fadd(sums, other), vector(0.0), ir.Constant(kind, front))


def _broadcast_pair(builder: ir.IRBuilder, address: Any) -> Any:
    pair = load(builder, address, INT32, 4)
    return builder.bitcast(splat(builder, pair, ir.VectorType(INT32, LANES)), PAIRS)


def _multiply_pairs(builder: ir.IRBuilder, x: Any, y: Any, sums: Any) -> Any:
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    kind = ir.FunctionType(VECTOR, [VECTOR, PAIRS, PAIRS])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [sums, x, y])


def round_vector(builder: ir.IRBuilder, value: Any) -> Any:
    """Return a vector's numbers in bfloat16, ties to even."""
    name = "llvm.x86.avx512bf16.cvtneps2bf16.512"
    kind = ir.FunctionType(BFLOATS, [VECTOR])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [value])


def _round_block(builder: ir.IRBuilder, arguments: Any) -> None:
    source, target = arguments
    store(builder, round_vector(builder, load(builder, source)), target, HALF_BLOCK)


FLOAT32 = Arithmetic(
    "",
    1,
    4,
    lambda builder, address: splat(builder, load(builder, address, FLOAT, 4)),
    load,
    multiply_add,
)
FLOAT32_PAIRS = Arithmetic(
    "pairs", 2, 4, _broadcast_floats, load, multiply_add, fold=_add_neighbours
)
BFLOAT16 = Arithmetic(
    "bf16",
    2,
    2,
    _broadcast_pair,
    lambda builder, address: load(builder, address, PAIRS),
    _multiply_pairs,
)

#: Whether the processor multiplies bfloat16; code that asks for it compiles nowhere else.
HAS_BFLOAT16 = TARGET.bf16
#: ``round_block(source, target)``: one pixel's block of channels to bfloat16, ties to even.
round_block = inline(_round_block, 2)
