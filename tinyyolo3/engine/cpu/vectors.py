"""Vectors in LLVM's language: the few operations that the kernels are written with.

Numba compiles scalar loops and hopes that LLVM turns them into vector code; for the inner loops of
a network hope is not enough. Its `intrinsic` lets a function write LLVM IR itself. Here are loads,
stores, multiply-adds and loops over vectors of the target's width; memory is named by integer
addresses, because a kernel's operands are pieces of one large buffer. Nothing here knows bounds:
the planner answers for every address.

The code is the same for every processor. Text assembly would not be (and Numba's loader aborts on
it); the one piece of inline assembly is `compiler_fence`, which is empty.
"""

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from tinyyolo3.engine.cpu.target import current_target

TARGET = current_target()
LANES = TARGET.lanes
#: Bytes of a vector of floats, and of one pixel's block of channels.
BLOCK = TARGET.bytes

INT32, INT64 = ir.IntType(32), ir.IntType(64)
FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
VECTOR_HALF = ir.VectorType(FLOAT, LANES // 2)

#: The kind of function that writes a kernel's instructions, given its arguments.
Emit = Callable[[ir.IRBuilder, Sequence[Any]], Any]


#: Numba's type of a pointer to something.
pointer_to: Any = types.CPointer


def integer(value: int) -> ir.Constant:
    """Return a 64-bit constant."""
    return ir.Constant(INT64, value)


def vector(value: float) -> ir.Constant:
    """Return a vector of one number."""
    return ir.Constant(VECTOR, [value] * LANES)


def shift(builder: ir.IRBuilder, address: Any, by: Any) -> Any:
    """Return ``address + by``; a constant `by` may be a plain integer."""
    if isinstance(by, int):
        return builder.add(address, integer(by)) if by else address
    return builder.add(address, by)


def load(builder: ir.IRBuilder, address: Any, kind: Any = VECTOR, align: int = BLOCK) -> Any:
    """Read a vector (or a number of another `kind`) at an address."""
    pointer = builder.inttoptr(address, kind.as_pointer())
    return builder.load(pointer, typ=kind, align=align)


def store(builder: ir.IRBuilder, value: Any, address: Any, align: int = BLOCK) -> None:
    """Write a vector (or a number) to an address."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=align)


def splat(builder: ir.IRBuilder, number: Any, kind: Any = VECTOR) -> Any:
    """Return a vector all of whose lanes are one number of the program."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(INT32, 0))
    zeros = ir.Constant(ir.VectorType(INT32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, zeros)


def zero_vector(builder: ir.IRBuilder) -> Any:
    """Return the address of a vector of zeros."""
    name = "tinyyolo3_zeros"
    zeros = builder.module.globals.get(name)
    if zeros is None:
        zeros = ir.GlobalVariable(builder.module, VECTOR, name)
        zeros.initializer = vector(0.0)
        zeros.linkage = "internal"
        zeros.global_constant = True
        zeros.align = BLOCK
    return builder.ptrtoint(zeros, INT64)


def multiply_add(builder: ir.IRBuilder, x: Any, y: Any, z: Any) -> Any:
    """Return ``x * y + z``, fused where the processor can."""
    if not TARGET.fused:
        return builder.fadd(builder.fmul(x, y), z)
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    name = f"llvm.fma.v{LANES}f32"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [x, y, z])


def maximum(builder: ir.IRBuilder, x: Any, y: Any) -> Any:
    """Return the larger of each pair of lanes."""
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


def leaky(builder: ir.IRBuilder, value: Any, slope: Any) -> Any:
    """Return ``max(v, slope * v)``: leaky ReLU, with slope 1 nothing, with slope 0 ReLU."""
    return maximum(builder, value, builder.fmul(value, slope))


def loop(
    builder: ir.IRBuilder,
    count: Any,
    carried: Sequence[Any],
    body: Callable[[Any, Sequence[Any]], Sequence[Any]],
) -> Sequence[Any]:
    """Run ``body(i, values)`` for i from 0 to ``count - 1``, at least once.

    Args:
        builder: where to write.
        count: a 64-bit value of the program, 1 or more.
        carried: the values that the first turn sees; what `body` returns, the next one sees.
        body: writes one turn.

    Returns:
        The values after the last turn.
    """
    before = builder.block
    inside = builder.append_basic_block("turn")
    builder.branch(inside)
    builder.position_at_end(inside)
    index = builder.phi(INT64)
    index.add_incoming(integer(0), before)
    phis = [builder.phi(value.type) for value in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    results = body(index, phis)
    following = builder.add(index, integer(1))
    end = builder.block
    index.add_incoming(following, end)
    for phi, value in zip(phis, results, strict=True):
        phi.add_incoming(value, end)
    after = builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed("<", following, count), inside, after)
    builder.position_at_end(after)
    return results


def compiler_fence(builder: ir.IRBuilder) -> None:
    """Keep LLVM from moving memory accesses across this point.

    Without one in each step of the matrix kernel, LLVM reads the coming steps' numbers early, runs
    out of registers and spills sums to the stack: 142 instead of 250 GFLOP/s on a core of a Zen 5.
    """
    kind = ir.FunctionType(ir.VoidType(), [])
    builder.call(ir.InlineAsm(kind, "", "~{memory}", True), [])


def prefetch(builder: ir.IRBuilder, address: Any, near: int = 2) -> None:
    """Ask for a cache line that will be read soon, into the second-level cache (3: the first)."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
    name = "llvm.prefetch.p0"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    options = [ir.Constant(INT32, value) for value in (0, near, 1)]  # to read, how near, data
    builder.call(function, [builder.inttoptr(address, byte), *options])


def kernel(name: str, emit: Emit, integers: int, floats: int = 0) -> Any:
    """Return a function, callable from compiled code, whose instructions `emit` writes.

    Args:
        name: of the function in the compiled module; one name must always mean one code.
        emit: called with a builder and the arguments.
        integers: how many 64-bit arguments it takes,
        floats: and how many 32-bit ones after them.
    """
    kinds = [INT64] * integers + [FLOAT] * floats
    signature = types.void(*[types.int64] * integers, *[types.float32] * floats)

    def call(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        function = builder.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(ir.VoidType(), kinds)
            function = ir.Function(builder.module, kind, name)
            function.linkage = "internal"
            function.attributes.add("noinline")
            inner = ir.IRBuilder(function.append_basic_block())
            emit(inner, function.args)
            inner.ret_void()
        builder.call(function, arguments)
        return context.get_dummy_value()

    return _intrinsic(signature, call)


def inline(emit: Emit, integers: int, result: Any = types.void, floats: int = 0) -> Any:
    """Return a small operation on addresses, written into its caller."""
    signature = result(*[types.int64] * integers, *[types.float32] * floats)

    def call(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value = emit(builder, arguments)
        return context.get_dummy_value() if value is None else value

    return _intrinsic(signature, call)


def _intrinsic(signature: Any, call: Callable[..., Any]) -> Any:
    """Return Numba's intrinsic for a code generator, with as many arguments as `signature`."""

    def define(_typing: Any, *_arguments: Any) -> Any:
        return signature, call

    # Numba folds a call's arguments by the Python signature and takes *args for one tuple.
    names = ["typing", *(f"a{i}" for i in range(len(signature.args)))]
    kind = Parameter.POSITIONAL_OR_KEYWORD
    define.__signature__ = Signature([Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return intrinsic(define)


#: ``copy_block(source, target)``: one pixel's block of channels.
copy_block = inline(lambda b, a: store(b, load(b, a[0]), a[1]), 2)
#: ``zero_block(target)``.
zero_block = inline(lambda b, a: store(b, vector(0.0), a[0]), 1)
#: ``zero_half_block(target)``: a block of channels in bfloat16.
zero_half_block = inline(
    lambda b, a: store(b, ir.Constant(VECTOR_HALF, [0.0] * (LANES // 2)), a[0], BLOCK // 2), 1
)
#: ``add_block(x, y, target)``.
add_block = inline(lambda b, a: store(b, b.fadd(load(b, a[0]), load(b, a[1])), a[2]), 3)
#: ``maximum_block(x, y, target)``.
maximum_block = inline(lambda b, a: store(b, maximum(b, load(b, a[0]), load(b, a[1])), a[2]), 3)
#: ``multiply_block(x, y, target)``.
multiply_block = inline(lambda b, a: store(b, b.fmul(load(b, a[0]), load(b, a[1])), a[2]), 3)
#: ``scale_block(source, target, factor)``, and the same added to what is there.
scale_block = inline(
    lambda b, a: store(b, b.fmul(load(b, a[0]), splat(b, a[2])), a[1]), 2, floats=1
)
add_scaled_block = inline(
    lambda b, a: store(b, multiply_add(b, load(b, a[0]), splat(b, a[2]), load(b, a[1])), a[1]),
    2,
    floats=1,
)
#: Numba's array over the memory at a pointer.
carray: Any = vars(numba)["carray"]
#: ``as_floats(address)``: a pointer that `carray` makes an array of.
as_floats = inline(lambda b, a: b.inttoptr(a[0], FLOAT.as_pointer()), 1, pointer_to(types.float32))
#: ``as_doubles(address)``: the same for double precision.
as_doubles = inline(
    lambda b, a: b.inttoptr(a[0], ir.DoubleType().as_pointer()), 1, pointer_to(types.float64)
)
#: ``as_integers(address)``: the same for 64-bit integers.
as_integers = inline(lambda b, a: b.inttoptr(a[0], INT64.as_pointer()), 1, pointer_to(types.int64))
#: ``read_int(address)``.
read_int = inline(lambda b, a: load(b, a[0], INT64, 8), 1, types.int64)
