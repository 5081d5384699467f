"""Depthwise convolution on a GPU: ``kernels/convolution_depthwise.cu``."""

from tinyyolo3.cuda.maps import DeviceMap, address
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda import convolution_struct
from tinyyolo3.layers.shapes import Stride

#: Threads of a block.
THREADS = 128
#: Neighbouring outputs of a thread: with a window known to the compiler, and with any other.
UNROLLED_COLUMNS, GENERAL_COLUMNS = 4, 2
#: The windows known to the compiler: sizes, and strides of both axes.
UNROLLED_SIZES, UNROLLED_STRIDES = (3, 5), (1, 2)


def conv_forward_depthwise_cuda(
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
    groups: int,
    activation: str = "linear",
    residual: DeviceMap | None = None,
) -> None:
    """Launch the kernel; arguments and errors are those of `conv_forward_direct_cuda`.

    Raises:
        InputError: besides, `groups` is not the number of channels.
    """
    if groups != x.channels:
        raise InputError(
            f"convolution: depthwise are those of as many groups as channels, not of {groups} for "
            f"{x.channels} channels"
        )
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
    maps = (x, out) if residual is None else (x, out, residual)
    aligned = address(packed) % 16 == address(biases) % 16 == 0
    in_fours = aligned and x.channels == out.channels and all(map_.in_fours for map_ in maps)
    lanes = 4 if in_fours else 1
    columns, name = _instance(size, stride, dilation, lanes, x.element)
    strips = out.images * out.height * -(-out.width // columns)
    target.kernel("convolution_depthwise.cu", name)(
        (-(-strips * (out.channels // lanes) // THREADS),),
        (THREADS,),
        (shape, x.data, packed, biases, residual.data if residual else None, out.data),
        outputs=out.whole,
    )


def _instance(
    size: int, stride: Stride, dilation: int, lanes: int, element: str
) -> tuple[int, str]:
    """Return how many columns a thread of the kernel for a window computes, and its name."""
    halves = ", half" if element == "half" else ""
    square = stride[0] == stride[1] and dilation == 1
    if lanes == 4 and square and size in UNROLLED_SIZES and stride[0] in UNROLLED_STRIDES:
        columns = UNROLLED_COLUMNS
        return columns, f"depthwise_unrolled<{size}, {stride[0]}, {columns}, {lanes}{halves}>"
    return GENERAL_COLUMNS, f"depthwise_general<{GENERAL_COLUMNS}, {lanes}{halves}>"
