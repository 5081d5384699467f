"""What lowering is done with: a plan's step on one side, an operation's record on the other."""

from collections.abc import Mapping
from dataclasses import dataclass

from tinyyolo3.engine.cpu.packing import PackedWeights
from tinyyolo3.engine.cpu.program import CodePointer, Operation
from tinyyolo3.engine.plan import Place, Plan, Step
from tinyyolo3.network.graph import Graph

#: A step is cut into so many jobs for each worker, where it is large enough: with few, one that
#: takes longer keeps all waiting; each costs a tenth of a microsecond, and reads weights again.
JOBS_PER_WORKER = 4
#: Pixels below which a job is not worth handing out.
MIN_PIXELS = 64


@dataclass(frozen=True)
class Lowered:
    """One operation of a step: its record's fields, its jobs, and the scratch that one needs.

    A function in a field stands for its address, so that nothing has to be compiled yet.
    """

    operation: Operation
    record: Mapping[str, float | CodePointer]
    jobs: int
    scratch: int = 0


@dataclass(frozen=True)
class Lowering:
    """What the functions below need to know.

    Attributes:
        graph: the layers.
        plan: the steps.
        arena: the arena's address.
        weights: the packed weights of each step, by its index.
        orders: addresses of the tables of Winograd products, by the algorithm's name.
        workers: how many will share out the jobs.
        images: how many pictures' maps lie one after the other in each block.
    """

    graph: Graph
    plan: Plan
    arena: int
    weights: Mapping[int, PackedWeights]
    orders: Mapping[str, int]
    workers: int
    images: int = 1

    @property
    def jobs(self) -> int:
        """Into how many jobs to cut a step, where it is large enough."""
        return JOBS_PER_WORKER * self.workers

    def address(self, place: Place) -> int:
        """Return the address of a map."""
        return self.arena + self.plan.buffers[place.buffer].offset + place.offset

    def workspace(self, step: Step) -> int:
        """Return the address of a step's shared memory."""
        assert step.workspace is not None
        return self.arena + self.plan.buffers[step.workspace].offset


def parts_of(low: Lowering, pixels: int, blocks: int) -> int:
    """Return into how many parts to cut each block of a map that is only passed over."""
    return max(1, min(-(-low.jobs // blocks), pixels // MIN_PIXELS))


def place_fields(low: Lowering, place: Place | None, prefix: str = "source") -> dict[str, int]:
    """Return the fields of a map: its address, and its blocks' distance in bytes."""
    assert place is not None
    return {prefix: low.address(place), f"{prefix}_stride": place.stride}
