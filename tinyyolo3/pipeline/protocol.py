"""What the detector asks of the path that its pictures take."""

from collections.abc import Generator, Iterable
from typing import Protocol

from tinyyolo3.arrays import ByteArray
from tinyyolo3.engine.network import Network
from tinyyolo3.image.geometry import ResizeMode
from tinyyolo3.selection import Selected, Selection


class Pipeline(Protocol):
    """A way from pictures to boxes."""

    def run(
        self,
        network: Network,
        batches: Iterable[list[ByteArray]],
        resize: ResizeMode,
        selection: Selection,
    ) -> Generator[tuple[ByteArray, Selected]]:
        """Yield each picture and the boxes to report for it, in order.

        Close the generator to have what is under way come to its end.

        Args:
            network: a network with heads.
            batches: pictures (H, W, 3) that go through it at once.
            resize: how they are fitted to its input.
            selection: which boxes to report.

        Raises:
            InputError: the network takes another number of channels than pictures have.
        """
