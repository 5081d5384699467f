"""kernels/convolution_wgmma.cu against the plain reference, with numbers rounded already."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16, mma_terms
from tinyyolo3.layers.convolution.cuda_wgmma_tiles import WGMMA_INSTANCES, WgmmaTile
from tinyyolo3.testing.kernels import margins
from tinyyolo3.testing.tensor_cores import cases, check_tile, example

#: The smallest tile, of which a small map still has several, and one of two warpgroups each way.
SMALL, WIDE = WgmmaTile(64, 32, 1, 6, 3), WgmmaTile(128, 128, 2, 6, 1)


@pytest.fixture(autouse=True)
def only_where_warpgroups_are(target: Target) -> None:
    """On a GPU without them there is nothing to test."""
    gpu = getattr(target, "gpu", None)
    if gpu is not None and gpu.architecture != "sm_90":
        pytest.skip(f"{gpu.architecture} has no warpgroups")


@settings(max_examples=40, deadline=None)
@given(data=st.data(), parts=st.integers(1, 5), margin=st.one_of(margins, st.just(8)))
def test_the_kernel_convolves_as_the_reference(
    target: Target, data: st.DataObject, parts: int, margin: int
) -> None:
    case = data.draw(cases(FP16, (1, 2, 3, 3, 5), (8, 16, 24, 40, 72)))
    channels, size = case.weights.shape[1:3]
    slices = -(-mma_terms(channels, size, FP16) // 64)
    check_tile(target, case, replace(SMALL, parts=min(parts, slices)), margin)


def test_warpgroups_share_a_tile(target: Target) -> None:
    for parts, cached in ((1, True), (2, False)):
        check_tile(target, example(FP16, 24, 72), replace(WIDE, parts=parts, cached=cached))


@pytest.mark.parametrize("instance", WGMMA_INSTANCES, ids=str)
def test_every_instance_with_and_without_parts(quick_target: Target, instance: WgmmaTile) -> None:
    for parts in (1, 2):
        check_tile(quick_target, example(FP16, 40, 264), replace(instance, parts=parts))
