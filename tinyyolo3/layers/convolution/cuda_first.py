"""A network's first convolution, straight from pictures' bytes: ``kernels/convolution_first.cu``.

The network's input, pictures resized to floats, is made where it is multiplied, and never written
to memory. Its numbers are the same to the last bit as those that `network_input_cuda` would write.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda import convolution_struct
from tinyyolo3.layers.convolution.cuda_mma import FILTERS_UNIT, filter_order, round_weights
from tinyyolo3.layers.convolution.cuda_mma_tiles import Precision
from tinyyolo3.layers.shapes import Stride

#: What the kernel is made for: pictures of three channels, and windows of 3 × 3.
CHANNELS, SIZE = 3, 3
#: Its strides, the same both ways.
STRIDES = (1, 2)
#: Outputs of a block, whose warps have one row each.
ROWS, COLUMNS = 8, 32
#: Terms of a filter, filled up to those of whole multiplications.
_FILLED_TERMS = 32


@dataclass(frozen=True)
class FirstLayer:
    """A way to compute a convolution: from pictures, in a precision of tensor cores."""

    precision: Precision


def suits_first_layer(channels: int, size: int, stride: Stride, dilation: int) -> bool:
    """Return whether the kernel computes such a convolution."""
    window = (channels, size, dilation) == (CHANNELS, SIZE, 1)
    return window and stride[0] == stride[1] and stride[0] in STRIDES


def pack_first_weights(weights: NDArray[np.float32], precision: Precision) -> NDArray[np.generic]:
    """Return weights as the kernel reads them: the fragments of tensor cores, lane by lane.

    Args:
        weights: (F, 3, 3, 3).
        precision: what they are rounded to.

    Returns:
        (filters / 32, steps, 4, 32, 2 · numbers of 32 bits): of each 8 words of a filter's 27
        terms, filled up to 32, those that each lane multiplies. The order of the filters is that of
        `pack_mma_weights`.

    Raises:
        InputError: a weight overflows in half precision.
    """
    filters = len(weights)
    rows = -(-filters // FILTERS_UNIT) * FILTERS_UNIT
    terms = np.zeros((rows, _FILLED_TERMS), precision.dtype)
    by_term = round_weights(weights, precision).transpose(0, 2, 3, 1).reshape(filters, -1)
    terms[:filters, : by_term.shape[1]] = by_term
    words = terms[filter_order(rows)].view(np.uint32)
    # (32s of filters, column / 8, column % 8, step, half of it, word of a lane)
    parts = words.reshape(rows // FILTERS_UNIT, 4, 8, -1, 2, 4)
    by_lane = np.ascontiguousarray(parts.transpose(0, 3, 1, 2, 5, 4))
    return by_lane.reshape(len(parts), -1, 4, 32, 2).view(precision.dtype)


def conv_forward_first_cuda(
    target: Target,
    pixels: DeviceArray,
    frames: DeviceArray,
    x: DeviceMap,
    packed: DeviceArray,
    biases: DeviceArray,
    out: DeviceMap,
    *,
    precision: Precision,
    stride: Stride,
    padding: int,
    activation: str = "linear",
) -> None:
    """Launch the kernel from pictures into `out`.

    Args:
        target: where to run; from sm_75 on for fp16, from sm_80 on for tf32.
        pixels: uint8, all pictures' RGB, as for `network_input_cuda`.
        frames: uint8, as many `FRAME` as there are images.
        x: the network's input. Only its shape counts: it is neither read nor written.
        packed: the weights, packed by `pack_first_weights`.
        biases: (F,), float32.
        out: (N, out_H, out_W, F) of the precision's type.
        precision: what is multiplied; sums are float32 always.
        stride: vertical and horizontal step.
        padding: zeros on each side.
        activation: applied to the sums.

    Raises:
        InputError: the convolution is not one that the kernel is made for, or `out` has another
            shape or type.
    """
    if not suits_first_layer(x.channels, SIZE, stride, 1):
        raise InputError(
            f"convolution: the first layer's kernel takes 3 channels and strides of 1 or 2, not "
            f"{x.channels} channels and {stride}"
        )
    if out.data.dtype != precision.dtype:
        expected = np.dtype(precision.dtype)
        raise InputError(f"convolution: out must be of {expected}, not {out.data.dtype}")
    shape = convolution_struct(
        x,
        out,
        size=SIZE,
        stride=stride,
        padding=padding,
        dilation=1,
        groups=1,
        activation=activation,
        residual=None,
    )
    arguments = precision.element, f"ACTIVATION_{activation.upper()}", str(stride[0])
    target.kernel("convolution_first.cu", f"convolution_first<{', '.join(arguments)}>")(
        (-(-out.width // COLUMNS), -(-out.height // ROWS), out.images),
        (32 * ROWS,),
        (shape, pixels, frames, packed, biases, out.data),
        shared_mem=shared_bytes(precision, stride[0]),
        outputs=out.whole,
    )


def shared_bytes(precision: Precision, stride: int) -> int:
    """Return a block's dynamic shared memory: the pixels under its outputs, and biases."""
    rows, columns = ((side - 1) * stride + SIZE for side in (ROWS, COLUMNS))
    numbers = rows * columns * CHANNELS
    return -(-numbers * np.dtype(precision.dtype).itemsize // 4) * 4 + 4 * FILTERS_UNIT
