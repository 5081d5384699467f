"""Connected: every output is a weighted sum of all inputs.

    y = W·x + b

with each image flattened in the order channel, row, column. Darknet: connected_layer.c,
forward_connected_layer. It is one matrix product, which BLAS does as well as it can be done, so
one function serves every backend that computes on the CPU.
"""

import math

import numpy as np

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap, address
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import require_gradient, require_map, result_array
from tinyyolo3.layers.shapes import Shape


def connected_forward_reference(
    x: FloatArray,
    weights: FloatArray,
    biases: FloatArray,
    *,
    out: FloatArray | None = None,
) -> FloatArray:
    """Multiply each flattened image by a matrix and add the biases.

    Args:
        x: (N, C, H, W), float32 or float64.
        weights: (outputs, C·H·W) of `x`'s dtype.
        biases: (outputs,) of `x`'s dtype.
        out: where to write the result, (N, outputs, 1, 1) of `x`'s dtype; not `x`'s memory.

    Returns:
        `out`, or a new array.

    Raises:
        InputError: the shapes or dtypes do not fit.
    """
    _check(x, weights, biases)
    result = result_array("connected", out, (len(x), len(weights), 1, 1), x.dtype)
    result[:, :, 0, 0] = x.reshape(len(x), weights.shape[1]) @ weights.T + biases
    return result


def connected_backward_reference(
    gradient: FloatArray, x: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Carry a gradient back through the product: two products of matrices.

    Darknet: connected_layer.c, backward_connected_layer.

    Args:
        gradient: (N, outputs, 1, 1), ∂loss/∂y.
        x: (N, C, H, W), what was multiplied.
        weights: (outputs, C·H·W).

    Returns:
        ∂loss/∂x (N, C, H, W), ∂loss/∂weights (outputs, C·H·W) and ∂loss/∂biases (outputs,), new
        arrays of `x`'s dtype.

    Raises:
        InputError: the shapes or dtypes do not fit.
    """
    outputs = len(weights)
    _check(x, weights, np.empty(outputs, x.dtype))
    require_gradient("connected", gradient, (len(x), outputs, 1, 1), x)
    grad_y = gradient.reshape(len(x), outputs)
    grad_weights = grad_y.T @ x.reshape(len(x), weights.shape[1])
    return (grad_y @ weights).reshape(x.shape), grad_weights, grad_y.sum(axis=0)


def _check(x: FloatArray, weights: FloatArray, biases: FloatArray) -> None:
    require_map("connected", "x", x)
    inputs, outputs = math.prod(x.shape[1:]), len(biases)
    if weights.shape != (outputs, inputs) or biases.shape != (outputs,):
        raise InputError(
            f"connected: weights must be (outputs, {inputs}) and biases (outputs,) for x of shape "
            f"{x.shape}, not {weights.shape} and {biases.shape}"
        )
    if weights.dtype != x.dtype or biases.dtype != x.dtype:
        raise InputError(
            f"connected: weights and biases must be {x.dtype} like x, not {weights.dtype} and "
            f"{biases.dtype}"
        )


def pack_connected_weights(weights: FloatArray, input_shape: Shape) -> FloatArray:
    """Return the weights in the order in which a map on the device lies in memory.

    Args:
        weights: (outputs, C·H·W), the inputs counted by channel, row, column.
        input_shape: (C, H, W).

    Returns:
        (outputs·H·W·C,) float32, the inputs counted by row, column, channel.
    """
    by_channel = weights.reshape(len(weights), *input_shape)
    return np.ascontiguousarray(by_channel.transpose(0, 2, 3, 1), np.float32).reshape(-1)


def connected_forward_cuda(
    target: Target,
    x: DeviceMap,
    weights: DeviceArray,
    biases: DeviceArray,
    out: DeviceMap,
    *,
    activation: str = "linear",
) -> None:
    """Launch ``kernels/connected.cu``: ``activation(W·x + b)`` for every image.

    Args:
        target: where to run.
        x: the input map.
        weights: what `pack_connected_weights` returns, in the target's memory.
        biases: (outputs,) float32.
        out: one pixel of `outputs` channels per image.
        activation: one of `ACTIVATIONS`.
    """
    # Four images share each weight that is loaded; one alone would be computed four times.
    images = 1 if x.images == 1 else 4
    lanes = 4 if x.in_fours and address(weights) % 16 == 0 else 1
    outputs, warps = 4, 8
    halves = ", half" if x.element == "half" else ""
    target.kernel("connected.cu", f"connected<{images}, {lanes}{halves}>")(
        (-(-out.channels // outputs), -(-x.images // images)),
        (32 * warps,),
        (x.data, x.struct, weights, biases, out.data, out.struct, ACTIVATIONS.index(activation)),
        shared_mem=4 * warps * outputs * images,
        outputs=out.whole,
    )
