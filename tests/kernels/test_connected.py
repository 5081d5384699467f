"""kernels/connected.cu against the plain reference."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.maps import DeviceMap, download_map, empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.connected import (
    connected_forward_cuda,
    connected_forward_reference,
    pack_connected_weights,
)
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.kernels import assert_stored, elements, margins, run_on_maps
from tinyyolo3.testing.strategies import feature_maps, map_shapes, normal_map, seeds

#: Batches that a block of four images does not divide, and sums longer than a block's threads.
SHAPES = st.one_of(
    map_shapes(max_images=6, max_channels=9, max_side=5),
    map_shapes(max_images=2, max_channels=40, max_side=9),
)


class Layer:
    """Random parameters, in both memories."""

    def __init__(self, target: Target, x: np.ndarray, outputs: int, seed: int) -> None:
        self.x = x
        self.weights = normal_map((outputs, x[0].size), np.float32, seed)
        self.biases = normal_map((outputs,), np.float32, seed + 1)
        packed = target.upload(pack_connected_weights(self.weights, x.shape[1:]))
        uploaded = target.upload(self.biases)

        def launch(source: DeviceMap, out: DeviceMap, activation: str = "linear") -> None:
            connected_forward_cuda(target, source, packed, uploaded, out, activation=activation)

        self.launch = launch

    def assert_close(self, found: np.ndarray, activation: str = "linear") -> None:
        double = [a.astype(np.float64) for a in (self.x, self.weights, self.biases)]
        expected = activation_forward_reference(connected_forward_reference(*double), activation)
        magnitude = connected_forward_reference(*map(np.abs, double))
        bound = tolerances.summation(magnitude, self.weights.shape[1] + 2)
        assert_stored(found, expected, bound)


@settings(max_examples=40, deadline=None)
@given(
    x=feature_maps(SHAPES, np.float32),
    outputs=st.integers(1, 11),
    activation=st.sampled_from(["linear", "leaky", "relu"]),
    seed=seeds(),
    margin=margins,
    element=elements,
)
def test_the_kernel_sums_as_the_reference(
    target: Target,
    x: np.ndarray,
    outputs: int,
    activation: str,
    seed: int,
    margin: int,
    element: type,
) -> None:
    x = x.astype(element)
    layer = Layer(target, x, outputs, seed)
    launch = partial(layer.launch, activation=activation)
    found = run_on_maps(target, launch, [x], (len(x), outputs, 1, 1), margin)
    layer.assert_close(found, activation)


@pytest.mark.parametrize("images", [2, 5])
def test_an_image_gets_the_same_bits_alone_and_in_a_batch(target: Target, images: int) -> None:
    x = normal_map((images, 8, 13, 13), np.float32, 1)
    layer = Layer(target, x, 5, 2)
    found = run_on_maps(target, layer.launch, [x], (images, 5, 1, 1))
    for image, outputs in zip(x, found, strict=True):
        alone = run_on_maps(target, layer.launch, [image[None]], (1, 5, 1, 1))
        assert np.array_equal(alone[0], outputs)


def test_a_part_of_a_map_at_an_odd_channel_is_read_number_by_number(target: Target) -> None:
    x = normal_map((2, 12, 3, 5), np.float32, 1)
    layer = Layer(target, np.ascontiguousarray(x[:, 1:9]), 5, 2)
    whole, out = upload_map(target, x), empty_map(target, 2, 1, 1, 5)
    part = DeviceMap(whole.data[1:-3], 2, 3, 5, 8, 12)
    assert whole.in_fours
    assert not part.in_fours
    layer.launch(part, out)
    layer.assert_close(download_map(target, out))
