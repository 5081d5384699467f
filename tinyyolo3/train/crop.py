"""Which part of a picture fills the network's input (AlexeyAB's data.c, load_data_detection)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Crop:
    """A rectangle of whole pixels that is resized to the input, and then flipped or not.

    It may lie beyond the picture on any side, and its aspect ratio is not kept.

    Attributes:
        picture_size_px: width and height of the picture.
        left: px that are cut off the picture's left side, before it is flipped; likewise the
            others. Negative where the crop reaches beyond the picture.
        right: see `left`.
        top: see `left`.
        bottom: see `left`.
        flipped: left and right are exchanged in the input.
    """

    picture_size_px: tuple[int, int]
    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0
    flipped: bool = False

    @property
    def width(self) -> int:
        """Columns of the crop, px of the picture."""
        return self.picture_size_px[0] - self.left - self.right

    @property
    def height(self) -> int:
        """Rows of the crop, px of the picture."""
        return self.picture_size_px[1] - self.top - self.bottom

    @property
    def is_within(self) -> bool:
        """Whether nothing of it lies beyond the picture."""
        return min(self.left, self.right, self.top, self.bottom) >= 0

    def corners_of(self, corners_unit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Carry boxes of the picture into the crop (data.c, correct_boxes).

        Args:
            corners_unit: (N, 2, 2): upper left and lower right corners (x, y), fractions of the
                picture.

        Returns:
            (N, 2, 2), fractions of the crop, not cut at its borders.
        """
        corners_px = corners_unit * self.picture_size_px
        found = (corners_px - (self.left, self.top)) / (self.width, self.height)
        if self.flipped:
            found[:, :, 0] = 1 - found[:, ::-1, 0]
        return np.asarray(found, np.float64)
