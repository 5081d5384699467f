"""A training program: stages of rows for all workers, and of plain calls in between.

A *row* is one operation with its record (`tinyyolo3.engine.cpu.program`); all workers run a stretch
of rows in one go. Some numbers in the records are the caller's, the addresses of its arrays, and
change from call to call: they are *arguments*, filled in before each run. A layer that has no
operation is a Python call between two stretches of rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.engine.cpu.crew import Crew
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.packing import Floats
from tinyyolo3.engine.cpu.program import CodePointer
from tinyyolo3.train.cpu.memory import Stretch

#: What an argument is called: its kind, the layer, and the parameter's name or an empty one.
Key = tuple[str, int, str]


@dataclass(frozen=True)
class Argument:
    """A field of a record that holds an address within an array of the caller's.

    Attributes:
        field: of the record.
        key: names the array.
        offset: bytes from its start.
    """

    field: str
    key: Key
    offset: int = 0


@dataclass(frozen=True)
class Row:
    """An operation with its record, and the fields that change from call to call."""

    lowered: Lowered
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A step of the program.

    Attributes:
        touched: the stretches of memory that it reads or writes.
        rows: called once all addresses are known; returns its rows.
        call: what is called instead; None for a stage of rows.
    """

    touched: tuple[Stretch, ...]
    rows: Callable[[], Iterable[Row]] = tuple
    call: Callable[[], None] | None = None


@dataclass(eq=False)
class Program:
    """Stages made ready to run.

    Attributes:
        workers: how many threads share out the jobs.
        parts: tables of rows, and the calls between them.
        scratch_bytes: what the rows need for each worker.
        kept: the memory that rows name by address.
    """

    workers: int
    parts: list[NDArray[np.int64] | Callable[[], None]] = field(default_factory=list)
    scratch_bytes: int = 0
    kept: tuple[NDArray[Any], ...] = ()
    _records: list[NDArray[Any]] = field(default_factory=list)
    _bindings: list[tuple[NDArray[Any], Argument]] = field(default_factory=list)
    _crew: Crew | None = None

    def add(self, stages: Sequence[Stage]) -> None:
        """Append stages, whose memory has its addresses."""
        rows: list[tuple[int, int, int]] = []
        for stage in stages:
            rows += [self._entry(row) for row in stage.rows()]
            if stage.call is not None:
                self._close(rows)
                self.parts.append(stage.call)
        self._close(rows)

    def _close(self, rows: list[tuple[int, int, int]]) -> None:
        if rows:
            self.parts.append(np.array(rows, np.int64))
            rows.clear()

    def _entry(self, row: Row) -> tuple[int, int, int]:
        lowered = row.lowered
        record = np.zeros(1, lowered.operation.dtype)
        for name in lowered.operation.dtype.names or ():
            value = lowered.record.get(name, 0)
            record[name] = value.address if isinstance(value, CodePointer) else value
        self._records.append(record)
        self._bindings += [(record, argument) for argument in row.arguments]
        self.scratch_bytes = max(self.scratch_bytes, lowered.scratch)
        return lowered.operation.address, record.ctypes.data, lowered.jobs

    def prepare(self, scratches: Sequence[Floats], kept: Sequence[Floats]) -> None:
        """Take the workers' scratch memory, and what else rows name by address.

        Args:
            scratches: of each worker.
            kept: all other memory.
        """
        self.kept = (*scratches, *kept)
        longest = max((len(p) for p in self.parts if isinstance(p, np.ndarray)), default=0)
        self._crew = Crew(scratches, longest)

    def bind(self, addresses: Mapping[Key, int]) -> None:
        """Fill the caller's addresses in."""
        for record, argument in self._bindings:
            record[argument.field] = addresses[argument.key] + argument.offset

    def run(self) -> None:
        """Run all stages."""
        assert self._crew is not None
        for part in self.parts:
            if isinstance(part, np.ndarray):
                self._crew.run(part, self)
            else:
                part()
