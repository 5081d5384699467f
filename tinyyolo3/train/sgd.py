"""Darknet's stochastic gradient descent with momentum (convolutional_layer.c and connected_layer.c,
update_*_layer).

After a batch of B pictures, whose deltas have been added onto what momentum left in the buffer u,

    u ← u − decay·B·w        for weights; biases and scales do not decay
    w ← w + (rate / B)·u
    u ← momentum·u

With u = −B·v and plain gradients this is v ← momentum·v + gradient + decay·w, w ← w − rate·v: the
gradient is the mean over the batch, and momentum keeps the past update without the past rate.
"""

from typing import Any

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.parallel import compiled, parallel_for
from tinyyolo3.train.options import TrainingOptions

#: A thread's fewest numbers: handing fewer over would take longer than working them off.
GRAIN = 1 << 15


def update_reference(
    array: FloatArray,
    deltas: FloatArray,
    *,
    rate: float,
    options: TrainingOptions,
    decays: bool,
) -> tuple[FloatArray, FloatArray]:
    """Update one learnt array.

    Args:
        array: the parameter.
        deltas: like `array`: what momentum left of the last update, with minus the loss's gradient
            of every picture of the batch added onto it.
        rate: the learning rate.
        options: batch, momentum and decay.
        decays: whether decay applies: to weights.

    Returns:
        The new parameter, and what momentum leaves for the next update, in `array`'s dtype.
    """
    if decays:
        # DARKNET: momentum keeps the decay along with the rest.
        deltas = deltas - options.decay * options.batch * array
    return array + rate / options.batch * deltas, options.momentum * deltas


def update_numba(
    array: FloatArray,
    deltas: FloatArray,
    *,
    rate: float,
    options: TrainingOptions,
    decays: bool,
) -> None:
    """Do what `update_reference` does in place, in one pass and to the same bits.

    Args:
        array: the parameter, C-contiguous; it becomes the new one.
        deltas: as of `update_reference`, C-contiguous; it becomes what momentum leaves.
        rate: the learning rate.
        options: batch, momentum and decay.
        decays: whether decay applies.

    Raises:
        InputError: the arrays are not alike, or not contiguous.
    """
    require_alike("update", array, deltas)
    number = array.dtype.type
    parallel_for(
        _update_in_place if decays else _update_without_decay,
        array.size,
        array.reshape(-1),
        deltas.reshape(-1),
        number(options.decay * options.batch),
        number(rate / options.batch),
        number(options.momentum),
        grain=GRAIN,
    )


def require_alike(name: str, first: FloatArray, second: FloatArray) -> None:
    """Check that two arrays can be gone through side by side, and written, without a copy.

    Raises:
        InputError: they cannot.
    """
    if first.shape != second.shape or first.dtype != second.dtype:
        raise InputError(
            f"{name}: expected two arrays alike, found {first.dtype} of shape {first.shape} and "
            f"{second.dtype} of shape {second.shape}"
        )
    if not (first.flags.c_contiguous and second.flags.c_contiguous):
        raise InputError(f"{name}: the arrays must be C-contiguous, to be changed in place")


@compiled
def _update_in_place(
    start: int, stop: int, array: Any, deltas: Any, decay: Any, step: Any, momentum: Any
) -> None:
    for i in range(start, stop):
        total = deltas[i] - decay * array[i]
        array[i] = array[i] + step * total
        deltas[i] = momentum * total


@compiled
def _update_without_decay(
    start: int, stop: int, array: Any, deltas: Any, _decay: Any, step: Any, momentum: Any
) -> None:
    for i in range(start, stop):
        total = deltas[i]
        array[i] = array[i] + step * total
        deltas[i] = momentum * total
