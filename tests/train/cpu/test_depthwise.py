"""The weight gradient of depthwise convolutions on blocked maps against plain NumPy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.packing import aligned_floats
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.layers.convolution.backward import conv_backward_reference
from tinyyolo3.testing.batches import Batch, run_lowered
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation
from tinyyolo3.train.cpu.depthwise import depthwise_gradient_bytes, lower_depthwise_gradient
from tinyyolo3.train.cpu.window import Window


@settings(max_examples=50, deadline=None)
@given(
    images=st.integers(1, 3),
    channels=st.sampled_from([1, LANES, LANES + 3]),
    sides=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size=st.integers(1, 5),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    seed=seeds(),
)
def test_depthwise_weight_gradient(
    images: int,
    channels: int,
    sides: tuple[int, int],
    size: int,
    stride: tuple[int, int],
    padding: int,
    dilation: int,
    seed: int,
) -> None:
    reach = (size - 1) * dilation
    while reach >= min(sides) + 2 * padding * dilation:
        padding += 1
    window = Window(size, stride, padding * dilation, dilation)
    out = [
        (side + 2 * window.padding - reach - 1) // step + 1
        for side, step in zip(sides, stride, strict=True)
    ]
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((images, channels, *sides), np.float32)
    gradient = rng.standard_normal((images, channels, *out), np.float32)
    x_batch, g_batch = Batch.of(x), Batch.of(gradient)
    target = aligned_floats(channels * size * size + 1)
    target[:] = np.nan
    partials = aligned_floats(depthwise_gradient_bytes(g_batch.map, window) // 4)
    partials[:] = np.nan
    run_lowered(
        lower_depthwise_gradient(
            x_batch.map, g_batch.map, window, target.ctypes.data, partials.ctypes.data
        )
    )
    weights = np.zeros((channels, 1, size, size))

    def reference(x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        wide = [array.astype(np.float64) for array in (gradient, x)]
        return conv_backward_reference(
            *wide, weights, stride=stride, padding=padding, dilation=dilation, groups=channels
        )[1]

    error = np.abs(target[:-1].reshape(weights.shape) - reference(x, gradient))
    magnitude = reference(np.abs(x), np.abs(gradient))
    assert (error <= summation(magnitude, images * out[0] * out[1])).all()
    assert np.isnan(target[-1])
