"""The network's size in each iteration of multi-scale training (detector.c, train_detector).

Every ten iterations a factor is drawn between 1/f and f, for ``random=f``, and with it each side of
the cfg becomes

    round(factor · side / step + 1) · step.
"""

from dataclasses import dataclass

import numpy as np

from tinyyolo3.errors import InputError
from tinyyolo3.train.draws import scale_between
from tinyyolo3.train.randomness import SIZES, generator

#: Iterations of one size.
ITERATIONS = 10
#: This many iterations before the end, the size is the largest for good.
LAST_ITERATIONS = 100


@dataclass(frozen=True)
class SizeSchedule:
    """What decides the sizes.

    Attributes:
        size_px: the cfg's width and height.
        factor: f above; 1 keeps the cfg's size.
        step_px: sizes are multiples of it.
        max_batches: iterations of the whole training; 0 if that is not known.
        seed: of the draws, which depend on nothing else.
    """

    size_px: tuple[int, int]
    factor: float = 1.0
    step_px: int = 32
    max_batches: int = 0
    seed: int = 0

    def size(self, iteration: int) -> tuple[int, int]:
        """Return the network's width and height in an iteration; the first is 1.

        Raises:
            InputError: `iteration` is less than 1.
        """
        if iteration < 1:
            raise InputError(f"iterations count from 1, not {iteration}")
        if self.factor == 1:
            return self.size_px
        block = (iteration - 1) // ITERATIONS
        # DARKNET: the first size is the largest, to see whether memory suffices, and so are the
        # last ones, for the running mean and variance.
        late = self.max_batches and block * ITERATIONS > self.max_batches - LAST_ITERATIONS
        if block == 0 or late:
            return self.largest
        random = generator(SIZES, self.seed, block)
        inverted = bool(random.random() < 0.5)
        factor = scale_between(self.factor, random.random(), inverted=inverted)
        found = self._scaled(factor)
        if factor < 1 and (found[0] > self.size_px[0] or found[1] > self.size_px[1]):
            return self.size_px
        return found

    @property
    def largest(self) -> tuple[int, int]:
        """The largest size that is drawn."""
        return self._scaled(max(self.factor, 1 / self.factor)) if self.factor != 1 else self.size_px

    def _scaled(self, factor: float) -> tuple[int, int]:
        # DARKNET: the 1 makes sizes a step larger than the factor says; 416 becomes 448 at 1.
        width, height = (
            max(1, _rounded(factor * side / self.step_px + 1)) * self.step_px
            for side in self.size_px
        )
        return width, height


def _rounded(value: float) -> int:
    """Return the nearest whole number, halves up, as C's roundl; Python's go to even ones."""
    return int(np.floor(value + 0.5))
