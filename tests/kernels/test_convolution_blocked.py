"""kernels/convolution_blocked.cu against the plain reference."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cuda.maps import DeviceMap, download_map, empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.convolution.cuda import (
    conv_forward_blocked_cuda,
    new_workspace,
    pack_weights,
    workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tiles import INSTANCES, Product, Tile
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.kernels import margins, run_on_maps
from tinyyolo3.testing.strategies import normal_map, seeds

#: The smallest tile, of which a small map still has several.
SMALL = min(INSTANCES, key=lambda tile: tile.pixels * tile.filters)


@dataclass(frozen=True, eq=False)
class Case:
    """A convolution with bias, activation and, perhaps, a map to add."""

    x: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    residual: np.ndarray | None
    options: dict[str, Any]
    activation: str

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return conv_forward_reference(self.x, self.weights, self.biases, **self.options).shape

    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the result in float64 and a bound of the error of float32."""
        wide = [a.astype(np.float64) for a in (self.x, self.weights, self.biases)]
        sums = conv_forward_reference(*wide, **self.options)
        magnitude = conv_forward_reference(*map(np.abs, wide), **self.options)
        bound = tolerances.summation(magnitude, self.weights[0].size + 2)
        result = activation_forward_reference(sums, self.activation)
        # No activation is steeper than selu's 1.76.
        bound = 2 * bound + tolerances.ELEMENTARY_FLOAT32 * np.maximum(1, np.abs(result))
        if self.residual is not None:
            result = result + self.residual
            bound = bound + np.finfo(np.float32).eps * np.abs(result)
        return result, bound

    def launch(
        self, target: Target, tile: Tile, residual_margin: int, x: DeviceMap, out: DeviceMap
    ) -> None:
        product = Product(out.pixels, out.channels, self.weights[0].size)
        residual = self.residual
        if residual is not None:
            residual = upload_map(target, residual, residual.shape[1] + residual_margin)
        conv_forward_blocked_cuda(
            *(target, x, target.upload(pack_weights(self.weights)), target.upload(self.biases)),
            out,
            size=self.weights.shape[2],
            **self.options,
            activation=self.activation,
            residual=residual,
            tile=tile,
            workspace=new_workspace(target, workspace_floats(product, tile)),
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size = draw(st.sampled_from([1, 2, 3, 3, 5]))
    dilation = draw(st.integers(1, 2)) if size > 1 else 1
    padding = draw(st.integers(0, size // 2 + 1))
    least = max(1, dilation * (size - 1) + 1 - 2 * padding * dilation)
    side = st.integers(least, 12)
    channels = draw(st.one_of(st.integers(1, 9), st.sampled_from([4, 8, 16, 20, 36])))
    filters = draw(st.one_of(st.integers(1, 9), st.sampled_from([31, 64, 70, 129])))
    seed = draw(seeds())
    case = Case(
        x=normal_map((draw(st.integers(1, 3)), channels, draw(side), draw(side)), np.float32, seed),
        weights=normal_map((filters, channels, size, size), np.float32, seed + 1),
        biases=normal_map((filters,), np.float32, seed + 2),
        residual=None,
        options={
            "stride": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
            "padding": padding,
            "dilation": dilation,
        },
        activation=draw(st.sampled_from(["linear", "leaky", *ACTIVATIONS])),
    )
    if draw(st.booleans()):
        return replace(case, residual=normal_map(case.shape, np.float32, seed + 3))
    return case


def check(target: Target, case: Case, tile: Tile, margin: int, residual_margin: int) -> None:
    launch = partial(case.launch, target, tile, residual_margin)
    actual = run_on_maps(target, launch, [case.x], case.shape, margin)
    expected, bound = case.expected()
    assert np.all(np.abs(actual - expected) <= bound)


@settings(max_examples=60, deadline=None)
@given(case=cases(), parts=st.integers(1, 5), margin=margins, residual_margin=margins)
def test_the_kernel_convolves_as_the_reference(
    target: Target, case: Case, parts: int, margin: int, residual_margin: int
) -> None:
    slices = -(-case.weights[0].size // SMALL.depth)
    tile = replace(SMALL, parts=min(parts, slices))
    check(target, case, tile, margin, residual_margin)


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda tile: tile.instance())
def test_every_instance_with_and_without_parts(target: Target, instance: Tile) -> None:
    case = Case(
        x=normal_map((2, 12, 9, 11), np.float32, 1),
        weights=normal_map((70, 12, 3, 3), np.float32, 2),
        biases=normal_map((70,), np.float32, 3),
        residual=normal_map((2, 70, 9, 11), np.float32, 4),
        options={"stride": (1, 1), "padding": 1},
        activation="leaky",
    )
    for parts in (1, 2):
        check(target, case, replace(instance, parts=parts), margin=0, residual_margin=4)


def test_launches_that_share_a_workspace_give_the_same_bits(target: Target) -> None:
    x = upload_map(target, normal_map((1, 20, 9, 9), np.float32, 1))
    packed = target.upload(pack_weights(normal_map((70, 20, 3, 3), np.float32, 2)))
    biases = target.upload(np.zeros(70, np.float32))
    found = []
    # The tiles of the second launch are more: where the first has sums, it must find no counters.
    tiles = [replace(SMALL, parts=5), replace(SMALL, parts=3), replace(SMALL, parts=5)]
    floats = max(workspace_floats(Product(81, 70, 180), tile) for tile in tiles)
    workspace = new_workspace(target, floats)
    for tile in tiles:
        out = empty_map(target, 1, 9, 9, 70)
        conv_forward_blocked_cuda(
            *(target, x, packed, biases, out),
            size=3,
            stride=(1, 1),
            padding=1,
            tile=tile,
            workspace=workspace,
        )
        found.append(download_map(target, out))
    assert np.array_equal(found[0], found[2])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-4)


def test_what_the_kernel_cannot_do_is_refused(target: Target) -> None:
    x, out = empty_map(target, 1, 20, 20, 4), empty_map(target, 1, 20, 20, 8)
    biases = target.upload(np.zeros(8, np.float32))

    def launch(size: int, **options: Any) -> None:
        packed = target.upload(pack_weights(np.zeros((8, 4, size, size), np.float32)))
        padding, result = size // 2, options.pop("out", out)
        conv_forward_blocked_cuda(
            *(target, x, packed, biases, result),
            **{"size": size, "stride": (1, 1), "padding": padding, **options},
        )

    with pytest.raises(InputError, match="sizes up to 16, not 17"):
        launch(17)
    with pytest.raises(InputError, match="need a workspace of"):
        launch(3, tile=replace(SMALL, parts=2))
    with pytest.raises(InputError, match="out must be of shape"):
        launch(3, out=empty_map(target, 1, 19, 20, 8))
    with pytest.raises(InputError, match="residual must be of shape"):
        launch(3, residual=empty_map(target, 1, 20, 20, 7))
