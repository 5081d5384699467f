"""The path of pictures on a device, pixels in and boxes out."""

from collections.abc import Generator, Iterable

from tinyyolo3.arrays import ByteArray
from tinyyolo3.engine.cuda.engine import CudaEngine
from tinyyolo3.engine.network import Network
from tinyyolo3.image.geometry import ResizeMode
from tinyyolo3.selection import Selected, Selection


class DevicePipeline:
    """Pictures → network input → heads → boxes, all of it on the device."""

    def __init__(self, engine: CudaEngine) -> None:
        self._engine = engine

    def run(
        self,
        network: Network,
        batches: Iterable[list[ByteArray]],
        resize: ResizeMode,
        selection: Selection,
    ) -> Generator[tuple[ByteArray, Selected]]:
        """Yield each picture and its boxes; see `Pipeline.run`."""
        raise NotImplementedError
