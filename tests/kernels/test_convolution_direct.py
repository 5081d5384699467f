"""kernels/convolution_direct.cu against the plain reference."""

import numpy as np
import pytest
from hypothesis import given, settings

from tinyyolo3.cuda.maps import empty_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda import pack_weights
from tinyyolo3.layers.convolution.cuda_direct import conv_forward_direct_cuda
from tinyyolo3.testing.convolutions import Convolution, convolutions
from tinyyolo3.testing.fused_convolutions import FusedConvolution, fused, fused_convolutions
from tinyyolo3.testing.strategies import normal_map


@settings(max_examples=60, deadline=None)
@given(fused_convolutions(convolutions(dtype=np.float32, max_filters=20), halves=True))
def test_the_kernel_convolves_as_the_reference(target: Target, case: FusedConvolution) -> None:
    case.assert_kernel_agrees(target, conv_forward_direct_cuda, pack_weights)


def test_more_filters_and_pixels_than_a_block_has(target: Target) -> None:
    x, weights = normal_map((2, 6, 7, 5), np.float32, 1), normal_map((70, 3, 3, 3), np.float32, 2)
    options = {"stride": (1, 2), "padding": 1, "dilation": 1, "groups": 2}
    case = fused(Convolution(x, weights, None, options), "mish", residual=True, margin=3)
    case.assert_kernel_agrees(target, conv_forward_direct_cuda, pack_weights)


def test_maps_of_another_shape_are_refused(target: Target) -> None:
    x, out = empty_map(target, 1, 5, 5, 3), empty_map(target, 1, 5, 4, 8)
    weights, biases = target.empty(27 * 8), target.empty(8)
    with pytest.raises(InputError, match="out must be of shape"):
        conv_forward_direct_cuda(target, x, weights, biases, out, size=3, stride=(1, 1), padding=1)
