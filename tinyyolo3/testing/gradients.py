"""Gradients against finite differences, in float64."""

from collections.abc import Callable, Sequence

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.testing import tolerances

#: How far a function is followed along a random direction, to either side.
STEP = 1e-7


def assert_gradients(
    forward: Callable[..., FloatArray],
    backward: Callable[[FloatArray], Sequence[FloatArray]],
    arrays: Sequence[FloatArray],
    seed: int,
) -> None:
    """Check a layer's backward pass by central differences along one random direction per array.

    The loss is the sum of the layer's results, each times a random number, so that the gradient
    it hands back is that number. Along a direction d it changes by Σ d · ∂loss/∂x.

    Args:
        forward: takes `arrays` and returns the layer's result.
        backward: takes ∂loss/∂result and returns the gradient of each of `arrays`.
        arrays: float64, farther than some steps from kinks and ties.
        seed: of the random numbers.

    Raises:
        AssertionError: a gradient has another shape or dtype than its array, or is another one
            than the differences say.
    """
    generator = np.random.default_rng(seed)
    result = forward(*arrays)
    gradient = generator.standard_normal(result.shape)
    gradients = backward(gradient)
    for place, (array, found) in enumerate(zip(arrays, gradients, strict=True)):
        assert found.shape == array.shape
        assert found.dtype == np.float64
        direction = generator.standard_normal(array.shape)
        ahead, behind = (
            forward(*arrays[:place], array + step * direction, *arrays[place + 1 :])
            for step in (STEP, -STEP)
        )
        measured = np.sum(gradient * (ahead - behind)) / (2 * STEP)
        terms = found * direction
        # What is rounded away grows with the results, also where gradients cancel.
        magnitude = np.sum(np.abs(terms)) + np.sum(np.abs(gradient * result))
        error = abs(np.sum(terms) - measured)
        assert error <= tolerances.GRADIENT * magnitude, f"argument {place} is off by {error}"
