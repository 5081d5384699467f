"""kernels/convolution_depthwise.cu against the plain reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.maps import DeviceMap, download_map, empty_map
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda import pack_weights
from tinyyolo3.layers.convolution.cuda_depthwise import conv_forward_depthwise_cuda
from tinyyolo3.testing.convolutions import Convolution, convolutions
from tinyyolo3.testing.fused_convolutions import FusedConvolution, fused, fused_convolutions
from tinyyolo3.testing.strategies import normal_map, seeds


@st.composite
def unrolled_windows(draw: st.DrawFn) -> Convolution:
    """Draw what networks have: channels in fours, sizes 3 and 5, one stride, dilation 1 or not."""
    channels = 4 * draw(st.sampled_from([1, 2, 3, 9, 33]))
    size, stride = draw(st.sampled_from([3, 5])), draw(st.integers(1, 2))
    padding = draw(st.integers(0, size))
    dilation = draw(st.sampled_from([1, 1, 1, 2]))
    least = max(1, dilation * (size - 1) + 1 - 2 * padding * dilation)
    side = st.integers(least, max(least, 13))
    shape = (draw(st.integers(1, 2)), channels, draw(side), draw(side))
    seed = draw(seeds())
    return Convolution(
        x=normal_map(shape, np.float32, seed),
        weights=normal_map((channels, 1, size, size), np.float32, seed + 1),
        biases=normal_map((channels,), np.float32, seed + 2),
        options={
            "stride": (stride, stride),
            "padding": padding,
            "dilation": dilation,
            "groups": channels,
        },
    )


@settings(max_examples=60, deadline=None)
@given(fused_convolutions(unrolled_windows(), halves=True))
def test_windows_known_to_the_compiler(target: Target, case: FusedConvolution) -> None:
    case.assert_kernel_agrees(target, conv_forward_depthwise_cuda, pack_weights)


@settings(max_examples=40, deadline=None)
@given(fused_convolutions(convolutions(dtype=np.float32, depthwise=True), halves=True))
def test_any_window(target: Target, case: FusedConvolution) -> None:
    case.assert_kernel_agrees(target, conv_forward_depthwise_cuda, pack_weights)


@pytest.mark.parametrize("shifted", ["none", "x", "residual", "out", "biases", "packed"])
def test_an_array_at_an_odd_address_is_taken_number_by_number(target: Target, shifted: str) -> None:
    x, weights = normal_map((1, 8, 6, 7), np.float32, 1), normal_map((8, 1, 3, 3), np.float32, 2)
    options = {"stride": (1, 1), "padding": 1, "dilation": 1, "groups": 8}
    case = fused(Convolution(x, weights, None, options), residual=True)

    def upload(name: str, array: np.ndarray) -> DeviceArray:
        begin = int(name == shifted)
        values = np.zeros(array.size + 4, np.float32)
        values[begin : begin + array.size] = array.reshape(-1)
        return target.upload(values)[begin : begin + array.size]

    def on_map(name: str, array: np.ndarray) -> DeviceMap:
        return DeviceMap(upload(name, array.transpose(0, 2, 3, 1)), 1, 6, 7, 8, 8)

    out = on_map("out", x)
    conv_forward_depthwise_cuda(
        target,
        on_map("x", x),
        upload("packed", pack_weights(weights)),
        upload("biases", case.call.biases),
        out,
        size=3,
        **options,
        activation="leaky",
        residual=on_map("residual", case.residual),
    )
    expected, bound = case.expected()
    assert np.all(np.abs(download_map(target, out) - expected) <= bound)


def test_every_activation_is_applied_once(target: Target) -> None:
    x, weights = normal_map((1, 8, 6, 7), np.float32, 1), normal_map((8, 1, 3, 3), np.float32, 2)
    options = {"stride": (1, 1), "padding": 1, "dilation": 1, "groups": 8}
    for activation in ("mish", "swish", "logistic", "relu6"):
        case = fused(Convolution(x, weights, None, options), activation, residual=True)
        case.assert_kernel_agrees(target, conv_forward_depthwise_cuda, pack_weights)


def test_other_groups_are_refused(target: Target) -> None:
    x, out = empty_map(target, 1, 5, 5, 8), empty_map(target, 1, 5, 5, 8)
    arrays = target.empty(9 * 8), target.empty(8)
    with pytest.raises(InputError, match="as many groups as channels, not of 4 for 8 channels"):
        conv_forward_depthwise_cuda(
            target, x, *arrays, out, size=3, stride=(1, 1), padding=1, groups=4
        )
