"""The weight gradient of a picture's convolution against plain NumPy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.packing import aligned_floats
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.layers.convolution.backward import conv_backward_reference
from tinyyolo3.testing.batches import Batch, run_lowered
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation
from tinyyolo3.train.cpu import picture_gradient
from tinyyolo3.train.cpu.picture_gradient import (
    lower_picture_gradient,
    picture_gradient_bytes,
    serves_picture,
)
from tinyyolo3.train.cpu.window import Window


def gradient_of(x: np.ndarray, gradient: np.ndarray, window: Window, jobs: int) -> np.ndarray:
    x_batch, g_batch = Batch.of(x), Batch.of(gradient)
    assert serves_picture(x_batch.map, window)
    shape = (gradient.shape[1], x.shape[1], 3, 3)
    target = aligned_floats(int(np.prod(shape)) + 1)
    target[:] = np.nan
    size = picture_gradient_bytes(x_batch.map, g_batch.map, window, jobs)
    partials = aligned_floats(size // 4)
    partials[:] = np.nan
    at = (target.ctypes.data, partials.ctypes.data)
    run_lowered(lower_picture_gradient(x_batch.map, g_batch.map, window, *at, jobs))
    assert np.isnan(target[-1])
    return target[:-1].reshape(shape)


@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(1, 3),
    channels=st.integers(1, 3),
    filters=st.sampled_from([1, LANES, 2 * LANES + 3]),
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    jobs=st.integers(1, 9),
    band=st.sampled_from([4, 30, picture_gradient.BAND_PIXELS]),
    seed=seeds(),
)
def test_picture_gradient(
    images: int,
    channels: int,
    filters: int,
    sides: tuple[int, int],
    stride: tuple[int, int],
    padding: int,
    dilation: int,
    jobs: int,
    band: int,
    seed: int,
) -> None:
    while min(sides) + 2 * padding * dilation <= 2 * dilation:
        padding += 1
    window = Window(3, stride, padding * dilation, dilation)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((images, channels, *sides), np.float32)
    out = [
        (side + 2 * window.padding - 2 * dilation - 1) // step + 1
        for side, step in zip(sides, stride, strict=True)
    ]
    gradient = rng.standard_normal((images, filters, *out), np.float32)
    whole, picture_gradient.BAND_PIXELS = picture_gradient.BAND_PIXELS, band
    try:
        found = gradient_of(x, gradient, window, jobs)
    finally:
        picture_gradient.BAND_PIXELS = whole

    def reference(x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        wide = [array.astype(np.float64) for array in (gradient, x)]
        weights = np.zeros((filters, channels, 3, 3))
        return conv_backward_reference(
            *wide, weights, stride=stride, padding=padding, dilation=dilation
        )[1]

    error = np.abs(found - reference(x, gradient))
    magnitude = reference(np.abs(x), np.abs(gradient))
    assert (error <= summation(magnitude, images * out[0] * out[1])).all()
