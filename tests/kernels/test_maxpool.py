"""kernels/maxpool.cu against the plain reference."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.maxpool import maxpool_forward_cuda, maxpool_forward_reference
from tinyyolo3.testing.kernels import margins, run_on_maps
from tinyyolo3.testing.strategies import feature_maps


@settings(max_examples=40)
@given(
    x=feature_maps(),
    size=st.integers(1, 5),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 5),
    margin=margins,
)
def test_the_kernel_pools_as_the_reference(
    target: Target,
    x: np.ndarray,
    size: int,
    stride: tuple[int, int],
    padding: int,
    margin: int,
) -> None:
    x = np.ascontiguousarray(x, np.float32)
    if min(x.shape[2:]) + padding < size:
        padding = size
    options = {"size": size, "stride": stride, "padding": padding}
    expected = maxpool_forward_reference(x, **options)
    launch = partial(maxpool_forward_cuda, target, **options)
    assert np.array_equal(run_on_maps(target, launch, [x], expected.shape, margin), expected)


def test_nan_never_wins(target: Target) -> None:
    x = np.array([[[[np.nan, 1.0], [np.nan, np.nan]]]], np.float32)
    options = {"size": 2, "stride": (2, 2), "padding": 0}
    launch = partial(maxpool_forward_cuda, target, **options)
    assert run_on_maps(target, launch, [x], (1, 1, 1, 1)) == pytest.approx(1.0)
