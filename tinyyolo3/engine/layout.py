"""Layouts: how a map lies in memory, as far as a planner must know.

A layout answers four questions: how far apart a map's pieces lie, how much memory it takes, where
a channel begins, and which channels may begin a map inside a wider one. The planner needs no more
to join the parts of a route in one map.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from tinyyolo3.layers.shapes import Shape

#: Maps whose rows lie this many bytes apart compete for the same sets of a CPU's cache.
CACHE_SET_BYTES = 1024
FLOAT_BYTES = 4


class Layout(Protocol):
    """How maps of one kind of plan lie in memory."""

    @property
    def alignment(self) -> int:
        """Bytes of which each buffer's offset in the arena is a multiple."""

    @property
    def element_bytes(self) -> int:
        """Return the bytes of a number."""

    def stride(self, shape: Shape) -> int:
        """Return the bytes between the pieces of a map with a buffer of its own."""

    def size(self, shape: Shape, stride: int) -> int:
        """Return the bytes of such a map's buffer."""

    def offset(self, channel: int, stride: int) -> int:
        """Return the bytes from a map's begin to a channel's, one that `begins` accepts."""

    def begins(self, channel: int) -> bool:
        """Return whether a map may begin at a channel of a wider one."""

    def joins(self, channel: int, channels: int, last: bool) -> bool:
        """Return whether a layer may write `channels` channels straight into a wider map.

        Args:
            channel: the first of them.
            channels: their number.
            last: whether they are the wider map's last.
        """


@dataclass(frozen=True)
class Blocked:
    """One picture in blocks of as many channels as a vector has lanes; pieces are blocks.

    (block, row, column, lane), see `tinyyolo3.engine.cpu.layout`. Whoever writes a map writes whole
    blocks.

    Attributes:
        lanes: channels in a block.
    """

    alignment: ClassVar[int] = 64  # a cache line
    element_bytes: ClassVar[int] = FLOAT_BYTES

    lanes: int

    def stride(self, shape: Shape) -> int:
        """Return a block's bytes, a cache line more where blocks would compete for the cache."""
        plain = shape[1] * shape[2] * FLOAT_BYTES * self.lanes
        return plain if plain % CACHE_SET_BYTES else plain + self.alignment

    def size(self, shape: Shape, stride: int) -> int:
        """Return the bytes of all blocks."""
        return -(-shape[0] // self.lanes) * stride

    def offset(self, channel: int, stride: int) -> int:
        """Return where the block begins whose first channel this is."""
        return channel // self.lanes * stride

    def begins(self, channel: int) -> bool:
        """Return whether a block begins here."""
        return channel % self.lanes == 0

    def joins(self, channel: int, channels: int, last: bool) -> bool:
        """Return whether the channels fill whole blocks, or the last block is the map's last."""
        return self.begins(channel) and (last or channels % self.lanes == 0)


@dataclass(frozen=True)
class ChannelsLast:
    """A batch of pictures, the channels of a pixel side by side; pieces are pixels.

    (image, row, column, channel), the pixels one *pitch* apart, a multiple of 16 bytes: so kernels
    read and write four floats or eight halves at a time. What writes a map writes its channels
    alone.

    Attributes:
        images: pictures in the batch.
        element_bytes: of a number: 4, or 2 for halves.
    """

    alignment: ClassVar[int] = 256  # what GPUs fetch and what their memory is allocated in

    images: int
    element_bytes: int = FLOAT_BYTES

    @property
    def group(self) -> int:
        """How many channels are read and written at a time."""
        return 16 // self.element_bytes

    def stride(self, shape: Shape) -> int:
        """Return the pitch."""
        return -(-shape[0] // self.group) * self.group * self.element_bytes

    def size(self, shape: Shape, stride: int) -> int:
        """Return the bytes of all pictures' pixels."""
        return self.images * shape[1] * shape[2] * stride

    def offset(self, channel: int, _stride: int) -> int:
        """Return where the channel lies in the first pixel."""
        return channel * self.element_bytes

    def begins(self, channel: int) -> bool:
        """Return whether channels that are read at once begin here."""
        return channel % self.group == 0

    def joins(self, channel: int, _channels: int, _last: bool) -> bool:
        """Return whether the first channel may begin a map: neighbours stay as they are."""
        return self.begins(channel)
