"""How long each step of a planned network takes, measured inside the running program.

Timing steps from outside, one call each, would mislead: a call has to start threads, which takes
tens of microseconds, as long as many a step. So the program itself reads the clock. Between any two
steps stands one that does nothing else: it begins when all jobs of the step before are done, and
the step after begins when it is. What a reading costs, a fraction of a microsecond, is measured by
two in a row and subtracted.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.blas import blas_thread_limit
from tinyyolo3.engine.cpu.clock import read_clock
from tinyyolo3.engine.cpu.crew import Crew
from tinyyolo3.engine.cpu.engine import CpuEngine, PlannedNetwork, Workspace
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.report import PlanReport, StepReport, report_plan
from tinyyolo3.engine.cpu.vectors import as_integers, carray
from tinyyolo3.engine.network import Network
from tinyyolo3.engine.planned import StudyEngine
from tinyyolo3.errors import InputError
from tinyyolo3.parallel import thread_count, thread_limit


@dataclass(frozen=True)
class StepTime:
    """A step, and its median time in seconds."""

    step: StepReport
    seconds: float

    @property
    def flop_per_s(self) -> float:
        """The layer's operations by definition per second; Winograd may pass the machine's peak."""
        return self.step.flop / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class NetworkProfile:
    """What a network's forward pass takes.

    Attributes:
        steps: the time of each step.
        seconds: the median time of the whole pass, without readings of the clock in between.
        threads: how many threads shared it.
        plan: what the steps are, and their memory.
    """

    steps: tuple[StepTime, ...]
    seconds: float
    threads: int
    plan: PlanReport

    @property
    def steps_seconds(self) -> float:
        """The sum over the steps; the rest of `seconds` goes to starting threads, and to chance."""
        return sum(step.seconds for step in self.steps)


def profile_network(network: Network, x: FloatArray, runs: int = 10) -> NetworkProfile:
    """Measure a network's steps on one picture.

    Passes with readings of the clock alternate with passes without; one of each goes before, and
    is not counted. Code that has not been compiled yet is, first.

    Args:
        network: one that runs by a plan.
        x: (1, C, H, W) floating array, pixels in [0, 1].
        runs: how often to measure.

    Raises:
        InputError: the network has no plan, `x` is no such array, or `runs` is below 1.
        ConfigError: the height and width of `x` do not suit the network.
    """
    engine = network.engine
    if isinstance(engine, StudyEngine):
        raise InputError("only the CPU's steps can be profiled: load the network with device='cpu'")
    if not isinstance(engine, CpuEngine):
        raise InputError(
            "this network runs layer by layer, without a plan, so there are no steps to profile: "
            "load it with the cpu backend and fold=True, where TINYYOLO3_COMPILE is not never"
        )
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < 1:
        raise InputError(f"runs must be a positive integer, not {runs!r}")
    fitting, x = network.fit(x)
    if len(x) != 1:
        raise InputError(f"expected one picture to profile with, found a batch of {len(x)}")
    with thread_limit(network.threads), blas_thread_limit(1):
        return _profile(engine.planned(fitting.graph), x[0], runs)


def _profile(planned: PlannedNetwork, x: FloatArray, runs: int) -> NetworkProfile:
    shapes = [planned.graph.layers[index].output_shape for index in planned.plan.outputs]
    outputs = [np.empty(shape, np.float32) for shape in shapes]
    workspace = planned.take_workspace()
    timed = _TimedProgram(planned, workspace)
    whole: list[float] = []
    steps: list[NDArray[np.float64]] = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        planned.run_image(workspace, x, outputs)
        whole.append(time.perf_counter() - start)
        steps.append(timed.run())
    planned.idle.append(workspace)
    report = report_plan(planned.graph, planned.plan)
    medians = np.median(steps[1:], axis=0)
    return NetworkProfile(
        steps=tuple(StepTime(s, float(t)) for s, t in zip(report.steps, medians, strict=True)),
        seconds=median(whole[1:]),
        threads=thread_count(),
        plan=report,
    )


class _TimedProgram:
    """A workspace's program, cut at the eager steps, with the clock read after every step.

    The caller's input and outputs are those that the workspace is bound to.
    """

    def __init__(self, planned: PlannedNetwork, workspace: Workspace) -> None:
        self._pieces: list[Callable[[], list[float]]] = []
        steps = planned.plan.steps
        start = 0
        for number, step in enumerate(steps):
            if step.algorithm == "eager":
                self._pieces.append(_TimedSegment(workspace, start, number).run)
                self._pieces.append(_timed_eager(planned, workspace, number))
                start = number + 1
        self._pieces.append(_TimedSegment(workspace, start, len(steps)).run)

    def run(self) -> NDArray[np.float64]:
        """Run all steps and return the time of each, in seconds."""
        return np.array([seconds for piece in self._pieces for seconds in piece()])


def _timed_eager(
    planned: PlannedNetwork, workspace: Workspace, number: int
) -> Callable[[], list[float]]:
    def run() -> list[float]:
        start = time.perf_counter()
        planned.run_eager(workspace, planned.plan.steps[number])
        return [time.perf_counter() - start]

    return run


class _TimedSegment:
    """The steps from `first` to before `last`, all of compiled code, between readings."""

    def __init__(self, workspace: Workspace, first: int, last: int) -> None:
        # Two readings come before the first step: their distance is what a reading costs.
        readings = last - first + 2
        self._clock = np.zeros((readings, 2), np.int64)
        self._records = np.zeros(readings, read_clock_job.dtype)
        self._records["target"] = self._clock.ctypes.data + 16 * np.arange(readings)
        records = self._records.ctypes.data + self._records.itemsize * np.arange(readings)
        rows = [[(read_clock_job.address, record, 1)] for record in records]
        for number in range(first, last):
            own = workspace.table[workspace.ends[number] : workspace.ends[number + 1]]
            rows[number - first + 1] += [tuple(row) for row in own]
        self._table = np.array([row for own in rows for row in own], np.int64)
        self._crew = Crew(workspace.scratch, len(self._table))
        self._workspace = workspace

    def run(self) -> list[float]:
        """Run the steps and return the time of each, in seconds, less that of a reading."""
        self._crew.run(self._table, self)
        between = np.diff(_seconds(self._clock))
        return list(np.maximum(between[1:] - between[0], 0.0))


@operation("target")
def read_clock_job(steps: Any, _index: int, _scratch: int) -> None:
    """Write the clock, in nanoseconds, to the first of the two words at `target`."""
    target = carray(steps, 1)[0].target
    carray(as_integers(target), 2)[0] = read_clock(target)


def _seconds(readings: NDArray[np.int64]) -> NDArray[np.float64]:
    since: NDArray[np.float64] = 1e-9 * (readings[:, 0] - readings[0, 0])
    return since
