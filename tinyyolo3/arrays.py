"""Names for the array types that signatures use.

Feature maps are ``(N, C, H, W)``: images, channels, rows, columns. They are float32 in
production; every reference function keeps the dtype it is given, so that float64 in gives
float64 out and the reference can serve as an oracle.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.signedinteger[Any]]
ByteArray: TypeAlias = NDArray[np.uint8]
