"""The program: a flat list of steps, and the loop in which all threads run it together.

A step is one operation (a compiled function), a record of its numbers and addresses, and a count of
*jobs*: pieces that can be computed in any order and by any thread. All threads walk through the
same list. In each step a thread claims jobs, first from its own share (which lies where it worked
in the step before, so the data is still in its cache), then from the others'. When none is left it
waits until all are *done*, and goes on.

What is counted is finished jobs, not arrived threads. A thread that starts late, or never, or is
stopped by the system between two steps, keeps nobody waiting; with a barrier of threads a busy
neighbour on one core would stall all of them at every step. A step costs less than a microsecond
beyond its jobs, where starting a parallel loop anew costs tens. Who the threads are and how they
are called is `crew`'s business.

Operations are compiled one by one to plain function pointers ``job(step, index, scratch)``, so a
network compiles only what it uses, and the loop here knows none of them.
"""

import sys
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.ccallback import CFunc
from numba.core.sigutils import normalize_signature
from numpy.typing import NDArray

from tinyyolo3.cache import keep_code
from tinyyolo3.engine.cpu.vectors import INT64, as_integers, carray, inline, pointer_to
from tinyyolo3.parallel import compiled

#: Columns of the table of steps: the operation's address, its record's, and the number of jobs.
OPERATION, RECORD, JOBS = range(3)
#: Fields of records that are float64.
FLOAT_FIELDS = frozenset({"slope", "scale", "epsilon"})
#: 64-bit words in a cache line: counters of different threads stand on lines of their own.
LINE = 8


def _mangle_record(record: Any) -> tuple[str, tuple[int, ...]]:
    return "Record", (zlib.crc32(record.name.encode()),)


# A compiled function's symbol holds the types of its arguments. Numba writes a record there as a
# number counted up in each process, so that code from two processes, kept in one cache, may have
# one symbol for two records; the linker then takes the first, and the second reads wrong fields
# (seen as a crash). A record's own name, which has all its fields in it, means the same everywhere.
types.Record.mangling_args = property(_mangle_record)  # type: ignore[assignment]


class CodePointer:
    """A function that is compiled to a plain pointer when it is first needed.

    Attributes:
        name: for people.
        supported: whether this processor has its instructions; compiling those that it has not
            would end the process.
    """

    def __init__(
        self, function: Callable[..., None], signature: Any, supported: bool = True
    ) -> None:
        self.name, self.supported = function.__name__.strip("_"), supported
        self._function, self._signature = function, signature

    @cached_property
    def address(self) -> int:
        """The function's address, in C's calling convention."""
        signature = normalize_signature(self._signature)  # type: ignore[no-untyped-call]
        code = CFunc(self._function, signature, locals={}, options={"error_model": "numpy"})
        keep_code(code, self._function)
        code.compile()
        self._code = code  # the machine code lives as long as this
        address: Any = code.address
        return int(address)


class Operation(CodePointer):
    """A step's code, ``void job(record *step, int64 index, int64 scratch)``.

    Attributes:
        dtype: of the record that one step of this operation needs.
    """

    def __init__(self, function: Callable[..., None], fields: Sequence[str]) -> None:
        kinds = [(f, np.float64 if f in FLOAT_FIELDS else np.int64) for f in fields]
        self.dtype = np.dtype(kinds)
        record = pointer_to(numba.from_dtype(self.dtype))
        super().__init__(function, types.void(record, types.int64, types.int64))


def operation(*fields: str) -> Callable[[Callable[..., None]], Operation]:
    """Make an `Operation` of ``job(steps, index, scratch)``, whose record has these fields.

    All are int64 but `FLOAT_FIELDS`. The job begins with ``step = carray(steps, 1)[0]``.
    """
    return lambda function: Operation(function, fields)


def code_pointer(
    integers: int, floats: int = 0, *, supported: bool = True
) -> Callable[[Callable[..., None]], CodePointer]:
    """Make a `CodePointer` of a function of 64-bit integers and, after them, 32-bit floats."""
    kinds = [types.int64] * integers + [types.float32] * floats
    return lambda function: CodePointer(function, types.void(*kinds), supported)


def _call(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    address, *rest = arguments
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in rest])
    builder.call(builder.inttoptr(address, kind.as_pointer()), rest)


def _fetch_add(builder: ir.IRBuilder, arguments: Sequence[Any]) -> Any:
    pointer = builder.inttoptr(arguments[0], INT64.as_pointer())
    return builder.atomic_rmw("add", pointer, arguments[1], "acq_rel")


def _load_acquire(builder: ir.IRBuilder, arguments: Sequence[Any]) -> Any:
    pointer = builder.inttoptr(arguments[0], INT64.as_pointer())
    return builder.load_atomic(pointer, "acquire", 8, typ=INT64)


def _store_release(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    pointer = builder.inttoptr(arguments[0], INT64.as_pointer())
    builder.store_atomic(arguments[1], pointer, "release", 8)


def _exchange(builder: ir.IRBuilder, arguments: Sequence[Any]) -> Any:
    pointer = builder.inttoptr(arguments[0], INT64.as_pointer())
    pair = builder.cmpxchg(pointer, arguments[1], arguments[2], "acq_rel", "acquire")
    return builder.extract_value(pair, 1)


#: ``call_job(operation, record, index, scratch)``.
call_job = inline(_call, 4)
#: ``call_input_transform(transform, source, row_bytes, target, product_bytes)``.
call_input_transform = inline(_call, 5)
#: ``call_output_transform(transform, source, product_bytes, target, row_bytes, bias, residual,
#: residual_row_bytes, slope)``.
call_output_transform = inline(_call, 8, floats=1)
#: ``call_panel(kernel, a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias,
#: residual, residual_stride, rows, far, slope)``.
call_panel = inline(_call, 15, floats=1)
#: ``fetch_add(counter, amount)``: raise a counter and return what it was.
fetch_add = inline(_fetch_add, 2, types.int64)
#: Read a counter, and see all that was written before it was raised.
load_acquire = inline(_load_acquire, 1, types.int64)

#: ``store_release(counter, value)``: write a counter, after all that was written before.
store_release = inline(_store_release, 2)
#: ``exchange(counter, expected, value)``: write `value` if `expected` is there; return whether it
#: was.
exchange = inline(_exchange, 3, types.boolean)

#: Let another thread have this core.
yield_core = types.ExternalFunction(
    "SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32()
)
#: Looks at a counter before a waiting thread offers its core: about 20 µs.
PATIENCE = 2000


@compiled
def run_steps(
    worker: int,
    workers: int,
    program: int,
    steps: int,
    counters: int,
    scratches: NDArray[np.int64],
) -> None:
    """Run a program as one of several workers.

    Args:
        worker: which one this is.
        workers: how many there may be.
        program: the address of a table of `steps` rows of int64: each step's operation, record
            and number of jobs.
        steps: how many there are.
        counters: the address of ``steps * (workers + 1)`` lines of zeros: per step the number of
            finished jobs, then each share's next job.
        scratches: the addresses of the workers' own memory.
    """
    line = 8 * LINE
    scratch = scratches[worker]
    table = carray(as_integers(program), (steps, 3))
    for step in range(steps):
        jobs = table[step, JOBS]
        done = counters + step * (workers + 1) * line
        finished = 0
        for turn in range(workers):
            share = (worker + turn) % workers
            first = share * jobs // workers
            count = (share + 1) * jobs // workers - first
            claims = done + (share + 1) * line
            # Another's counter is looked at before it is raised: mostly nothing is left there, and
            # a look does not take the line away from its owner.
            if turn > 0 and load_acquire(claims) >= count:
                continue
            index = fetch_add(claims, 1)
            while index < count:
                call_job(table[step, OPERATION], table[step, RECORD], first + index, scratch)
                finished += 1
                index = fetch_add(claims, 1)
        if finished > 0:
            fetch_add(done, finished)
        looks = 0
        while load_acquire(done) < jobs:
            looks += 1
            if looks > PATIENCE:
                yield_core()
