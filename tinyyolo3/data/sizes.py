"""How large a set's boxes are, counted as they are read: memory does not grow with the set."""

import math

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.data.samples import Sample

#: Bins to an octave: each is 19 % wider than the one before.
BINS_PER_OCTAVE = 4


class BoxSizes:
    """Counts of boxes by width and height, in pixels of a network's input.

    The picture is stretched to the input, as Darknet counts for anchors (detector.c calc_anchors):
    a box's width is its share of the picture's times the input's. Boxes without area are passed
    over, and what is beyond the picture is not counted with a box's size.

    Attributes:
        input_px: width and height of the network's input.
        edges_px: (B + 1,) the bins' edges, a quarter of an octave apart: 1, 1.19, ..., 2, ...,
            up to the power of two that holds the input. Smaller boxes are in the first bin.
        widths: (B,) counts.
        heights: (B,) counts.
        sides: (B,) counts of √(width × height).
        width_by_height: (B, B) counts by width (rows) and height (columns).
    """

    def __init__(self, input_px: tuple[int, int]) -> None:
        octaves = max(1, math.ceil(math.log2(max(input_px))))
        bins = octaves * BINS_PER_OCTAVE
        self.input_px = input_px
        self.edges_px = 2.0 ** (np.arange(bins + 1) / BINS_PER_OCTAVE)
        self.widths, self.heights, self.sides = np.zeros((3, bins), np.int64)
        self.width_by_height = np.zeros((bins, bins), np.int64)

    @property
    def total(self) -> int:
        """How many boxes were counted."""
        return int(self.widths.sum())

    def add(self, sample: Sample) -> None:
        """Count a picture's boxes."""
        picture_px = np.array((sample.width, sample.height), np.float64)
        corners_unit = np.clip(sample.boxes_xyxy_px.reshape(-1, 2, 2) / picture_px, 0, 1)
        sizes_px = (corners_unit[:, 1] - corners_unit[:, 0]) * self.input_px
        sizes_px = sizes_px[(sizes_px > 0).all(axis=1)]
        width, height = self._bins(sizes_px).T
        np.add.at(self.widths, width, 1)
        np.add.at(self.heights, height, 1)
        np.add.at(self.sides, self._bins(np.sqrt(sizes_px.prod(axis=1))), 1)
        np.add.at(self.width_by_height, (width, height), 1)

    def _bins(self, sizes_px: NDArray[np.float64]) -> NDArray[np.int64]:
        places = np.searchsorted(self.edges_px, sizes_px, side="right") - 1
        return np.clip(places, 0, len(self.widths) - 1).astype(np.int64)
