"""kernels/convolution_stream_k.cu: slices dealt out evenly, against the plain reference."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.maps import download_map, empty_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    FP16,
    PRECISIONS,
    STREAM_K_INSTANCES,
    Precision,
    load_of,
    mma_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tensor import (
    TensorTile,
    instance_of,
    tensor_candidates,
    tensor_instances,
    tensor_product,
)
from tinyyolo3.layers.convolution.cuda_tensor_choice import named_tile, read_tile
from tinyyolo3.layers.convolution.cuda_tiles import SPLIT_TILES
from tinyyolo3.layers.convolution.cuda_wgmma_tiles import STREAM_K_WGMMA_INSTANCES
from tinyyolo3.testing.kernels import margins
from tinyyolo3.testing.tensor_cores import cases, check_tile, example

#: The smallest tiles, of which a small map still has several.
SMALL, GROUP = (min(tiles, key=lambda tile: tile.pixels * tile.filters)
                for tiles in (STREAM_K_INSTANCES, STREAM_K_WGMMA_INSTANCES))  # fmt: skip
CHANNELS = (8, 16, 24, 40, 72, 136)


def skip_without_warpgroups(target: Target) -> None:
    gpu = getattr(target, "gpu", None)
    if gpu is not None and gpu.architecture != "sm_90":
        pytest.skip(f"{gpu.architecture} has no warpgroups")


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@settings(max_examples=12, deadline=None)
@given(data=st.data(), blocks=st.integers(1, 23), margin=st.one_of(margins, st.just(8)))
def test_the_kernel_convolves_as_the_reference(
    target: Target, precision: Precision, data: st.DataObject, blocks: int, margin: int
) -> None:
    case = data.draw(cases(precision, (1, 2, 3, 3), CHANNELS))
    check_tile(target, case, replace(SMALL, blocks=blocks), margin)


@settings(max_examples=12, deadline=None)
@given(data=st.data(), blocks=st.integers(1, 23), margin=st.one_of(margins, st.just(8)))
def test_warpgroups_convolve_as_the_reference(
    target: Target, data: st.DataObject, blocks: int, margin: int
) -> None:
    skip_without_warpgroups(target)
    case = data.draw(cases(FP16, (1, 2, 3, 3), CHANNELS))
    check_tile(target, case, replace(GROUP, blocks=blocks), margin)


@pytest.mark.parametrize("instance", [*STREAM_K_INSTANCES, *STREAM_K_WGMMA_INSTANCES], ids=str)
def test_every_instance(quick_target: Target, instance: TensorTile) -> None:
    if instance in STREAM_K_WGMMA_INSTANCES:
        skip_without_warpgroups(quick_target)
    for blocks in (2, 7):
        check_tile(quick_target, example(FP16, 136, 264), replace(instance, blocks=blocks))


@pytest.mark.parametrize("tile", [SMALL, GROUP], ids=["mma", "wgmma"])
def test_bits_do_not_depend_on_the_order_of_blocks(tile: TensorTile) -> None:
    """Also where one workspace serves launches of other blocks in between."""
    case = example(FP16, 136, 70)
    found = []
    for seed in range(4):
        target = HostTarget("check", seed)
        for blocks in (5, 9, 5):
            out = empty_map(target, 2, 9, 11, 70, 72, np.float16)
            case.launch(target, replace(tile, blocks=blocks), out, 0)
            if blocks == 5:
                found.append(download_map(target, out))
    assert all(np.array_equal(one, found[0]) for one in found)


def test_a_block_for_each_tile_or_part_gives_the_bits_of_the_plain_kernels(
    quick_target: Target,
) -> None:
    """Where stretches end at tiles' ends and parts', sums are the same ones in the same order."""
    case = example(FP16, 128, 70)
    product = tensor_product(case.problem, FP16)
    tiles, slices = SMALL.tiles(product), product.terms // SMALL.depth(FP16)
    for parts in (1, 2, 3):
        assert slices % parts == 0
        found = []
        for tile in (replace(SMALL, parts=parts), replace(SMALL, blocks=tiles * parts)):
            out = empty_map(quick_target, 2, 9, 11, 70, 72, np.float16)
            case.launch(quick_target, tile, out, 0)
            found.append(download_map(quick_target, out))
        np.testing.assert_array_equal(*found)


@given(tiles=st.integers(1, 40), slices=st.integers(1, 12), blocks=st.integers(1, 60))
def test_the_model_counts_what_blocks_have_at_the_most(
    tiles: int, slices: int, blocks: int
) -> None:
    tile = replace(SMALL, blocks=blocks)
    depth = tile.depth(FP16)
    product = tensor_product(Problem(1, 1, 32 * tiles, slices * depth, 32, 1), FP16)
    load = load_of(product, tile, depth, 132)
    each, longer = divmod(tiles * slices, blocks)
    begins = [block * each + min(block, longer) for block in range(blocks + 1)]
    stretches = [range(*pair) for pair in pairwise(begins)]
    touched = [{slice // slices for slice in stretch} for stretch in stretches]
    assert max(map(len, stretches)) == load.slices
    assert max(map(len, touched)) <= load.fillings
    assert max(sum(t in own for own in touched) for t in range(tiles)) <= load.parts


class TestChoice:
    """Stream-K is tried by whoever measures, and taken where that says so."""

    problem = Problem(8, 26, 26, 256, 512, 3)
    gpu = Gpu(warpgroups=True)

    def test_it_is_only_tried_on_demand(self) -> None:
        usual = [tile for tile, _ in tensor_candidates(self.problem, FP16, self.gpu)]
        assert not any(tile.blocks for tile in usual)
        more = dict(tensor_candidates(self.problem, FP16, self.gpu, stream_k=True))
        assert {tile for tile in more if not tile.blocks} == set(usual)
        streams = [tile for tile in more if tile.blocks]
        assert {instance_of(tile) for tile in streams} <= set(tensor_instances(FP16))
        assert {type(tile) for tile in streams} == {type(SMALL), type(GROUP)}
        for tile in streams:
            assert tile.blocks % self.gpu.multiprocessors == 0
            assert tile.blocks <= self.gpu.multiprocessors * tile.blocks_per_sm
        none = tensor_candidates(Problem(1, 4, 4, 8, 32, 1), FP16, self.gpu, stream_k=True)
        assert not any(tile.blocks for tile, _ in none), "less than two slices for each block"

    def test_a_file_of_measurements_names_it(self) -> None:
        for tile in (SMALL, GROUP, replace(SMALL, blocks=264), replace(GROUP, blocks=132)):
            assert read_tile(named_tile(tile)) == tile
        assert len(named_tile(replace(SMALL, blocks=264))) == len(named_tile(SMALL)) + 1


def test_too_little_workspace_is_refused(quick_target: Target) -> None:
    case = example(FP16, 8, 8)
    tile = replace(SMALL, blocks=SPLIT_TILES + 1)
    assert mma_workspace_floats(tensor_product(case.problem, FP16), replace(SMALL, blocks=3)) == (
        SPLIT_TILES + 3 * 2 * SMALL.pixels * SMALL.filters
    )
    out = empty_map(quick_target, 2, 9, 11, 8, 8, np.float16)
    with pytest.raises(InputError, match=r"1025 blocks of 7 tiles need .* and 1025 are to count"):
        case.launch(quick_target, tile, out, 0)
