"""kernels/layout.cu against NumPy's transposition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.maps import DeviceMap, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.layout import map_to_nchw_cuda, nchw_to_map_cuda
from tinyyolo3.testing.kernels import assert_stored, elements, kernel_map, margins, run_on_maps

#: Within one tile of the kernel, and over its edge.
TILES = st.tuples(
    st.integers(1, 2),
    st.sampled_from([9, 31, 32, 33, 70]),
    st.integers(1, 9),
    st.integers(1, 9),
)
#: Maps that need no tile: of fewer pixels than a block takes, of as many, and of more.
FEW = st.tuples(
    st.integers(1, 2),
    st.integers(1, 8),
    st.sampled_from([1, 2, 8, 17]),
    st.sampled_from([1, 7, 16, 31, 32]),
)
SHAPES = st.one_of(TILES, FEW)


@settings(max_examples=50, deadline=None)
@given(shape=SHAPES, margin=margins, element=elements)
def test_a_plain_array_becomes_a_map(
    target: Target, shape: tuple[int, int, int, int], margin: int, element: type
) -> None:
    x = kernel_map(shape, seed=1)

    def launch(out: DeviceMap) -> None:
        nchw_to_map_cuda(target, target.upload(x.reshape(-1)), out)

    assert_stored(run_on_maps(target, launch, [], shape, margin, element), x, 0)


@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, margin=margins, element=elements)
def test_a_map_becomes_a_plain_array(
    target: Target, shape: tuple[int, int, int, int], margin: int, element: type
) -> None:
    x = kernel_map(shape, seed=1).astype(element)
    out = target.empty(x.size)
    map_to_nchw_cuda(target, upload_map(target, x, shape[1] + margin), out)
    np.testing.assert_array_equal(target.download(out).reshape(shape), x)
