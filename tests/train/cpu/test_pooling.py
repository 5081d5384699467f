"""Pooling of blocked mini-batches against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.layers.avgpool import avgpool_backward_reference, avgpool_forward_reference
from tinyyolo3.layers.maxpool import maxpool_backward_reference, maxpool_forward_reference
from tinyyolo3.testing.batches import Batch, run_lowered
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation
from tinyyolo3.train.cpu.pooling import (
    Pooling,
    lower_avgpool,
    lower_avgpool_backward,
    lower_maxpool,
    lower_maxpool_backward,
)


@settings(max_examples=50, deadline=None)
@given(
    images=st.integers(1, 3),
    channels=st.sampled_from([1, LANES, LANES + 3]),
    sides=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    size=st.integers(1, 6),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 5),
    accumulate=st.booleans(),
    gap=st.integers(0, 1),
    seed=seeds(),
)
def test_maxpool(
    images: int,
    channels: int,
    sides: tuple[int, int],
    size: int,
    stride: tuple[int, int],
    padding: int,
    accumulate: bool,
    gap: int,
    seed: int,
) -> None:
    padding = max(min(padding, size - 1), size - min(sides))
    rng = np.random.default_rng(seed)
    # Few different numbers: many windows have several largest ones.
    x = rng.integers(-3, 3, (images, channels, *sides)).astype(np.float32)
    window = Pooling(size, stride, padding)
    options = {"size": size, "stride": stride, "padding": padding}
    y = maxpool_forward_reference(x, **options)
    gradient = rng.integers(-9, 9, y.shape).astype(np.float32)
    x_batch, g_batch = Batch.of(x, gap=gap), Batch.of(gradient, spare=0.0, gap=gap)
    before = rng.integers(-9, 9, x.shape).astype(np.float32)
    target = Batch.of(before, spare=0.0, gap=gap) if accumulate else Batch(x.shape, gap)
    run_lowered(
        lower_maxpool_backward(g_batch.map, x_batch.map, target.map, window, accumulate=accumulate)
    )
    expected = maxpool_backward_reference(gradient, x, **options)
    np.testing.assert_array_equal(target.values(), expected + before * accumulate)
    assert not target.spare().any()
    assert target.touched() == 0
    if padding < size and padding - padding // 2 < size:
        pooled = Batch(y.shape, gap)
        run_lowered(lower_maxpool(x_batch.map, pooled.map, window, jobs=8))
        np.testing.assert_array_equal(pooled.values(), y)
        assert pooled.touched() == 0


def test_darknet_a_window_without_a_number_above_the_lowest_gives_nothing() -> None:
    x = np.full((1, 2, 2, 2), np.nan, np.float32)
    x[0, 1] = -np.inf
    source, target = Batch.of(x), Batch(x.shape)
    gradient = Batch.of(np.ones((1, 2, 1, 1), np.float32))
    window = Pooling(2, (2, 2), 0)
    rows = lower_maxpool_backward(gradient.map, source.map, target.map, window, accumulate=False)
    run_lowered(rows)
    assert not target.values().any()


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("gap", [0, 1])
def test_avgpool(accumulate: bool, gap: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, LANES + 2, 20, 31), np.float32)
    gradient = rng.standard_normal((3, LANES + 2, 1, 1), np.float32)
    before = rng.standard_normal(x.shape, np.float32)
    target = Batch.of(before, spare=0.0, gap=gap) if accumulate else Batch(x.shape, gap)
    g_batch = Batch.of(gradient, spare=0.0, gap=gap)
    run_lowered(lower_avgpool_backward(g_batch.map, target.map, 13, accumulate=accumulate))
    expected = avgpool_backward_reference(gradient, x.shape) + before * accumulate
    magnitude = np.abs(before) + np.abs(gradient)
    assert (np.abs(target.values() - expected) <= summation(magnitude, 2)).all()
    assert not target.spare().any()
    assert target.touched() == 0

    source, pooled = Batch.of(x, gap=gap), Batch(gradient.shape, gap)
    run_lowered(lower_avgpool(source.map, pooled.map))
    mean = np.abs(x).mean(axis=(2, 3), keepdims=True)
    error = np.abs(pooled.values() - avgpool_forward_reference(x))
    assert (error <= summation(mean, 20 * 31)).all()
