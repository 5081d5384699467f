"""Activations on blocked maps against plain NumPy."""

import numpy as np
import pytest

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.layers.activation import (
    activation_backward_reference,
    activation_forward_numba,
    activation_forward_reference,
)
from tinyyolo3.testing.batches import Batch, run_lowered
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT32
from tinyyolo3.train.cpu.activations import (
    BY_INPUT,
    lower_activation,
    lower_activation_backward,
)

#: A few hundred pixels in parts, with the corners of all kinds.
SHAPE = (2, LANES + 3, 23, 31)


def inputs(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(SHAPE) * 4).astype(np.float32)
    corners = np.array([0, -0.0, 6, -2, 20, -20, 80, -80, 100, -100, 5.9999995], np.float32)
    x.reshape(-1)[: corners.size] = corners
    return x


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("in_place", [False, True])
def test_forward(kind: str, in_place: bool) -> None:
    x = inputs(0)
    source = Batch.of(x)
    target = source if in_place else Batch(SHAPE)
    rows = lower_activation(source.map, target.map, kind, jobs=7)
    assert bool(rows) == (kind != "linear" or not in_place)
    if rows:
        run_lowered(rows)
    np.testing.assert_array_equal(target.values(), activation_forward_numba(x, kind))
    assert target.touched() == 0
    if not in_place:
        np.testing.assert_array_equal(source.values(), x)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_backward(kind: str) -> None:
    x = inputs(1)
    gradient = np.random.default_rng(2).standard_normal(SHAPE, np.float32)
    y = activation_forward_reference(x, kind)
    batch = Batch.of(gradient, spare=0.0)
    values = Batch.of(x if kind in BY_INPUT else y)
    rows = lower_activation_backward(batch.map, values.map, kind, jobs=7)
    assert bool(rows) == (kind != "linear")
    if rows:
        run_lowered(rows)
    wide = [array.astype(np.float64) for array in (gradient, x, y)]
    expected = activation_backward_reference(*wide, kind)
    scale = np.abs(gradient) * np.maximum(1, np.abs(y if kind not in BY_INPUT else 1))
    assert (np.abs(batch.values() - expected) <= 2 * ELEMENTARY_FLOAT32 * scale).all()
    assert not batch.spare().any()
    assert batch.touched() == 0
