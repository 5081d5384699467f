"""Where activations are hard, and how their values are compared."""

from typing import Any

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.kernels import assert_stored

_RELATIVE_ERROR = {
    np.dtype(np.float32): tolerances.ELEMENTARY_FLOAT32,
    np.dtype(np.float64): tolerances.ELEMENTARY_FLOAT64,
}

#: Kinds that round nothing, or one product.
EXACT_KINDS = ("linear", "leaky", "relu", "relu6")


def extreme_values(dtype: type[np.floating[Any]]) -> FloatArray:
    """Return every place where a formula changes branch or a float saturates, from both sides.

    Shape (1, 1, 1, n); infinities, NaN and negative zero are among them.
    """
    places = np.array([0, 1, 2, 6, 20, 87, 88, 89, 103, 709, 745, 1e4], dtype)
    near = [places, np.nextafter(places, dtype(np.inf)), np.nextafter(places, dtype(-np.inf))]
    special = np.array([np.inf, -np.inf, np.nan, -0.0, np.finfo(dtype).tiny], dtype)
    values = np.concatenate([*near, *(-n for n in near), special, np.linspace(-30, 30, 601)])
    return values.astype(dtype).reshape(1, 1, 1, -1)


def assert_activations_close(actual: FloatArray, expected: FloatArray) -> None:
    """Check values within the tolerance of `actual`'s dtype; NaN and infinities must agree.

    Raises:
        AssertionError: they differ.
    """
    undefined = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), undefined)
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(actual[infinite], expected[infinite])
    finite = ~(undefined | infinite)
    error = np.abs(actual[finite].astype(np.float64) - expected[finite])
    magnitude = np.maximum(1, np.abs(expected[finite]))
    assert np.all(error <= _RELATIVE_ERROR[actual.dtype] * magnitude)


def assert_activations_stored(actual: FloatArray, expected: FloatArray) -> None:
    """Check finite activated values that a kernel stored, as floats or rounded to halves.

    Raises:
        AssertionError: they differ.
    """
    error = _RELATIVE_ERROR[np.dtype(np.float32)] * np.maximum(1, np.abs(expected))
    assert_stored(actual, expected, error)
