"""The exponential moving average of what is learnt: steadier than any single iteration's.

After the t-th update, from 1, with p the parameter (or a running statistic) and a its average,

    a ← d·a + (1 − d)·p,   d = min(decay, (1 + t) / (10 + t)).

With the growing d the first, bad parameters are forgotten soon (Polyak and Juditsky, 1992, average
iterates; the warm-up is TensorFlow's, ExponentialMovingAverage with num_updates).
"""

from typing import Any

from tinyyolo3.arrays import FloatArray
from tinyyolo3.parallel import compiled, parallel_for
from tinyyolo3.train.sgd import GRAIN, require_alike


def average_decay(decay: float, updates: int) -> float:
    """Return d, what the average keeps of itself after that many updates."""
    return min(decay, (1 + updates) / (10 + updates))


def average_reference(average: FloatArray, array: FloatArray, decay: float) -> FloatArray:
    """Return the average after one more array.

    Args:
        average: the average so far.
        array: like it; what comes in.
        decay: d, from 0 to 1.

    Returns:
        A new array of their dtype.
    """
    return decay * average + (1 - decay) * array


def average_numba(average: FloatArray, array: FloatArray, decay: float) -> None:
    """Do what `average_reference` does in place, in one pass and to the same bits.

    Args:
        average: the average so far, C-contiguous; it becomes the new one.
        array: like it.
        decay: d, from 0 to 1.

    Raises:
        InputError: the arrays are not alike, or not contiguous.
    """
    require_alike("average", average, array)
    number = average.dtype.type
    parallel_for(
        _average_in_place,
        average.size,
        average.reshape(-1),
        array.reshape(-1),
        number(decay),
        number(1 - decay),
        grain=GRAIN,
    )


@compiled
def _average_in_place(start: int, stop: int, average: Any, array: Any, keep: Any, new: Any) -> None:
    for i in range(start, stop):
        average[i] = keep * average[i] + new * array[i]
