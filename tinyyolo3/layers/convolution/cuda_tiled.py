"""Convolution on a GPU, the second rung: ``kernels/convolution_tiled.cu``, shared memory."""

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.layers.convolution.cuda import convolution_struct
from tinyyolo3.layers.shapes import Stride

#: A block's tile of the result, its slice of the sums, and its rows of threads.
PIXELS, FILTERS, DEPTH, ROWS = 32, 32, 32, 8


def conv_forward_tiled_cuda(
    target: Target,
    x: DeviceMap,
    packed: DeviceArray,
    biases: DeviceArray,
    out: DeviceMap,
    *,
    size: int,
    stride: Stride,
    padding: int,
    dilation: int = 1,
    groups: int = 1,
    activation: str = "linear",
    residual: DeviceMap | None = None,
) -> None:
    """Launch the kernel; arguments and errors are those of `conv_forward_direct_cuda`."""
    shape = convolution_struct(
        x,
        out,
        size=size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        activation=activation,
        residual=residual,
    )
    target.kernel("convolution_tiled.cu", "convolution_tiled")(
        (-(-out.pixels // PIXELS), -(-(out.channels // groups) // FILTERS), groups),
        (FILTERS, ROWS),
        (shape, x.data, packed, biases, residual.data if residual else None, out.data),
        shared_mem=4 * (PIXELS * DEPTH + DEPTH * FILTERS),
        outputs=out.whole,
    )
