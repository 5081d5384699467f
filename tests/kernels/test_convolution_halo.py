"""kernels/convolution_halo.cu against the plain reference, with numbers rounded already."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.maps import empty_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda_algorithms import Problem
from tinyyolo3.layers.convolution.cuda_halo import conv_forward_halo_cuda
from tinyyolo3.layers.convolution.cuda_halo_tiles import (
    HALO_INSTANCES,
    HaloTile,
    halo_chunks,
    halo_fits,
    halo_pixels,
    tile_rectangle,
)
from tinyyolo3.layers.convolution.cuda_mma import pack_mma_weights
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16, PRECISIONS, Precision
from tinyyolo3.testing.kernels import margins
from tinyyolo3.testing.tensor_cores import cases, check_tile, example

#: One for each number of chunks that a pixel may have, of small tiles: a small map has several.
DEEP = HaloTile(64, 64, 8, 112, 2, 2, 4, 3)
SHALLOW = HaloTile(128, 64, 4, 184, 4, 2, 4, 2)
FIRST = HaloTile(128, 32, 1, 184, 4, 1, 2, 4)


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), parts=st.integers(1, 4), margin=st.one_of(margins, st.just(8)))
def test_the_kernel_convolves_as_the_reference(
    target: Target, precision: Precision, data: st.DataObject, parts: int, margin: int
) -> None:
    case = data.draw(cases(precision, [3], (24, 64, 72, 136)))
    fitting = [t for t in (FIRST, SHALLOW, DEEP) if halo_fits(case.problem, precision, t)]
    assume(fitting)
    tile = data.draw(st.sampled_from(fitting))
    blocks = -(-halo_chunks(case.problem, precision) // 8)
    check_tile(target, case, replace(tile, parts=min(parts, blocks)), margin)


@pytest.mark.parametrize("instance", HALO_INSTANCES, ids=str)
def test_every_instance_with_and_without_parts(quick_target: Target, instance: HaloTile) -> None:
    channels = {8: 136, 4: 24, 1: 3}[instance.chunks]
    for parts in (1, 2) if instance.chunks == 8 else (1,):
        check_tile(quick_target, example(FP16, channels, 264), replace(instance, parts=parts))


def test_a_stride_sorts_columns_by_their_remainder(target: Target) -> None:
    strided = example(FP16, 72, 40)
    strided = replace(strided, options={"stride": (2, 2), "padding": 1}, residual=None)
    check_tile(target, strided, HaloTile(64, 64, 8, 320, 2, 2, 4, 1))


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.integers(1, 2),
    st.sampled_from(list(HALO_INSTANCES)),
)
def test_the_rectangle_fits_and_no_other_has_fewer_tiles(
    sides: tuple[int, int], stride: tuple[int, int], dilation: int, tile: HaloTile
) -> None:
    problem = Problem(2, *sides, 8, 8, 3, stride, dilation)
    found = tile_rectangle(problem, tile.pixels, tile.halo)

    def tiles(rows: int, columns: int) -> int:
        return -(-sides[0] // rows) * -(-sides[1] // columns)

    fitting = [
        (rows, columns)
        for rows in range(1, sides[0] + 1)
        for columns in range(1, sides[1] + 1)
        if rows * columns <= tile.pixels and halo_pixels(problem, rows, columns) <= tile.halo
    ]
    assert (found in fitting) if fitting else found is None
    if found:
        assert tiles(*found) == min(tiles(*sides) for sides in fitting)


def test_what_the_kernel_cannot_do_is_refused(target: Target) -> None:
    def launch(tile: HaloTile = DEEP, size: int = 3, channels: int = 72) -> None:
        weights = np.zeros((8, channels, size, size), np.float32)
        conv_forward_halo_cuda(
            *(target, empty_map(target, 1, 9, 9, channels, channels, np.float16)),
            *(
                target.upload(pack_mma_weights(weights, FP16)),
                target.upload(np.zeros(8, np.float32)),
            ),
            empty_map(target, 1, 9, 9, 8, None, np.float16),
            precision=FP16,
            tile=tile,
            size=size,
            stride=(1, 1),
            padding=size // 2,
        )

    with pytest.raises(InputError, match="cannot compute"):
        launch(size=5)
    with pytest.raises(InputError, match="cannot compute"):
        launch(tile=SHALLOW)
    with pytest.raises(InputError, match="cannot compute"):
        launch(tile=replace(DEEP, halo=8))
    with pytest.raises(InputError, match="2 parts of 2 tiles need a workspace of"):
        launch(tile=replace(DEEP, parts=2))
