"""Every tolerance of the test-suite, each with its reason.

A tolerance is a formula or a constant with a name; tests import it and type no number of
their own. "Exact" operations (copies, selections) have none: they are compared for equality.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray

#: Darknet prints its boxes with three decimals, and its own float32 sums differ from ours in
#: order; a trained network's logits move by less than 1e-3 for it.
DARKNET_CONFIDENCE = 2e-3
#: The same, on the corners of a box in pixels of the image.
DARKNET_CORNER_PX = 0.5


def summation(magnitude: FloatArray, terms: int, dtype: type = np.float32) -> FloatArray:
    """Bound the error of a sum of `terms` products, however it is ordered.

    Args:
        magnitude: the same sum taken over absolute values, ``Σ |x| |w|``.
        terms: the number of products.
        dtype: the precision in which the sum was taken.

    The worst case grows with `terms`; rounding errors are independent enough that the square
    root, doubled for safety, holds (Higham, Accuracy and Stability, section 2.8).
    """
    return np.asarray((2.0 + np.sqrt(terms)) * np.finfo(dtype).eps * np.abs(magnitude) + 1e-30)


#: One elementary function (exp, tanh, log1p) chained with a few float32 operations: a handful
#: of units in the last place, relative to the larger of the value and one.
ELEMENTARY_FLOAT32 = 8 * float(np.finfo(np.float32).eps)

#: The same in float64, where a formula is compared with itself written as scalar loops.
ELEMENTARY_FLOAT64 = 8 * float(np.finfo(np.float64).eps)
