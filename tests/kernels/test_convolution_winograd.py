"""kernels/convolution_winograd.cu against the plain reference."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cuda.maps import DeviceMap, empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_tiles import INSTANCES, SPLIT_TILES, Tile
from tinyyolo3.layers.convolution.cuda_winograd import (
    FILTER_TRANSFORMS,
    Patches,
    conv_forward_winograd_cuda,
    pack_winograd,
)
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.kernels import margins, run_on_maps
from tinyyolo3.testing.strategies import normal_map, seeds

SMALL = min(INSTANCES, key=lambda tile: tile.pixels * tile.filters)
#: Bᵀ and Aᵀ of Lavin and Gray, sections 4.1 and 4.3, which the kernels have as sums.
INPUT_TRANSFORMS = {
    2: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    4: np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
}
OUTPUT_TRANSFORMS = {
    2: np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
    4: np.array(
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    ),
}


def magnitude(x: np.ndarray, weights: np.ndarray, padding: int, outputs: int) -> np.ndarray:
    """Return what `tolerances.winograd` asks for, of every output."""
    images, _, height, width = x.shape
    rows, columns = height + 2 * padding - 2, width + 2 * padding - 2
    g, b, a = (
        np.abs(matrices[outputs])
        for matrices in (FILTER_TRANSFORMS, INPUT_TRANSFORMS, OUTPUT_TRANSFORMS)
    )
    filters = g @ np.abs(weights).astype(np.float64) @ g.T
    padded = np.pad(np.abs(x), ((0, 0), (0, 0), *[(padding, padding + outputs)] * 2))
    result = np.zeros((images, len(weights), rows + outputs, columns + outputs))
    for i in range(0, rows, outputs):
        for j in range(0, columns, outputs):
            patch = b @ padded[:, :, i : i + outputs + 2, j : j + outputs + 2] @ b.T
            sums = np.einsum("ncij,fcij->nfij", patch, filters)
            result[:, :, i : i + outputs, j : j + outputs] = a @ sums @ a.T
    return result[:, :, :rows, :columns]


def launch(
    target: Target,
    weights: np.ndarray,
    biases: np.ndarray,
    residual: np.ndarray | None,
    x: DeviceMap,
    out: DeviceMap,
    **options: Any,
) -> None:
    outputs = options["outputs"]
    patches = Patches(outputs, out.images, out.height, out.width, x.channels, out.channels)
    conv_forward_winograd_cuda(
        *(target, x, target.upload(pack_winograd(weights, outputs)), target.upload(biases), out),
        residual=None if residual is None else upload_map(target, residual, out.channels + 3),
        workspace=new_workspace(target, SPLIT_TILES + patches.workspace_floats),
        **options,
    )


def check(
    target: Target,
    x: np.ndarray,
    weights: np.ndarray,
    activation: str,
    padding: int,
    outputs: int,
    tile: Tile,
    seed: int,
    residual: bool,
    margin: int,
) -> None:
    biases = normal_map((len(weights),), np.float32, seed + 2)
    wide = [array.astype(np.float64) for array in (x, weights, biases)]
    sums = conv_forward_reference(*wide, padding=padding)
    added = normal_map(sums.shape, np.float32, seed + 3) if residual else None
    options = {"outputs": outputs, "padding": padding, "tile": tile, "activation": activation}
    run = partial(launch, target, weights, biases, added, **options)
    actual = run_on_maps(target, run, [x], sums.shape, margin)
    sizes = magnitude(x, weights, padding, outputs) + np.abs(biases[:, None, None])
    # No activation is steeper than selu's 1.76.
    bound = 2 * tolerances.winograd(sizes, x.shape[1] + 2, outputs + 2)
    expected = activation_forward_reference(sums, activation)
    bound = bound + tolerances.ELEMENTARY_FLOAT32 * np.maximum(1, np.abs(expected))
    if added is not None:
        expected = expected + added
        bound = bound + np.finfo(np.float32).eps * np.abs(expected)
    assert np.all(np.abs(actual - expected) <= bound)


@settings(max_examples=40, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 3), st.integers(3, 14), st.integers(3, 14)),
    channels=st.one_of(st.integers(1, 9), st.sampled_from([16, 20, 36])),
    filters=st.one_of(st.integers(1, 9), st.sampled_from([31, 64, 70])),
    padding=st.integers(0, 2),
    outputs=st.sampled_from([2, 4]),
    activation=st.sampled_from(["linear", "leaky", *ACTIVATIONS]),
    residual=st.booleans(),
    margin=margins,
    seed=seeds(),
)
def test_the_kernels_convolve_as_the_reference(
    target: Target,
    sides: tuple[int, int, int],
    channels: int,
    filters: int,
    padding: int,
    outputs: int,
    activation: str,
    residual: bool,
    margin: int,
    seed: int,
) -> None:
    x = normal_map((sides[0], channels, *sides[1:]), np.float32, seed)
    weights = normal_map((filters, channels, 3, 3), np.float32, seed + 1)
    options = (activation, padding, outputs, SMALL, seed, residual, margin)
    check(target, x, weights, *options)


@pytest.mark.parametrize("tile", INSTANCES, ids=lambda tile: tile.instance())
def test_every_tile(target: Target, tile: Tile) -> None:
    x = normal_map((1, 20, 13, 11), np.float32, 1)
    weights = normal_map((70, 20, 3, 3), np.float32, 2)
    check(target, x, weights, "leaky", 1, 2, tile, 3, residual=False, margin=0)


@pytest.mark.parametrize("outputs", [2, 4])
def test_the_transforms_filter_minimally(outputs: int) -> None:
    g, b, a = (
        matrices[outputs] for matrices in (FILTER_TRANSFORMS, INPUT_TRANSFORMS, OUTPUT_TRANSFORMS)
    )
    d, k = np.random.default_rng(0).standard_normal((2, outputs + 2))
    expected = np.correlate(d, k[:3], "valid")
    np.testing.assert_allclose(a @ ((g @ k[:3]) * (b @ d)), expected, atol=1e-12)


def test_too_small_a_workspace_is_refused(target: Target) -> None:
    x, out = empty_map(target, 1, 8, 8, 4), empty_map(target, 1, 8, 8, 8)
    packed = target.upload(pack_winograd(np.zeros((8, 4, 3, 3), np.float32), 2))
    with pytest.raises(InputError, match="6144 numbers of workspace, found 0"):
        conv_forward_winograd_cuda(
            *(target, x, packed, target.upload(np.zeros(8, np.float32)), out),
            outputs=2,
            padding=1,
            tile=SMALL,
            workspace=new_workspace(target, 0),
        )
