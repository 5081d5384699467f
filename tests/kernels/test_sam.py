"""kernels/sam.cu against the plain reference, and its activation after that."""

from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.sam import sam_forward_cuda, sam_forward_reference
from tinyyolo3.testing.activations import assert_activations_stored
from tinyyolo3.testing.kernels import (
    assert_stored,
    elements,
    kernel_map,
    kernel_maps,
    margins,
    run_on_maps,
)


@settings(max_examples=30, deadline=None)
@given(
    x=kernel_maps(),
    activation=st.sampled_from(["linear", "linear", "mish"]),
    margin=margins,
    element=elements,
)
def test_the_kernel_multiplies_as_the_reference(
    target: Target, x: FloatArray, activation: str, margin: int, element: type
) -> None:
    x, source = x.astype(element), kernel_map(x.shape, seed=1).astype(element)
    expected = sam_forward_reference(x.astype(np.float32), source.astype(np.float32))
    launch = partial(sam_forward_cuda, target, activation=activation)
    actual = run_on_maps(target, launch, [x, source], x.shape, margin)
    if activation == "linear":
        assert_stored(actual, expected, 0)
    else:
        activated = activation_forward_reference(expected, activation)
        assert_activations_stored(actual, activated.astype(np.float64))
