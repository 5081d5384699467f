"""kernels/region.cu against the plain reference."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.region import region_forward_cuda, region_forward_reference
from tinyyolo3.testing.kernels import margins, run_on_maps
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT32


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds(),
    images=st.integers(1, 2),
    anchors=st.integers(1, 3),
    classes=st.sampled_from([1, 2, 5, 27, 28, 31, 32, 33, 70]),
    softmax=st.booleans(),
    margin=margins,
)
def test_the_kernel_activates_as_the_reference(
    target: Target,
    seed: int,
    images: int,
    anchors: int,
    classes: int,
    softmax: bool,
    margin: int,
) -> None:
    rng = np.random.default_rng(seed)
    shape = (images, anchors * (5 + classes), *rng.integers(1, 4, 2))
    x = rng.normal(0, 4, shape).astype(np.float32)
    options = {"anchors": anchors, "softmax": softmax}
    expected = region_forward_reference(x, classes=classes, **options)
    launch = partial(region_forward_cuda, target, **options)
    found = run_on_maps(target, launch, [x], x.shape, margin)
    np.testing.assert_allclose(found, expected, rtol=ELEMENTARY_FLOAT32)


@pytest.mark.parametrize(
    "scores",
    [
        [1e3, 1e3, -1e3],
        [-1e3, -1e3, -1e3],
        [-np.inf, 0, 0],
        [np.inf, 0, 0],
        [-np.inf] * 3,
        [0, np.nan, 5],
    ],
)
def test_softmax_at_the_extremes(target: Target, scores: list[float]) -> None:
    x = np.array([0, 0, 0, 0, 0, *scores], np.float32).reshape(1, 8, 1, 1)
    launch = partial(region_forward_cuda, target, anchors=1)
    expected = region_forward_reference(x, anchors=1, classes=3)
    np.testing.assert_array_equal(run_on_maps(target, launch, [x], x.shape), expected)
