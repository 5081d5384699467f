"""kernels/convolution_tiled.cu against the plain reference."""

import numpy as np
import pytest
from hypothesis import given, settings

from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.convolution.cuda import pack_weights
from tinyyolo3.layers.convolution.cuda_tiled import conv_forward_tiled_cuda
from tinyyolo3.testing.convolutions import Convolution, convolutions
from tinyyolo3.testing.fused_convolutions import FusedConvolution, fused, fused_convolutions
from tinyyolo3.testing.strategies import normal_map


@settings(max_examples=60, deadline=None)
@given(fused_convolutions(convolutions(dtype=np.float32, max_filters=20)))
def test_the_kernel_convolves_as_the_reference(target: Target, case: FusedConvolution) -> None:
    case.assert_kernel_agrees(target, conv_forward_tiled_cuda, pack_weights)


@pytest.mark.parametrize("pixels", [31, 32, 33])
@pytest.mark.parametrize("filters", [32, 33])
@pytest.mark.parametrize("channels", [31, 32, 65])
def test_tiles_and_slices_that_are_just_full_or_just_not(
    target: Target, pixels: int, filters: int, channels: int
) -> None:
    x = normal_map((1, channels, 1, pixels), np.float32, 1)
    weights = normal_map((filters, channels, 1, 1), np.float32, 2)
    options = {"stride": (1, 1), "padding": 0, "dilation": 1, "groups": 1}
    case = fused(Convolution(x, weights, None, options), residual=True)
    case.assert_kernel_agrees(target, conv_forward_tiled_cuda, pack_weights)


def test_nan_reaches_only_the_windows_that_it_is_in(target: Target) -> None:
    x, weights = normal_map((1, 3, 4, 5), np.float32, 1), normal_map((2, 3, 1, 1), np.float32, 2)
    x[0, 1, 2, 3] = np.nan
    options = {"stride": (1, 1), "padding": 0, "dilation": 1, "groups": 1}
    case = fused(Convolution(x, weights, None, options), "linear")
    found = case.run(target, conv_forward_tiled_cuda, pack_weights)
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 0, 2, 3], [0, 1, 2, 3]]


def test_several_tiles_of_every_kind(target: Target) -> None:
    x, weights = normal_map((2, 24, 9, 7), np.float32, 1), normal_map((80, 12, 3, 3), np.float32, 2)
    options = {"stride": (1, 1), "padding": 2, "dilation": 2, "groups": 2}
    case = fused(Convolution(x, weights, None, options), "mish", residual=True, margin=3)
    case.assert_kernel_agrees(target, conv_forward_tiled_cuda, pack_weights)
