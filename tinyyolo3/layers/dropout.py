"""Dropout: nothing at inference.

In training a random part of the elements is zeroed and the rest divided by the probability of
staying, so that the expectation is kept and inference is the identity (Srivastava et al., 2014,
JMLR 15, in the "inverted" form). Darknet: dropout_layer.c, forward_dropout_layer, which returns
at once unless training.
"""

from tinyyolo3.arrays import FloatArray
from tinyyolo3.layers.arguments import require_map, result_array


def dropout_forward_reference(x: FloatArray, *, out: FloatArray | None = None) -> FloatArray:
    """Pass a feature map on unchanged.

    Args:
        x: (N, C, H, W), float32 or float64.
        out: where to copy it, of `x`'s shape and dtype.

    Returns:
        `out`; without it `x` itself, not a copy.

    Raises:
        InputError: `x` or `out` has the wrong shape or dtype.
    """
    require_map("dropout", "x", x)
    if out is None:
        return x
    result = result_array("dropout", out, x.shape, x.dtype)
    result[...] = x
    return result
