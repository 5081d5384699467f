"""What ``kernels/persistent.cu`` reads of a step: its structs and numbers, as they are there."""

import ctypes
from enum import IntEnum

from tinyyolo3.layers.convolution.cuda import ConvolutionStruct

#: Steps whose outputs one step can wait for.
MOST_NEEDS = 12


class Kind(IntEnum):
    """What a step computes; the numbers are the kernel's."""

    CONVOLUTION, DEPTHWISE, MAXPOOL, UPSAMPLE, COPY, COPY_TO_FLOATS = range(6)


class Under(IntEnum):
    """Which bands of another step's output lie under an item."""

    SAME_PIXELS, WINDOW, SQUARE = range(3)


class NeedStruct(ctypes.Structure):
    """`struct NetworkNeed`."""

    _fields_ = tuple((name, ctypes.c_int) for name in ("counters", "signals", "under"))


class StepStruct(ctypes.Structure):
    """`struct NetworkStep`."""

    _fields_ = (
        *((name, ctypes.c_longlong) for name in ("x", "w", "biases", "residual", "y", "partial")),
        ("shape", ConvolutionStruct),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_int) for name in ("kind", "to_floats", "in_lanes")),
        *((name, ctypes.c_int) for name in ("first_item", "parts", "arrivals")),
        *((name, ctypes.c_int) for name in ("counters", "needs_count")),
        ("needs", NeedStruct * MOST_NEEDS),
    )
