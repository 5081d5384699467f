"""kernels/upsample.cu against the plain reference."""

from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.upsample import upsample_forward_cuda, upsample_forward_reference
from tinyyolo3.testing.kernels import assert_stored, elements, kernel_maps, margins, run_on_maps


@settings(max_examples=30, deadline=None)
@given(
    x=kernel_maps(max_side=7),
    stride=st.integers(1, 4),
    scale=st.sampled_from([1.0, 0.3]),
    margin=margins,
    element=elements,
)
def test_the_kernel_upsamples_as_the_reference(
    target: Target, x: FloatArray, stride: int, scale: float, margin: int, element: type
) -> None:
    x = x.astype(element)
    expected = upsample_forward_reference(x.astype(np.float32), stride=stride, scale=scale)
    launch = partial(upsample_forward_cuda, target, stride=stride, scale=scale)
    actual = run_on_maps(target, launch, [x], expected.shape, margin)
    assert_stored(actual, expected, 0)
