"""kernels/convolution_mma.cu against the plain reference, with numbers that are rounded already."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cuda.maps import download_map, empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_mma import (
    conv_forward_mma_cuda,
    pack_mma_weights,
    round_to_tf32,
)
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    FP16,
    INSTANCES,
    PRECISIONS,
    TF32,
    MmaTile,
    Precision,
    mma_terms,
    mma_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tiles import Product
from tinyyolo3.testing.kernels import margins, run_on_maps
from tinyyolo3.testing.strategies import normal_map
from tinyyolo3.testing.tensor_cores import cases, check_tile, example, rounded

#: The smallest tile, of which a small map still has several.
SMALL = min(INSTANCES, key=lambda tile: tile.pixels * tile.filters)
#: One with several warps each way, and several fragments each way in a warp.
WIDE = next(tile for tile in INSTANCES if (tile.warps_m, tile.warps_n) == (2, 2))


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), parts=st.integers(1, 5), margin=st.one_of(margins, st.just(8)))
def test_the_kernel_convolves_as_the_reference(
    target: Target, precision: Precision, data: st.DataObject, parts: int, margin: int
) -> None:
    case = data.draw(cases(precision, (1, 2, 3, 3, 5), (8, 16, 24, 40, 72)))
    channels, size = case.weights.shape[1:3]
    slices = -(-mma_terms(channels, size, precision) // SMALL.depth(precision))
    check_tile(target, case, replace(SMALL, parts=min(parts, slices)), margin)


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_warps_share_a_tile(target: Target, precision: Precision) -> None:
    for parts, cached in ((1, True), (2, False)):
        check_tile(target, example(precision, 24, 72), replace(WIDE, parts=parts, cached=cached))


@pytest.mark.parametrize("instance", INSTANCES, ids=str)
def test_every_instance_with_and_without_parts(quick_target: Target, instance: MmaTile) -> None:
    for parts in (1, 2):
        check_tile(quick_target, example(FP16, 40, 264), replace(instance, parts=parts))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(quick_target: Target, activation: str) -> None:
    check_tile(quick_target, example(FP16, 8, 8, activation), SMALL)


def test_launches_that_share_a_workspace_give_the_same_bits(target: Target) -> None:
    x = upload_map(target, rounded((1, 24, 9, 9), FP16, 1))
    packed = target.upload(pack_mma_weights(normal_map((72, 24, 3, 3), np.float32, 2), FP16))
    biases = target.upload(np.zeros(72, np.float32))
    found = []
    # The second launch has other parts: where the first has sums, it must find no counters.
    tiles = [replace(SMALL, parts=4), replace(SMALL, parts=3), replace(SMALL, parts=4)]
    floats = max(mma_workspace_floats(Product(81, 72, 216), tile) for tile in tiles)
    workspace = new_workspace(target, floats)
    for tile in tiles:
        out = empty_map(target, 1, 9, 9, 72)
        conv_forward_mma_cuda(
            *(target, x, packed, biases, out),
            precision=FP16,
            size=3,
            stride=(1, 1),
            padding=1,
            activation="leaky",
            tile=tile,
            workspace=workspace,
        )
        found.append(download_map(target, out))
    assert np.array_equal(found[0], found[2])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-4)


def test_tf32_rounds_to_eleven_bits_and_keeps_what_is_not_finite() -> None:
    ulp = 2.0**-10
    x = np.array([1 + 0.4 * ulp, 1 + 0.5 * ulp, -1 - 1.5 * ulp, np.inf, -np.inf], np.float32)
    expected = np.array([1, 1 + ulp, -1 - 2 * ulp, np.inf, -np.inf], np.float32)
    assert np.array_equal(round_to_tf32(x), expected)
    assert np.isnan(round_to_tf32(np.array([np.nan], np.float32))).all()


def test_tf32_maps_are_rounded_on_the_way(target: Target) -> None:
    case = example(TF32, 8, 8)
    x = normal_map(case.x.shape, np.float32, 5)
    expected, bound = replace(case, x=round_to_tf32(x)).expected()
    raw = replace(case, x=x)
    actual = run_on_maps(target, lambda out: raw.launch(target, SMALL, out, 0), [], expected.shape)
    assert np.all(np.abs(actual - expected) <= bound)


def test_a_weight_that_overflows_is_refused() -> None:
    weights = np.full((1, 1, 1, 1), 70000, np.float32)
    with pytest.raises(InputError, match="a weight of 70000 overflows in fp16"):
        pack_mma_weights(weights, FP16)
    assert pack_mma_weights(weights, TF32).flat[0] == 70016


def test_what_the_kernel_cannot_do_is_refused(target: Target) -> None:
    def launch(
        size: int = 3, pitch: int = 8, dtype: type = np.float16, out: type = np.float16,
        tile: MmaTile = SMALL,
    ) -> None:  # fmt: skip
        x = empty_map(target, 1, 20, 20, 8, pitch, dtype)
        packed = target.upload(pack_mma_weights(np.zeros((8, 8, size, size), np.float32), FP16))
        conv_forward_mma_cuda(
            *(target, x, packed, target.upload(np.zeros(8, np.float32))),
            empty_map(target, 1, 20, 20, 8, None, out),
            precision=FP16,
            size=size,
            stride=(1, 1),
            padding=size // 2,
            tile=tile,
        )

    with pytest.raises(InputError, match="sizes up to 16, not 17"):
        launch(size=17)
    with pytest.raises(InputError, match="each pixel of x at a multiple of 16 bytes"):
        launch(pitch=12)
    with pytest.raises(InputError, match="x must be of float16, not float32"):
        launch(dtype=np.float32)
    with pytest.raises(InputError, match="out must be of float16 or float32, not float64"):
        launch(out=np.float64)
    with pytest.raises(InputError, match="need a workspace of"):
        launch(tile=replace(SMALL, parts=2))
