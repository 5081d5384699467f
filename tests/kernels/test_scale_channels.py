"""kernels/scale_channels.cu against the plain reference, and its activation after that."""

from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.scale_channels import (
    scale_channels_forward_cuda,
    scale_channels_forward_reference,
)
from tinyyolo3.testing.activations import assert_activations_close
from tinyyolo3.testing.kernels import kernel_map, kernel_maps, margins, run_on_maps


@settings(max_examples=40, deadline=None)
@given(
    source=kernel_maps(),
    scale_wh=st.booleans(),
    activation=st.sampled_from(["linear", "linear", "relu", "swish"]),
    margin=margins,
)
def test_the_kernels_scale_as_the_reference(
    target: Target, source: FloatArray, scale_wh: bool, activation: str, margin: int
) -> None:
    images, channels, height, width = source.shape
    shape = (images, 1, height, width) if scale_wh else (images, channels, 1, 1)
    x = kernel_map(shape, seed=1)
    expected = scale_channels_forward_reference(x, source, scale_wh=scale_wh)
    launch = partial(scale_channels_forward_cuda, target, scale_wh=scale_wh, activation=activation)
    actual = run_on_maps(target, launch, [x, source], source.shape, margin)
    if activation == "linear":
        np.testing.assert_array_equal(actual, expected)
    else:
        activated = activation_forward_reference(expected, activation)
        assert_activations_close(actual, activated.astype(np.float64))
