"""Connected: every output is a weighted sum of all inputs.

    y = W·x + b

with each image flattened in the order channel, row, column. Darknet: connected_layer.c,
forward_connected_layer. It is one matrix product, which BLAS does as well as it can be done, so
one function serves every backend that computes on the CPU.
"""

import math

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import require_map, result_array


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
    require_map("connected", "x", x)
    images, inputs, outputs = len(x), math.prod(x.shape[1:]), len(biases)
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
    result = result_array("connected", out, (images, outputs, 1, 1), x.dtype)
    result[:, :, 0, 0] = x.reshape(images, inputs) @ weights.T + biases
    return result
