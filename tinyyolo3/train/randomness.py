"""Random numbers that depend on their purpose, a seed and the place in training alone.

So whatever process draws them, in whatever order, they are the same, and training that goes on from
a checkpoint draws what it would have drawn.
"""

import numpy as np

#: Purposes: each has numbers of its own. They are not 0, so that no two keys of different length
#: are the same to NumPy, which pads them with zeros.
PICTURES, CHANGES, SIZES = 1, 2, 3


def generator(purpose: int, seed: int, *place: int) -> np.random.Generator:
    """Return the generator of a place in training.

    Args:
        purpose: one of this module's; each is always asked with as many numbers of `place`.
        seed: of the training, from 0 to 2**32 - 1.
        place: iteration, position in the batch; each below 2**32.
    """
    return np.random.Generator(np.random.PCG64([purpose, seed, *place]))
