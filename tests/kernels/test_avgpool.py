"""kernels/avgpool.cu against the mean in float64."""

from functools import partial

import numpy as np
from hypothesis import given, settings

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.avgpool import avgpool_forward_cuda
from tinyyolo3.testing.kernels import assert_stored, elements, kernel_maps, margins, run_on_maps
from tinyyolo3.testing.oracles import avgpool_oracle
from tinyyolo3.testing.tolerances import summation


@settings(max_examples=30, deadline=None)
@given(x=kernel_maps(max_side=19), margin=margins, element=elements)
def test_the_kernel_averages(target: Target, x: FloatArray, margin: int, element: type) -> None:
    x = x.astype(element)
    launch = partial(avgpool_forward_cuda, target)
    actual = run_on_maps(target, launch, [x], (*x.shape[:2], 1, 1), margin)
    pixels = x.shape[2] * x.shape[3]
    tolerance = summation(avgpool_oracle(np.abs(x)), pixels)
    assert_stored(actual, avgpool_oracle(x), tolerance)
