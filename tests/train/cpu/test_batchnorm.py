"""Batch normalisation on blocked maps against plain NumPy."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.packing import aligned_floats
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.layers.activation import activation_backward_reference, activation_forward_reference
from tinyyolo3.layers.batchnorm import batchnorm_forward_reference
from tinyyolo3.layers.batchnorm_train import (
    batchnorm_train_backward_reference,
    batchnorm_train_forward_reference,
)
from tinyyolo3.testing.batches import Batch, run_lowered
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation
from tinyyolo3.train.cpu.batchnorm import (
    Normalization,
    coefficient_bytes,
    lower_batchnorm,
    lower_batchnorm_backward,
    lower_bias_gradient,
    lower_given_batchnorm,
    sum_bytes,
)

CHANNELS = st.sampled_from([1, 3, LANES, 2 * LANES + 3])
SLOPES = {"linear": 1.0, "leaky": 0.1, "relu": 0.0}
SHAPES = {
    "images": st.integers(1, 4),
    "channels": CHANNELS,
    "sides": st.tuples(st.integers(1, 30), st.integers(2, 30)),
    "kind": st.sampled_from(list(SLOPES)),
    "offset": st.sampled_from([0.0, 1000.0]),
    "jobs": st.integers(1, 12),
    "seed": seeds(),
}


@dataclass
class Layer:
    """Parameters and memory of one batch norm."""

    channels: int
    seed: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.scales = rng.uniform(0.5, 2, self.channels).astype(np.float32)
        self.biases = rng.standard_normal(self.channels, np.float32)
        self.mean = np.full(self.channels + 1, np.nan, np.float32)
        self.variance = np.full(self.channels + 1, np.nan, np.float32)
        self.of_scales = np.full(self.channels + 1, np.nan, np.float32)
        self.of_biases = np.full(self.channels + 1, np.nan, np.float32)

    def own(self, batch: Batch) -> Normalization:
        self.coefficients = aligned_floats(coefficient_bytes(batch.map) // 4)
        self.coefficients[:] = np.nan
        arrays = (self.scales, self.biases, self.mean, self.variance, self.coefficients)
        return Normalization(*(array.ctypes.data for array in arrays))


def draw(
    images: int, channels: int, sides: tuple[int, int], offset: float, seed: int
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((images, channels, *sides)) + offset).astype(np.float32)


def exact(x: np.ndarray, layer: Layer) -> tuple[np.ndarray, object]:
    wide = [array.astype(np.float64) for array in (x, layer.scales, layer.biases)]
    return batchnorm_train_forward_reference(*wide)


def rounding(x: np.ndarray) -> np.ndarray:
    """Bound the error of x̂: the mean is rounded once, as large as it is, and divided."""
    spread = np.sqrt(x.var(axis=(0, 2, 3), dtype=np.float64) + 1e-5)
    size = np.abs(x).max(axis=(0, 2, 3)) / spread + 8
    return summation(size, 4)[:, None, None]


@settings(max_examples=40, deadline=None)
@given(**SHAPES)
def test_forward_and_backward(
    images: int,
    channels: int,
    sides: tuple[int, int],
    kind: str,
    offset: float,
    jobs: int,
    seed: int,
) -> None:
    x, layer = draw(images, channels, sides, offset, seed), Layer(channels, seed)
    gradient = draw(images, channels, sides, 0.0, seed + 1)
    x_batch, y_batch, g_batch = Batch.of(x), Batch(x.shape), Batch.of(gradient)
    own = layer.own(x_batch)
    sums = aligned_floats(sum_bytes(x_batch.map, jobs) // 4)
    slope = SLOPES[kind]
    at = sums.ctypes.data
    forward = lower_batchnorm(x_batch.map, y_batch.map, own, slope, at, jobs)
    backward = lower_batchnorm_backward(
        g_batch.map, x_batch.map, g_batch.map, own, slope, layer.of_scales.ctypes.data,
        layer.of_biases.ctypes.data, at, jobs,
    )  # fmt: skip
    run_lowered([*forward, *backward])

    z, moments = exact(x, layer)
    y = y_batch.values()
    bound = (np.abs(layer.scales) + np.abs(layer.biases) + 1)[:, None, None] * rounding(x)
    assert (np.abs(y - activation_forward_reference(z, kind)) <= bound).all()
    np.testing.assert_allclose(layer.mean[:-1], moments.mean, rtol=summation(1, 1))
    variance = moments.variance
    small = summation(variance + moments.mean**2 * np.finfo(np.float32).eps, 4)
    assert (np.abs(layer.variance[:-1] - variance) <= small).all()
    assert np.isnan([layer.mean[-1], layer.of_scales[-1], layer.of_biases[-1]]).all()
    assert not y_batch.spare().any()
    assert not g_batch.spare().any()
    assert y_batch.touched() == g_batch.touched() == 0

    # The slopes of our own output: within a rounding of zero the exact ones may differ.
    kept = activation_backward_reference(gradient, y, y, kind).astype(np.float64)
    wide = batchnorm_train_backward_reference(kept, moments, layer.scales.astype(np.float64))
    factor = (layer.scales / moments.divisor)[:, None, None]
    count = images * sides[0] * sides[1]
    large = 1 + np.abs(kept).max() * (1 + np.abs(moments.normalized)) ** 2
    assert (np.abs(g_batch.values() - wide[0]) <= factor * large * rounding(x) * 2).all()
    off = rounding(x)[:, 0, 0] * np.abs(kept).sum(axis=(0, 2, 3)) + summation(1, count)
    assert (np.abs(layer.of_scales[:-1] - wide[1]) <= off * 4).all()
    magnitude = np.abs(kept).sum(axis=(0, 2, 3))
    assert (np.abs(layer.of_biases[:-1] - wide[2]) <= summation(magnitude, 1)).all()


@settings(max_examples=15, deadline=None)
@given(**SHAPES)
def test_given_moments(
    images: int,
    channels: int,
    sides: tuple[int, int],
    kind: str,
    offset: float,
    jobs: int,
    seed: int,
) -> None:
    x, layer = draw(images, channels, sides, offset, seed), Layer(channels, seed)
    batch = Batch.of(x)
    layer.mean[:-1] = np.random.default_rng(seed).standard_normal(channels) + offset
    layer.variance[:-1] = np.random.default_rng(seed).uniform(0.2, 3, channels)
    run_lowered(lower_given_batchnorm(batch.map, batch.map, layer.own(batch), SLOPES[kind], jobs))
    parameters = (layer.mean[:-1], layer.variance[:-1], layer.scales, layer.biases)
    wide = [array.astype(np.float64) for array in (x, *parameters)]
    expected = activation_forward_reference(batchnorm_forward_reference(*wide), kind)
    magnitude = np.abs(expected) + 16 + np.abs(layer.biases)[:, None, None]
    assert (np.abs(batch.values() - expected) <= summation(magnitude, 4)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2 * LANES + 1, 17, 31)])
def test_bias_gradient(shape: tuple[int, ...]) -> None:
    gradient = draw(shape[0], shape[1], shape[2:], 3.0, 0)
    batch, found = Batch.of(gradient), np.full(shape[1] + 1, np.nan, np.float32)
    sums = aligned_floats(sum_bytes(batch.map, 8) // 4)
    run_lowered(lower_bias_gradient(batch.map, found.ctypes.data, sums.ctypes.data, 8))
    expected = gradient.sum(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(found[:-1], expected)
    assert np.isnan(found[-1])
