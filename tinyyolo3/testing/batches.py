"""Operations on blocked mini-batches, run on arrays."""

from collections.abc import Sequence

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.engine.cpu.crew import Crew
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.packing import aligned_floats
from tinyyolo3.engine.cpu.program import CodePointer
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.train.cpu.batch_map import BatchMap

#: What lanes beyond the last channel hold: a finite number that shows wherever it gets into.
SPARE = 1e6


class Batch:
    """A blocked mini-batch in memory of its own, with gaps between blocks and between images.

    Attributes:
        map: where it lies.
    """

    def __init__(self, shape: tuple[int, ...], gap: int = 1) -> None:
        """Make one of NaN.

        Args:
            shape: (N, C, H, W).
            gap: pixels between blocks, and blocks between images.
        """
        images, channels, height, width = shape
        self._distance = height * width + gap
        self._blocks = -(-channels // LANES)
        self._shape = shape
        self._memory = aligned_floats(images * (self._blocks + gap) * self._distance * LANES)
        self._memory[:] = np.nan
        stride = self._distance * BLOCK
        address = self._memory.ctypes.data
        self.map = BatchMap(
            address, images, channels, height, width, stride, (self._blocks + gap) * stride
        )

    @classmethod
    def of(cls, values: FloatArray, spare: float = SPARE, gap: int = 1) -> "Batch":
        """Make one of (N, C, H, W) float32, with `spare` in the lanes beyond the last channel."""
        batch = cls(values.shape, gap)
        images, channels, height, width = values.shape
        filled = np.full((images, batch._blocks * LANES, height, width), spare, np.float32)
        filled[:, :channels] = values
        parts = filled.reshape(images, batch._blocks, LANES, height * width)
        batch._pixels()[...] = parts.swapaxes(2, 3)
        return batch

    def _pixels(self) -> FloatArray:
        """Return the numbers as (N, blocks, pixels, LANES)."""
        whole = self._memory.reshape(self._shape[0], -1, self._distance, LANES)
        return whole[:, : self._blocks, : self._shape[2] * self._shape[3]]

    def _lanes(self) -> FloatArray:
        """Return the numbers as (N, all lanes, H, W)."""
        images, _, height, width = self._shape
        return self._pixels().swapaxes(2, 3).reshape(images, -1, height, width)

    def values(self) -> FloatArray:
        """Return the numbers as (N, C, H, W)."""
        return self._lanes()[:, : self._shape[1]].copy()

    def spare(self) -> FloatArray:
        """Return what the lanes beyond the last channel hold."""
        return self._lanes()[:, self._shape[1] :].copy()

    def touched(self) -> int:
        """Return how many numbers of the gaps between maps are no longer NaN."""
        total = int(np.count_nonzero(~np.isnan(self._memory)))
        return total - int(np.count_nonzero(~np.isnan(self._pixels())))


def run_lowered(rows: Sequence[Lowered], workers: int = 2) -> None:
    """Run lowered operations one after the other, each by all workers."""
    records = [np.zeros(1, row.operation.dtype) for row in rows]
    for row, record in zip(rows, records, strict=True):
        names = row.operation.dtype.names or ()
        assert set(row.record) == set(names), set(row.record) ^ set(names)
        for name, value in row.record.items():
            record[name] = value.address if isinstance(value, CodePointer) else value
    table = np.array(
        [
            (row.operation.address, record.ctypes.data, row.jobs)
            for row, record in zip(rows, records, strict=True)
        ],
        np.int64,
    )
    size = max(row.scratch for row in rows)
    scratches = [aligned_floats(-(-size // 4) + LANES) for _ in range(workers)]
    for scratch in scratches:
        scratch[:] = np.nan
    Crew(scratches, len(rows)).run(table, (table, records))
