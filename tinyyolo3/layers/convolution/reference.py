"""Convolution from its definition, in plain NumPy.

    y[n, f, i, j] = b[f] + Σ_c Σ_u Σ_v w[f, c, u, v] · x[n, c, i·s + u·d − p·d, j·s + v·d − p·d]

with stride s, dilation d and padding p; x is zero outside its borders (convolutional_layer.c
forward_convolutional_layer: a cross-correlation, as everywhere in deep learning). With G groups,
filter f sees only the C/G channels of its own group.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import result_array
from tinyyolo3.layers.shapes import Shape, Stride, convolution_shape


def conv_forward_reference(
    x: FloatArray,
    weights: FloatArray,
    biases: FloatArray | None,
    *,
    stride: Stride = (1, 1),
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    out: FloatArray | None = None,
) -> FloatArray:
    """Convolve by the definition: one product of matrices per kernel tap, summed.

    Args:
        x: (N, C, H, W) feature map.
        weights: (F, C / groups, K, K) filters.
        biases: (F,), or None for none.
        stride: vertical and horizontal step.
        padding: zeros on each side, in dilated pixels.
        dilation: distance of the kernel's taps.
        groups: how many independent parts the channels are cut into.
        out: (N, F, out_H, out_W) array to write to; allocated when None.

    Returns:
        (N, F, out_H, out_W), in the dtype of `x`.

    Raises:
        InputError: the shapes do not fit, or an option is out of range.
    """
    shape = check_convolution(x, weights, biases, stride, padding, dilation, groups)
    out = result_array("convolution", out, (len(x), *shape), x.dtype)
    filters, out_height, out_width = shape
    size, inputs = weights.shape[2], weights.shape[1]
    pad = padding * dilation
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    y = np.zeros((len(x), groups, filters // groups, out_height, out_width), x.dtype)
    parted = padded.reshape(len(x), groups, inputs, *padded.shape[2:])
    filters_by_group = weights.reshape(groups, filters // groups, inputs, size, size)
    for u in range(size):
        for v in range(size):
            top, left = u * dilation, v * dilation
            bottom = top + (out_height - 1) * stride[0] + 1
            right = left + (out_width - 1) * stride[1] + 1
            tap = parted[..., top : bottom : stride[0], left : right : stride[1]]
            pixels = tap.reshape(len(x), groups, inputs, out_height * out_width)
            y += (filters_by_group[..., u, v] @ pixels).reshape(y.shape)
    result: FloatArray = y.reshape(len(x), *shape)
    if biases is not None:
        result += biases[:, None, None]
    out[...] = result
    return out


def check_convolution(
    x: FloatArray,
    weights: FloatArray,
    biases: FloatArray | None,
    stride: Stride,
    padding: int,
    dilation: int,
    groups: int,
) -> Shape:
    """Return the output's (F, out_H, out_W).

    Raises:
        InputError: the arrays' shapes do not fit each other or the options.
    """
    if x.ndim != 4 or weights.ndim != 4 or weights.shape[2] != weights.shape[3]:
        raise InputError(
            f"expected (N, C, H, W) and (F, C, K, K) arrays, found {x.shape} and {weights.shape}"
        )
    if min(*stride, dilation, groups) < 1 or padding < 0:
        raise InputError(
            "stride, dilation and groups must be positive and padding not negative, found "
            f"stride={stride} dilation={dilation} groups={groups} padding={padding}"
        )
    filters, inputs, size, _ = weights.shape
    if x.shape[1] != inputs * groups:
        raise InputError(
            f"filters of {inputs} channels in {groups} groups need {inputs * groups} input "
            f"channels, found {x.shape[1]}"
        )
    if biases is not None and biases.shape != (filters,):
        raise InputError(f"expected {filters} biases, found shape {biases.shape}")
    channels, height, width = x.shape[1:]
    return convolution_shape(
        (channels, height, width),
        filters=filters,
        size=size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
