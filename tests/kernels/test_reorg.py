"""kernels/reorg.cu against the plain reference."""

from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.reorg import reorg_forward_cuda, reorg_forward_reference
from tinyyolo3.testing.kernels import elements, kernel_map, margins, run_on_maps


@settings(max_examples=30, deadline=None)
@given(
    images=st.integers(1, 2),
    planes=st.integers(1, 3),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    stride=st.integers(1, 3),
    margin=margins,
    element=elements,
)
def test_the_kernel_rearranges_as_the_reference(
    target: Target,
    images: int,
    planes: int,
    height: int,
    width: int,
    stride: int,
    margin: int,
    element: type,
) -> None:
    shape = (images, planes * stride * stride, height * stride, width * stride)
    x = kernel_map(shape, seed=1).astype(element)
    expected = reorg_forward_reference(x.astype(np.float32), stride=stride)
    launch = partial(reorg_forward_cuda, target, stride=stride)
    actual = run_on_maps(target, launch, [x], expected.shape, margin)
    np.testing.assert_array_equal(actual, expected)
