"""Small trainings: a cfg of two layers, and batches of noise for it."""

from dataclasses import dataclass

import numpy as np

from tinyyolo3.train.batches import Batch
from tinyyolo3.train.labels import Truths

#: Two classes, two pictures an iteration, six iterations.
CFG = """
[net]
width=32
height=16
batch=2
learning_rate=.01
max_batches=6
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
classes=2
num=2
anchors=6,6, 12,10
"""


@dataclass(frozen=True)
class Noise:
    """Batches of noise for `CFG`, each decided by its iteration alone.

    Attributes:
        sizes_px: width and height of the pictures, in turn.
    """

    sizes_px: tuple[tuple[int, int], ...] = ((32, 16),)

    def batch(self, iteration: int) -> Batch:
        """Return two pictures with two objects each."""
        random = np.random.default_rng(iteration)
        width, height = self.sizes_px[iteration % len(self.sizes_px)]
        truths = tuple(
            Truths(random.uniform(0.2, 0.6, (2, 4)), random.integers(0, 2, 2)) for _ in range(2)
        )
        pictures = random.uniform(0, 1, (2, 3, height, width)).astype(np.float32)
        return Batch(pictures, truths, (width, height))
