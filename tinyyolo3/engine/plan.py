"""The plan: which steps a network takes, and where in memory each map lies.

Planning is done once per input size, in plain data. It decides that

- layers which only pass their input on (dropout, a route of one layer) take no step and no memory;
- a shortcut is added where the convolution before it writes its result, and a pooling that halves
  the map is done there;
- a route of several layers costs nothing: those layers write into its map from the start, each at
  its channels' offset, where the layout lets a map begin there, and are copied where it does not;
- what the heads read are floats, also where all other maps are of shorter numbers: the convolution
  before a head writes them, or else its map is copied;
- maps share one *arena*: two that are never needed at the same time may lie on each other.

`planner` makes it, `arena` lays out its memory, `layout` knows how maps lie there; what computes a
step is the business of the algorithm that it names (`tinyyolo3.engine.cpu`, and on a GPU
`tinyyolo3.engine.cuda`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from tinyyolo3.engine.layout import FLOAT_BYTES
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network import specs

#: The layer index that stands for the network's input.
INPUT = -1


@dataclass(frozen=True)
class Place:
    """Where a map lies.

    Attributes:
        buffer: index in `Plan.buffers`.
        offset: bytes from the buffer's start to the map's first number.
        stride: bytes from one piece of the map to the next; pieces are what its layout says:
            blocks of channels, or pixels.
        shape: the map's channels, height and width.
        element_bytes: of a number.
    """

    buffer: int
    offset: int
    stride: int
    shape: Shape
    element_bytes: int = FLOAT_BYTES


@dataclass(frozen=True)
class Buffer:
    """A stretch of the arena, and the steps from its first writing to its last reading."""

    offset: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Step:
    """One step of the plan.

    Attributes:
        layer: the layer whose output it writes; for an "unpack" the one it reads.
        algorithm: what computes it.
        weights: the layer whose parameters it takes; None for none.
        inputs: the maps it reads. The network's plain input is None.
        output: the map it writes; None for an "unpack", which fills the caller's array.
        residual: a map that is added to the result.
        part: number of this step among those that together make up the layer.
        offset: the first channel, for a step that copies channels.
        workspace: a buffer of its own, or None.
    """

    layer: int
    algorithm: str
    weights: int | None = None
    inputs: tuple[Place | None, ...] = ()
    output: Place | None = None
    residual: Place | None = None
    part: int = 0
    offset: tuple[int, int] = (0, 0)
    workspace: int | None = None


@dataclass(frozen=True)
class Plan:
    """Steps in order, and the arena that their maps share.

    Attributes:
        steps: what to do.
        buffers: where.
        arena_bytes: the size of the arena.
        outputs: the layers whose maps the caller gets, in the order of the "unpack" steps.
    """

    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """How a step is computed, as `Planner.choose` answers.

    Attributes:
        algorithm: its name.
        workspace_bytes: memory that its jobs share.
        parts: steps that the layer takes (groups), each with its share of the channels.
        plain_input: whether it reads the network's input as the caller gave it.
        activation: whether the layer's activation takes a step of its own; then it can do neither
            of the following two, which come behind it.
        residual: whether it can add another map to its result.
        pools: whether it can write the maxima of 2 × 2 of its results instead.
        floats: whether it can write floats where all other maps are of shorter numbers.
    """

    algorithm: str
    workspace_bytes: int = 0
    parts: int = 1
    plain_input: bool = False
    activation: bool = False
    residual: bool = False
    pools: bool = False
    floats: bool = False


#: Chooses how a layer is computed; an algorithm "eager" computes any layer, outside the arena.
Chooser = Callable[[specs.Layer], Choice]
