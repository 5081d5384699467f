"""Convolution against PyTorch's, where that is installed."""

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tinyyolo3.backends.cpu import conv_forward_cpu  # noqa: E402
from tinyyolo3.layers.convolution.im2col import conv_forward_im2col  # noqa: E402
from tinyyolo3.layers.convolution.reference import conv_forward_reference  # noqa: E402
from tinyyolo3.testing.convolutions import convolutions  # noqa: E402


@pytest.mark.parametrize("forward", [conv_forward_reference, conv_forward_im2col, conv_forward_cpu])
@settings(max_examples=60, deadline=None)
@given(data=st.data(), depthwise=st.booleans())
def test_convolution_is_torchs(forward, data, depthwise):
    call = data.draw(convolutions(depthwise=depthwise))
    expected = torch.nn.functional.conv2d(
        *(None if array is None else tensor(array) for array in call.arrays),
        stride=call.options["stride"],
        padding=call.options["padding"] * call.options["dilation"],  # Darknet's counts so
        dilation=call.options["dilation"],
        groups=call.options["groups"],
    ).numpy()
    actual = forward(*call.arrays, **call.options)
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert np.all(np.abs(actual - expected) <= 2 * call.tolerance())


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))
