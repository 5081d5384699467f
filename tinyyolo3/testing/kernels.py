"""Running a layer's kernel on NumPy arrays, so that tests read as those of any other function."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap, download_map, empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.testing import tolerances

#: How many numbers wider than its channels a map may be in memory.
margins = st.sampled_from([0, 0, 1, 4, 5, 8])

#: Channels of small maps: kernels take four or, of halves, eight at once where that divides them.
channel_counts = st.sampled_from([1, 2, 3, 4, 4, 5, 8, 8, 12, 16, 20, 37])


def kernel_shapes(*, max_side: int = 12) -> st.SearchStrategy[tuple[int, int, int, int]]:
    """Draw (N, C, H, W) of small maps."""
    sides = st.integers(1, max_side)
    return st.tuples(st.integers(1, 2), channel_counts, sides, sides)


def kernel_map(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Return normally distributed values as kernels take them: float32, C-contiguous."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def kernel_maps(*, max_side: int = 12) -> st.SearchStrategy[NDArray[np.float32]]:
    """Draw a small map, (N, C, H, W), as kernels take it."""
    return st.builds(kernel_map, kernel_shapes(max_side=max_side), st.integers(0, 2**32 - 1))


#: The types of maps' numbers. Halves are computed with as floats, and rounded when they are stored.
elements = st.sampled_from([np.float32, np.float16])


def assert_stored(actual: NDArray[Any], expected: NDArray[Any], bound: FloatArray | float) -> None:
    """Compare a kernel's map with exact numbers, allowing for the rounding to its own type.

    Args:
        actual: as the kernel stored it, float32 or float16.
        expected: float64, or floats that are exact.
        bound: how far the float that was stored may be off; 0 asks for that float's rounding.
    """
    if not np.any(bound):
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(actual, expected.astype(actual.dtype))
        return
    if actual.dtype == np.float16:
        bound = bound + tolerances.rounded_to_half(np.abs(expected) + bound)
    assert np.all(np.abs(actual - expected) <= bound)


def run_on_maps(
    target: Target,
    launch: Callable[..., None],
    inputs: Sequence[NDArray[Any]],
    shape: tuple[int, int, int, int],
    margin: int = 0,
    dtype: DTypeLike | None = None,
) -> NDArray[Any]:
    """Return the output map of a launch, (N, C, H, W), after checking what lies beside it.

    Args:
        target: where to run.
        launch: called with the maps of the inputs and of the output.
        inputs: (N, C, H, W).
        shape: the output's, (N, C, H, W).
        margin: how many numbers each pixel of each map is followed by that belong to others.
        dtype: the output's; when None the first input's, or float32 without any.
    """
    maps = [upload_map(target, x, x.shape[1] + margin) for x in inputs]
    images, channels, height, width = shape
    if dtype is None:
        dtype = inputs[0].dtype if inputs else np.float32
    pitch = channels + margin
    out = empty_map(target, images, height, width, channels, pitch, dtype)
    if margin:
        sentinel = np.full(target.download(out.data).size, 7, dtype)
        out = DeviceMap(target.upload(sentinel), images, height, width, channels, pitch)
    launch(*maps, out)
    target.synchronize()
    rows = np.full(images * height * width * pitch, 7, dtype)
    found = target.download(out.data)
    rows[: found.size] = found
    assert (rows.reshape(-1, pitch)[:, channels:] == 7).all(), "the kernel writes beside its map"
    return download_map(target, out)
