"""Every layer's output-shape rule, in integers: ``(channels, height, width)`` in and out.

Nothing is allocated here, so an absurd cfg is refused by arithmetic alone.
"""

from collections.abc import Sequence

from tinyyolo3.errors import InputError

Shape = tuple[int, int, int]
#: Vertical and horizontal step, in pixels of the layer's input.
Stride = tuple[int, int]


def convolution_shape(
    shape: Shape,
    *,
    filters: int,
    size: int,
    stride: Stride,
    padding: int,
    dilation: int = 1,
    groups: int = 1,
) -> Shape:
    """Return a convolution's output shape (convolutional_layer.c convolutional_out_height).

    `padding` is on each side and, as in Darknet, counts in dilated pixels.

    Raises:
        InputError: the groups do not divide the channels or filters, or the kernel does not fit.
    """
    channels, height, width = shape
    if channels % groups or filters % groups:
        raise InputError(
            f"groups={groups} must divide the {channels} input channels and the {filters} filters"
        )
    # DARKNET: the kernel's padding is multiplied by the dilation. Its own output size leaves the
    # dilation out, which is the same number wherever its im2col reads the right pixels, that is
    # for padding = (size - 1) / 2.
    reach = dilation * (size - 1) + 1
    extent = 2 * padding * dilation - reach
    out = tuple(
        (length + extent) // step + 1 for length, step in zip((height, width), stride, strict=True)
    )
    return _positive((filters, out[0], out[1]), f"a {reach}x{reach} kernel", shape)


def maxpool_shape(shape: Shape, *, size: int, stride: Stride, padding: int) -> Shape:
    """Return a max-pool's output shape (maxpool_layer.c make_maxpool_layer).

    `padding` is the total over both sides.

    Raises:
        InputError: the window does not fit.
    """
    channels, height, width = shape
    out_height = (height + padding - size) // stride[0] + 1
    out_width = (width + padding - size) // stride[1] + 1
    return _positive((channels, out_height, out_width), f"a {size}x{size} window", shape)


def avgpool_shape(shape: Shape) -> Shape:
    """Return the output shape of the mean over each channel (avgpool_layer.c)."""
    return (shape[0], 1, 1)


def upsample_shape(shape: Shape, *, stride: int) -> Shape:
    """Return the output shape of nearest-neighbour enlargement (upsample_layer.c)."""
    channels, height, width = shape
    return (channels, height * stride, width * stride)


def route_shape(shapes: Sequence[Shape], *, groups: int = 1) -> Shape:
    """Return the shape of the channels joined, of each input only one in `groups` parts.

    Source: route_layer.c, parser.c parse_route.

    Raises:
        InputError: the inputs differ in height or width, or `groups` does not divide one.
    """
    _, height, width = shapes[0]
    channels = 0
    for shape in shapes:
        if shape[1:] != (height, width):
            raise InputError(
                f"joins maps of different size: {_text(shapes[0])} with {_text(shape)}"
            )
        if shape[0] % groups:
            raise InputError(f"groups={groups} must divide the {shape[0]} channels")
        channels += shape[0] // groups
    return (channels, height, width)


def shortcut_shape(shape: Shape, other: Shape) -> Shape:
    """Return the shape of ``shape + other``: the first one's (shortcut_layer.c).

    Channels may differ; heights and widths may differ by one common whole factor.

    Raises:
        InputError: they differ in any other way.
    """
    smaller, larger = sorted((shape, other), key=lambda sides: sides[2])
    factor = larger[2] // smaller[2]
    if larger[1:] != (smaller[1] * factor, smaller[2] * factor):
        raise InputError(
            f"adds maps whose sizes are not one multiple of the other: {_text(shape)} and "
            f"{_text(other)}"
        )
    return shape


def scale_channels_shape(shape: Shape, source: Shape, *, scale_wh: bool = False) -> Shape:
    """Return the shape of `source` scaled by `shape` (scale_channels_layer.c).

    Raises:
        InputError: the factors are not one per channel (or, with `scale_wh`, one per pixel).
    """
    expected = (1, *source[1:]) if scale_wh else (source[0], 1, 1)
    if shape != expected:
        raise InputError(f"scales {_text(source)} by {_text(shape)}, expected {_text(expected)}")
    return source


def sam_shape(shape: Shape, source: Shape) -> Shape:
    """Return the shape of a product of equals (sam_layer.c).

    Raises:
        InputError: the shapes differ.
    """
    if shape != source:
        raise InputError(f"multiplies {_text(shape)} with {_text(source)}, expected equal shapes")
    return source


def reorg_shape(shape: Shape, *, stride: int) -> Shape:
    """Return the shape with `stride` × `stride` pixels moved into channels (reorg_old_layer.c).

    Raises:
        InputError: the stride does not divide height and width, or its square the channels.
    """
    channels, height, width = shape
    if height % stride or width % stride or channels % (stride * stride):
        raise InputError(
            f"stride={stride} must divide height and width, and its square the channels, "
            f"of {_text(shape)}"
        )
    return (channels * stride * stride, height // stride, width // stride)


def _positive(out: Shape, what: str, shape: Shape) -> Shape:
    if min(out) < 1:
        raise InputError(f"{what} does not fit on its input {_text(shape)}")
    return out


def _text(shape: Shape) -> str:
    """Write a shape as the field does: width x height x channels."""
    return f"{shape[2]}x{shape[1]}x{shape[0]}"
