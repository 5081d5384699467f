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
from tinyyolo3.testing.activations import assert_activations_stored
from tinyyolo3.testing.kernels import (
    assert_stored,
    elements,
    kernel_map,
    kernel_maps,
    margins,
    run_on_maps,
)


@settings(max_examples=40, deadline=None)
@given(
    source=kernel_maps(),
    scale_wh=st.booleans(),
    activation=st.sampled_from(["linear", "linear", "relu", "swish"]),
    margin=margins,
    element=elements,
)
def test_the_kernels_scale_as_the_reference(
    target: Target, source: FloatArray, scale_wh: bool, activation: str, margin: int, element: type
) -> None:
    images, channels, height, width = source.shape
    shape = (images, 1, height, width) if scale_wh else (images, channels, 1, 1)
    x, source = kernel_map(shape, seed=1).astype(element), source.astype(element)
    wide = x.astype(np.float32), source.astype(np.float32)
    expected = scale_channels_forward_reference(*wide, scale_wh=scale_wh)
    launch = partial(scale_channels_forward_cuda, target, scale_wh=scale_wh, activation=activation)
    actual = run_on_maps(target, launch, [x, source], source.shape, margin)
    if activation == "linear":
        assert_stored(actual, expected, 0)
    else:
        activated = activation_forward_reference(expected, activation)
        assert_activations_stored(actual, activated.astype(np.float64))
