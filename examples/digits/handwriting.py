"""Scikit-learn's handwritten digits, and who is trained on.

1,797 digits of 8 × 8 grey levels by 13 people: the test half of "Optical Recognition of Handwritten
Digits" (E. Alpaydin and C. Kaynak, UCI, 1998). It does not say who wrote which, but digits of one
hand stand together, so that the last ones are of hands that wrote few of the others.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from tinyyolo3.arrays import FloatArray, IntArray

#: The last digits, which nothing but an evaluation sees.
UNSEEN_WRITERS = 180
#: Digits of the others that nothing but an evaluation sees.
HELD_OUT = 240
_SPLIT_SEED = 7


@cache
def handwriting() -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the pictures (1797, 8, 8), float32, 0 for paper and 1 for ink, and their digits."""
    data = load_digits()
    pictures: FloatArray = np.asarray(data.images, np.float32) / 16
    return pictures, np.asarray(data.target, np.int64)


def split() -> dict[str, IntArray]:
    """Return the positions of the digits of each part: "train", "held out" and "unseen writers"."""
    count = len(handwriting()[1])
    others = count - UNSEEN_WRITERS
    shuffled = np.random.default_rng(_SPLIT_SEED).permutation(others)
    return {
        "train": shuffled[HELD_OUT:],
        "held out": shuffled[:HELD_OUT],
        "unseen writers": np.arange(others, count),
    }
