"""Darknet's stochastic gradient descent with momentum (convolutional_layer.c and connected_layer.c,
update_*_layer).

After a batch of B pictures, whose deltas have been added onto what momentum left in the buffer u,

    u ← u − decay·B·w        for weights; biases and scales do not decay
    w ← w + (rate / B)·u
    u ← momentum·u

With u = −B·v and plain gradients this is v ← momentum·v + gradient + decay·w, w ← w − rate·v: the
gradient is the mean over the batch, and momentum keeps the past update without the past rate.
"""

from tinyyolo3.arrays import FloatArray
from tinyyolo3.train.options import TrainingOptions


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
