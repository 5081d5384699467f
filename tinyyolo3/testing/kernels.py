"""Running a layer's kernel on NumPy arrays, so that tests read as those of any other function."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.cuda.maps import DeviceMap, download_map, empty_map, upload_map
from tinyyolo3.cuda.target import Target

#: How many numbers wider than its channels a map may be in memory.
margins = st.sampled_from([0, 0, 1, 4, 5])

#: Channels of small maps: kernels take four at once where they divide by four.
channel_counts = st.sampled_from([1, 2, 3, 4, 4, 5, 8, 8, 12, 20, 37])


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


def run_on_maps(
    target: Target,
    launch: Callable[..., None],
    inputs: Sequence[NDArray[Any]],
    shape: tuple[int, int, int, int],
    margin: int = 0,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Return the output map of a launch, (N, C, H, W), after checking what lies beside it.

    Args:
        target: where to run.
        launch: called with the maps of the inputs and of the output.
        inputs: (N, C, H, W).
        shape: the output's, (N, C, H, W).
        margin: how many numbers each pixel of each map is followed by that belong to others.
        dtype: the output's.
    """
    maps = [upload_map(target, x, x.shape[1] + margin) for x in inputs]
    images, channels, height, width = shape
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
