"""The path of pictures on a device: pixels go up, boxes come down, nothing in between comes back.

Two batches are under way at a time, each in a slot of its own: while the device is busy with one,
the pictures of the next are read and sent, and boxes of the one before are turned into results.
"""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from queue import Empty, LifoQueue

from tinyyolo3.arrays import ByteArray
from tinyyolo3.engine.cuda.engine import CudaEngine
from tinyyolo3.engine.network import Network, check_batch
from tinyyolo3.image.geometry import ResizeMode
from tinyyolo3.pipeline.cpu import check_channels
from tinyyolo3.pipeline.slot import Slot
from tinyyolo3.selection import Selected, Selection

#: Batches under way at a time, of all threads together.
SLOTS = 2


class DevicePipeline:
    """Pictures → network input → heads → boxes that survive, all of it on the device."""

    def __init__(self, engine: CudaEngine) -> None:
        """Make the slots; they take no memory yet."""
        # Last in, first out: picture after picture runs in one slot, the other takes no memory.
        self._free: LifoQueue[Slot] = LifoQueue()
        for _ in range(SLOTS):
            self._free.put(Slot(engine))

    def run(
        self,
        network: Network,
        batches: Iterable[list[ByteArray]],
        resize: ResizeMode,
        selection: Selection,
    ) -> Generator[tuple[ByteArray, Selected]]:
        """Yield each picture and its boxes; see `Pipeline.run`."""
        graph = network.graph
        check_channels(graph.input_shape[0])
        under_way: deque[tuple[Slot, list[ByteArray]]] = deque()
        try:
            for pictures in batches:
                check_batch(len(pictures), graph)
                slot = self._take(wait=not under_way)
                while slot is None:  # whoever waits for a slot holds none
                    yield from self._collect(*under_way.popleft())
                    slot = self._take(wait=not under_way)
                under_way.append((slot, pictures))
                slot.submit(graph, pictures, resize, selection)
            while under_way:
                yield from self._collect(*under_way.popleft())
        finally:
            with ExitStack() as leaving:  # all slots come back, whatever goes wrong in one
                for slot, _ in under_way:
                    leaving.callback(self._free.put, slot)
                    leaving.callback(slot.wait)

    def _take(self, wait: bool) -> Slot | None:
        """Return a free slot, waiting for one if need be, or else None if there is none."""
        try:
            return self._free.get(block=wait)
        except Empty:
            return None

    def _collect(
        self, slot: Slot, pictures: Sequence[ByteArray]
    ) -> Iterable[tuple[ByteArray, Selected]]:
        try:
            found = slot.collect()
        finally:
            self._free.put(slot)
        return zip(pictures, found, strict=True)
