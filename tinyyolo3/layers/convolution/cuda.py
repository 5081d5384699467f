"""Convolution on a GPU: what the rungs of the ladder share, and the launcher of its top rung.

``kernels/convolution_direct.cu`` computes each output by its definition, ``convolution_tiled.cu``
in tiles of shared memory, ``convolution_blocked.cu`` with a block of outputs in each thread's
registers; the last one is what the engine runs. All take channels-last maps and `pack_weights`'
weights, and end with bias, activation and a [shortcut]'s addition.
"""

import ctypes

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda_tiles import (
    ODD,
    SPLIT_TILES,
    Product,
    Tile,
    choose_tile,
    workspace_floats,
)
from tinyyolo3.layers.shapes import Stride, convolution_shape

#: Packed weights have multiples of these: terms, and filters.
TERMS_UNIT, FILTERS_UNIT = 16, 4
#: The largest kernel of the blocked rung, which keeps a bit for each row and column of taps.
BLOCKED_SIZE = 16


class ConvolutionStruct(ctypes.Structure):
    """`struct ConvolutionShape` of ``kernels/convolution.cuh``."""

    _fields_ = tuple(
        (name, ctypes.c_int)
        for name in (
            *("images", "height", "width", "channels", "x_pitch"),
            *("out_height", "out_width", "filters", "y_pitch", "residual_pitch"),
            *("size", "stride_y", "stride_x", "padding", "dilation"),
            *("groups", "weight_pitch", "activation"),
        )
    )


def convolution_struct(
    x: DeviceMap,
    out: DeviceMap,
    *,
    size: int,
    stride: Stride,
    padding: int,
    dilation: int,
    groups: int,
    activation: str,
    residual: DeviceMap | None,
) -> ConvolutionStruct:
    """Return a convolution's shape as kernels take it.

    Raises:
        InputError: `out` or `residual` has not the shape of the result.
    """
    result = convolution_shape(
        (x.channels, x.height, x.width),
        filters=out.channels,
        size=size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    expected = (x.images, *result)
    for name, given in (("out", out), ("residual", residual)):
        if given is None:
            continue
        found = (given.images, given.channels, given.height, given.width)
        if found != expected:
            raise InputError(f"convolution: {name} must be of shape {expected}, not {found}")
    return ConvolutionStruct(
        *(x.images, x.height, x.width, x.channels, x.pitch),
        *(out.height, out.width, out.channels, out.pitch),
        residual.pitch if residual else 0,
        *(size, *stride, padding * dilation, dilation),
        *(groups, packed_filters(out.channels), ACTIVATIONS.index(activation)),
    )


def packed_filters(filters: int) -> int:
    """Return how many numbers lie between two terms' weights: the filters, filled up to fours."""
    return -(-filters // FILTERS_UNIT) * FILTERS_UNIT


def pack_weights(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return weights as the kernels read them: a row for each term, padded with zeros.

    Args:
        weights: (F, C / groups, K, K).

    Returns:
        (terms, filters) with term ``(u · K + v) · C / groups + c`` in each row, K² · C / groups
        filled up to a multiple of `TERMS_UNIT` and F to one of `FILTERS_UNIT`.
    """
    filters, inputs, size, _ = weights.shape
    terms = size * size * inputs
    packed = np.zeros((-(-terms // TERMS_UNIT) * TERMS_UNIT, packed_filters(filters)), np.float32)
    packed[:terms, :filters] = weights.transpose(2, 3, 1, 0).reshape(terms, filters)
    return packed


def new_workspace(target: Target, floats: int) -> DeviceArray:
    """Return a workspace for convolutions that run one after the other.

    Its first `SPLIT_TILES` numbers are counters of the blocked rung, which must be zero before the
    first launch; each launch leaves them so.
    """
    return target.upload(np.zeros(max(floats, SPLIT_TILES), np.float32))


def conv_forward_blocked_cuda(
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
    activation: str = "linear",
    residual: DeviceMap | None = None,
    tile: Tile | None = None,
    workspace: DeviceArray | None = None,
) -> None:
    """Launch ``kernels/convolution_blocked.cu`` from `x` into `out`.

    Args:
        target: where to run.
        x: (N, H, W, C).
        packed: the weights, packed by `pack_weights`.
        biases: (F,).
        out: (N, out_H, out_W, F).
        size: side of the kernel.
        stride: vertical and horizontal step.
        padding: zeros on each side, in dilated pixels.
        dilation: distance of the kernel's taps.
        activation: applied to the sums.
        residual: added after the activation; of `out`'s shape, in other memory.
        tile: how to cut the work; `choose_tile`'s choice when None. Where channels cannot be read
            four at a time, in aligned 16 bytes, it is `ODD` all the same.
        workspace: from `new_workspace`, of `workspace_floats` or more; needed if `tile.parts` > 1.

    Raises:
        InputError: a shape does not fit, the kernel is larger than `BLOCKED_SIZE`, a map or the
            weights have 2³¹ numbers or more, or the workspace is too small.
    """
    shape = convolution_struct(
        x,
        out,
        size=size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=1,
        activation=activation,
        residual=residual,
    )
    product = Product(out.pixels, out.channels, size * size * x.channels)
    vector = 4 if x.in_fours else 1
    if vector == 1:
        tile = ODD
    elif tile is None:
        tile = choose_tile(product)
    _check_limits(x, product, size, tile, workspace)
    split = None, None
    if workspace is not None and tile.parts > 1:
        split = workspace[SPLIT_TILES:], workspace[:SPLIT_TILES].view(np.uint32)
    target.kernel("convolution_blocked.cu", tile.instance(vector))(
        (tile.tiles(product), tile.parts),
        (tile.threads,),
        (
            *(shape, x.data, packed, biases, residual.data if residual else None, out.data),
            *split,
        ),
        shared_mem=tile.shared_bytes,
        outputs=out.whole,
    )


def _check_limits(
    x: DeviceMap, product: Product, size: int, tile: Tile, workspace: DeviceArray | None
) -> None:
    if size > BLOCKED_SIZE:
        raise InputError(
            f"convolution: the blocked kernel takes sizes up to {BLOCKED_SIZE}, not {size}"
        )
    largest = max(
        x.pixels * x.pitch, (product.terms + TERMS_UNIT) * packed_filters(product.filters)
    )
    if largest >= 2**31:
        raise InputError(f"convolution: a map or weights of {largest} numbers, 2³¹ are too many")
    if tile.parts == 1:
        return
    needed = workspace_floats(product, tile)
    found = 0 if workspace is None else workspace.size
    if found < needed or tile.tiles(product) > SPLIT_TILES:
        raise InputError(
            f"convolution: {tile.parts} parts of {tile.tiles(product)} tiles need a workspace of "
            f"{needed} numbers and at most {SPLIT_TILES} tiles, found {found} numbers"
        )
