"""The system's monotonic clock, for compiled code."""

import sys
import time
from typing import Any

from numba.core import types

from tinyyolo3.engine.cpu.vectors import read_int
from tinyyolo3.parallel import compiled

if sys.platform == "win32":
    #: Nanoseconds in a tick.
    _TICK = round(1e9 * time.get_clock_info("perf_counter").resolution)
    _query_counter: Any = types.ExternalFunction(
        "QueryPerformanceCounter", types.int32(types.int64)
    )

    @compiled
    def read_clock(memory: int) -> int:
        """Return the time in nanoseconds; two words of memory at an address are written to."""
        _query_counter(memory)
        ticks: int = read_int(memory)
        return ticks * _TICK

else:
    _MONOTONIC = time.CLOCK_MONOTONIC
    _clock_gettime: Any = types.ExternalFunction(
        "clock_gettime", types.int32(types.int32, types.int64)
    )

    @compiled
    def read_clock(memory: int) -> int:
        """Return the time in nanoseconds; two words of memory at an address are written to."""
        _clock_gettime(_MONOTONIC, memory)
        nanoseconds: int = read_int(memory) * 1_000_000_000 + read_int(memory + 8)
        return nanoseconds
