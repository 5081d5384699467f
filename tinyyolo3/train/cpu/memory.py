"""The memory of a training program: one arena, in which maps lie for as long as they are needed.

The way back needs nearly all that the way there computed, so most maps live from the one to the
other. Gradients, packed weights and workspaces come and go, and lie where others have been. Which
stage touches what is known before anything has an address: *stretches* are reserved first, and laid
out when all stages are there (`tinyyolo3.engine.arena`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tinyyolo3.engine.arena import lay_out
from tinyyolo3.engine.cpu.packing import Floats, aligned_floats, blocks
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.engine.layout import Blocked
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.train.cpu.batch_map import BatchMap

#: Gives memory for an arena of so many bytes; tests put pages without access around it.
Allocate = Callable[[int], Floats]


def allocate(size: int) -> Floats:
    """Return memory of so many bytes."""
    return aligned_floats(-(-size // 4))


@dataclass(eq=False)
class Stretch:
    """A reserved stretch of the arena.

    Attributes:
        number: its own, counted through.
        bytes: its size.
        address: where it lies, once the arena is there.
    """

    number: int
    bytes: int
    address: int = 0


@dataclass(frozen=True)
class PlannedMap:
    """A mini-batch's map that has no address yet: [block][image][pixel][lane].

    All images' pixels of a block lie one after the other, so that what treats pixels alike, and the
    matrix kernel, see one long map.

    Attributes:
        stretch: where it will lie.
        images: how many.
        shape: of each image's map.
        stride: bytes from a block to the next.
        first_block: of the stretch's blocks, for a map that is a part of another.
    """

    stretch: Stretch
    images: int
    shape: Shape
    stride: int
    first_block: int = 0

    def placed(self) -> BatchMap:
        """Return the map with its address, once it has one."""
        channels, height, width = self.shape
        address = self.stretch.address + self.first_block * self.stride
        return BatchMap(
            address, self.images, channels, height, width, self.stride, height * width * BLOCK
        )


@dataclass
class Memory:
    """Reserves stretches, and lays them out once.

    Attributes:
        images: of the mini-batch.
        stretches: all that are reserved.
    """

    images: int
    stretches: list[Stretch] = field(default_factory=list)

    def reserve(self, size: int) -> Stretch:
        """Reserve a stretch of so many bytes."""
        self.stretches.append(Stretch(len(self.stretches), size))
        return self.stretches[-1]

    def new_map(self, shape: Shape) -> PlannedMap:
        """Reserve a map of this shape for each image."""
        channels, height, width = shape
        stride = Blocked(LANES).stride((LANES, self.images * height, width))
        return PlannedMap(self.reserve(blocks(channels) * stride), self.images, shape, stride)

    def lay_out(
        self, touched: Sequence[Sequence[Stretch]], slack: int, allocate: Allocate
    ) -> Floats:
        """Give every stretch an address in an arena of its own.

        Args:
            touched: the stretches that each stage reads or writes, in the stages' order.
            slack: bytes behind the last stretch that may be read.
            allocate: where the arena comes from.

        Returns:
            The arena, which must be kept.
        """
        numbers = [{stretch.number for stretch in own} for own in touched]
        sizes = [stretch.bytes for stretch in self.stretches]
        buffers, size = lay_out(numbers, sizes, max(BLOCK, Blocked.alignment))
        arena = allocate(size + slack)
        for stretch, buffer in zip(self.stretches, buffers, strict=True):
            stretch.address = arena.ctypes.data + buffer.offset
        return arena
