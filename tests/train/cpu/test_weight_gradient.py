"""The weight gradient on blocked maps against plain NumPy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.packing import aligned_floats
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.layers.convolution.backward import conv_backward_reference
from tinyyolo3.testing.batches import Batch, run_lowered
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation
from tinyyolo3.train.cpu import weight_gradient
from tinyyolo3.train.cpu.weight_gradient import (
    choose_cut,
    lower_weight_gradient,
    weight_gradient_bytes,
)
from tinyyolo3.train.cpu.window import Window

CHANNELS = st.sampled_from([1, 3, LANES - 1, LANES, 2 * LANES + 3, 4 * LANES, 5 * LANES + 1])


def gradient_of(
    x: np.ndarray, gradient: np.ndarray, window: Window, jobs: int, workers: int = 2
) -> np.ndarray:
    """Return dW by the operations."""
    x_batch, g_batch = Batch.of(x), Batch.of(gradient)
    shape = (gradient.shape[1], x.shape[1], window.size, window.size)
    target = aligned_floats(int(np.prod(shape)) + 1)
    target[:] = np.nan
    size = weight_gradient_bytes(x_batch.map, g_batch.map, window, jobs)
    partials = aligned_floats(size // 4)
    partials[:] = np.nan
    rows = lower_weight_gradient(
        x_batch.map, g_batch.map, window, target.ctypes.data, partials.ctypes.data, jobs
    )
    run_lowered(rows, workers)
    assert np.isnan(target[-1])
    return target[:-1].reshape(shape)


def reference(x: np.ndarray, gradient: np.ndarray, window: Window) -> np.ndarray:
    weights = np.zeros((gradient.shape[1], x.shape[1], window.size, window.size))
    wide = [array.astype(np.float64) for array in (gradient, x)]
    padding = window.padding // window.dilation
    return conv_backward_reference(
        *wide, weights, stride=window.stride, padding=padding, dilation=window.dilation
    )[1]


def check(shape: tuple[int, ...], filters: int, window: Window, jobs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape, np.float32)
    reach = (window.size - 1) * window.dilation
    sides = [
        (side + 2 * window.padding - reach - 1) // step + 1
        for side, step in zip(shape[2:], window.stride, strict=True)
    ]
    gradient = rng.standard_normal((shape[0], filters, *sides), np.float32)
    found = gradient_of(x, gradient, window, jobs)
    magnitude = reference(np.abs(x), np.abs(gradient), window)
    terms = shape[0] * sides[0] * sides[1]
    error = np.abs(found - reference(x, gradient, window))
    assert (error <= summation(magnitude, terms)).all(), error.max()


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(1, 3),
    channels=CHANNELS,
    filters=CHANNELS,
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.sampled_from([1, 2, 3, 4, 5, 7]),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    jobs=st.integers(1, 9),
    chunk=st.sampled_from([4, 30, weight_gradient.CHUNK_PIXELS]),
    seed=seeds(),
)
def test_weight_gradient(
    images: int,
    channels: int,
    filters: int,
    sides: tuple[int, int],
    size: int,
    stride: tuple[int, int],
    padding: int,
    dilation: int,
    jobs: int,
    chunk: int,
    seed: int,
) -> None:
    reach = (size - 1) * dilation + 1
    padding = max(padding, -(-max(0, reach - min(sides)) // 2 // dilation))
    window = Window(size, stride, padding * dilation, dilation)
    if min(sides) + 2 * window.padding < reach:
        window = Window(size, stride, window.padding + dilation, dilation)
    whole, weight_gradient.CHUNK_PIXELS = weight_gradient.CHUNK_PIXELS, chunk
    try:
        check((images, channels, *sides), filters, window, jobs, seed)
    finally:
        weight_gradient.CHUNK_PIXELS = whole


def test_bands_images_and_splits_all_occur() -> None:
    for images, side, parts in ((1, 60, (1, 2, 2)), (5, 9, (5, 1, 1)), (4, 60, (1, 2, 8))):
        x = Batch((images, 8, side, side)).map
        cut = choose_cut(x, x, Window(3, padding=1), 8)
        assert (cut.chunk_images, cut.bands, cut.splits) == parts
        check((images, 8, side, side), 5, Window(3, padding=1), 8, seed=images)


def test_the_sum_does_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 20, 40, 40), np.float32)
    gradient = rng.standard_normal((3, 20, 40, 40), np.float32)
    first, *others = (gradient_of(x, gradient, Window(3, padding=1), 8, n) for n in (1, 2, 5))
    for other in others:
        np.testing.assert_array_equal(first, other)
