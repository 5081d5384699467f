"""Convolution's gradients from its definition, in plain NumPy.

With the sum of `reference`, y = Σ w·x + b, and g = ∂loss/∂y:

    ∂loss/∂b[f]          = Σ_n Σ_i Σ_j g[n, f, i, j]
    ∂loss/∂w[f, c, u, v] = Σ_n Σ_i Σ_j g[n, f, i, j] · x[n, c, i·s + u·d − p·d, j·s + v·d − p·d]
    ∂loss/∂x[n, c, k, l] = Σ g[n, f, i, j] · w[f, c, u, v]

the last over all f, i, j, u and v whose product in the first sum has x[n, c, k, l] in it. Darknet:
convolutional_layer.c, backward_convolutional_layer.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.layers.arguments import require_gradient
from tinyyolo3.layers.convolution.reference import check_convolution
from tinyyolo3.layers.shapes import Stride


def conv_backward_reference(
    gradient: FloatArray,
    x: FloatArray,
    weights: FloatArray,
    *,
    stride: Stride = (1, 1),
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Carry a gradient back through a convolution: two products of matrices per kernel tap.

    Args:
        gradient: (N, F, out_H, out_W), ∂loss/∂y.
        x: (N, C, H, W), what was convolved.
        weights: (F, C / groups, K, K), the filters.
        stride: as in `conv_forward_reference`, and so are `padding`, `dilation` and `groups`.
        padding: see above.
        dilation: see above.
        groups: see above.

    Returns:
        ∂loss/∂x (N, C, H, W), ∂loss/∂weights (F, C / groups, K, K) and ∂loss/∂biases (F,), new
        arrays in the dtype of `x`.

    Raises:
        InputError: the shapes do not fit, or an option is out of range.
    """
    shape = check_convolution(x, weights, None, stride, padding, dilation, groups)
    require_gradient("convolution", gradient, (len(x), *shape), x)
    filters, out_height, out_width = shape
    size, inputs = weights.shape[2], weights.shape[1]
    pad = padding * dilation
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    parted = padded.reshape(len(x), groups, inputs, *padded.shape[2:])
    filters_by_group = weights.reshape(groups, filters // groups, inputs, size, size)
    # (N, groups, F / groups, pixels)
    grad_y = gradient.reshape(len(x), groups, filters // groups, out_height * out_width)
    grad_parted = np.zeros(parted.shape, x.dtype)
    grad_filters = np.empty(filters_by_group.shape, x.dtype)
    for u in range(size):
        for v in range(size):
            top, left = u * dilation, v * dilation
            rows = slice(top, top + (out_height - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (out_width - 1) * stride[1] + 1, stride[1])
            tap = parted[..., rows, columns]
            pixels = tap.reshape(len(x), groups, inputs, out_height * out_width)
            grad_filters[..., u, v] = (grad_y @ pixels.swapaxes(2, 3)).sum(axis=0)
            grad_pixels = filters_by_group[..., u, v].swapaxes(1, 2) @ grad_y
            grad_parted[..., rows, columns] += grad_pixels.reshape(tap.shape)
    height, width = x.shape[2:]
    grad_padded = grad_parted.reshape(padded.shape)
    grad_x = grad_padded[..., pad : pad + height, pad : pad + width].copy()
    return grad_x, grad_filters.reshape(weights.shape), gradient.sum(axis=(0, 2, 3))
