"""Convolution on a GPU, the first rung: ``kernels/convolution_direct.cu``, a thread per output."""

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.layers.convolution.cuda import convolution_struct
from tinyyolo3.layers.shapes import Stride

#: Filters and pixels of a block, which has a thread for each pair.
BLOCK_FILTERS, BLOCK_PIXELS = 32, 8


def conv_forward_direct_cuda(
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
    """Launch the kernel from `x` into `out`.

    Args:
        target: where to run.
        x: (N, H, W, C).
        packed: the weights, packed by `pack_weights`.
        biases: (F,).
        out: (N, out_H, out_W, F).
        size: side of the kernel's window.
        stride: vertical and horizontal step.
        padding: zeros on each side, in dilated pixels.
        dilation: distance of the window's taps.
        groups: how many independent parts the channels are cut into.
        activation: applied to the sums.
        residual: added after the activation; of `out`'s shape, in other memory.

    Raises:
        InputError: the shapes do not fit each other or the options.
    """
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
    target.kernel("convolution_direct.cu", f"convolution_direct{x.kernel_suffix}")(
        (-(-out.pixels // BLOCK_PIXELS), -(-out.channels // BLOCK_FILTERS)),
        (BLOCK_FILTERS, BLOCK_PIXELS),
        (shape, x.data, packed, biases, residual.data if residual else None, out.data),
        outputs=out.whole,
    )
