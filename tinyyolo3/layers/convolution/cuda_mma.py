"""Convolution on tensor cores: the launcher of ``kernels/convolution_mma.cu`` and its next rung."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.maps import DeviceMap, address
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda import BLOCKED_SIZE, convolution_struct
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    GemmTile,
    Precision,
    mma_counters,
    mma_grid,
    mma_terms,
    mma_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tiles import SPLIT_TILES, Product
from tinyyolo3.layers.shapes import Stride

#: Packed weights have rows for multiples of so many filters, of multiples of so many bytes.
FILTERS_UNIT, ROW_BYTES_UNIT = 32, 128


def round_to_tf32(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 numbers rounded to tf32's 11 bits, ties away from zero as GPUs do."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    finite = bits & 0x7F800000 != 0x7F800000
    return np.where(finite, (bits + 0x1000) & ~np.uint32(0x1FFF), bits).view(np.float32)


def round_weights(weights: NDArray[np.float32], precision: Precision) -> NDArray[Any]:
    """Return weights as a precision's tensor cores multiply them.

    Raises:
        InputError: a weight overflows in half precision.
    """
    rounded = weights if precision.dtype == np.float16 else round_to_tf32(weights)
    with np.errstate(over="ignore"):
        rounded = rounded.astype(precision.dtype)
    if not np.isfinite(rounded[np.isfinite(weights)]).all():
        raise InputError(f"convolution: a weight of {np.abs(weights).max():g} overflows in fp16")
    return rounded


def packed_terms(channels: int, size: int, precision: Precision) -> int:
    """Return how many numbers a row of packed weights has."""
    unit = ROW_BYTES_UNIT // np.dtype(precision.dtype).itemsize
    return -(-mma_terms(channels, size, precision) // unit) * unit


def pack_mma_weights(weights: NDArray[np.float32], precision: Precision) -> NDArray[np.generic]:
    """Return weights as the kernel reads them: a row for each filter, padded with zeros.

    Args:
        weights: (F, C, K, K).
        precision: what they are rounded to.

    Returns:
        (filters / 32, slices, 32, terms of a slice): C is filled up to whole chunks of 16 bytes and
        cut into blocks of 8 chunks, the last one perhaps shorter; terms are in the order of (block,
        K, K, channel of the block), and filled up to whole slices of `ROW_BYTES_UNIT`. Filters are
        filled up to 32s, and row 8 j + 2 q + e of each 32 is filter 8 q + 2 j + e
        (``kernels/mma_sums.cuh``).

    Raises:
        InputError: a weight overflows in half precision.
    """
    filters, channels, size, _ = weights.shape
    filled = mma_terms(channels, 1, precision)
    rows = -(-filters // FILTERS_UNIT) * FILTERS_UNIT
    terms = packed_terms(channels, size, precision)
    rounded = round_weights(weights, precision)
    by_tap = np.zeros((rows, size * size, filled), precision.dtype)
    by_tap[:filters, :, :channels] = rounded.transpose(0, 2, 3, 1).reshape(filters, -1, channels)
    block = 8 * precision.chunk
    blocks = [by_tap[:, :, c : c + block].reshape(rows, -1) for c in range(0, filled, block)]
    packed = np.zeros((rows, terms), precision.dtype)
    packed[:, : size * size * filled] = np.concatenate(blocks, axis=1)
    by_slice = packed[filter_order(rows)].reshape(rows // FILTERS_UNIT, FILTERS_UNIT, -1, block)
    return np.ascontiguousarray(by_slice.transpose(0, 2, 1, 3))


def filter_order(rows: int) -> NDArray[np.int64]:
    """Return the filter of each row of packed weights."""
    row = np.arange(rows)
    j, q, e = row // 8 % 4, row // 2 % 4, row % 2
    return row // 32 * 32 + 8 * q + 2 * j + e


def conv_forward_mma_cuda(
    target: Target,
    x: DeviceMap,
    packed: DeviceArray,
    biases: DeviceArray,
    out: DeviceMap,
    *,
    precision: Precision,
    tile: GemmTile,
    size: int,
    stride: Stride,
    padding: int,
    dilation: int = 1,
    activation: str = "linear",
    residual: DeviceMap | None = None,
    workspace: DeviceArray | None = None,
) -> None:
    """Launch the kernel that `tile` belongs to, from `x` into `out`.

    Args:
        target: where to run; from sm_75 on for fp16, from sm_80 on for tf32.
        x: (N, H, W, C) of the precision's type, every pixel at a multiple of 16 bytes.
        packed: the weights, packed by `pack_mma_weights`.
        biases: (F,), float32.
        out: (N, out_H, out_W, F), of the precision's type or float32.
        precision: what is multiplied; sums are float32 always.
        tile: how to cut the work, and by which kernel: `choose_tensor_tile` knows the quickest.
        size: side of the kernel.
        stride: vertical and horizontal step.
        padding: zeros on each side, in dilated pixels.
        dilation: distance of the kernel's taps.
        activation: applied to the sums.
        residual: added after the activation; of `out`'s shape and `x`'s type, in other memory.
        workspace: from `new_workspace`, of `mma_workspace_floats` or more; needed if
            blocks share tiles: with `tile.parts` > 1, or `tile.blocks`.

    Raises:
        InputError: a shape or a type does not fit, a map's pixels lie where they cannot be copied
            16 bytes at a time, the kernel is larger than `BLOCKED_SIZE`, a map has 2³¹ numbers or
            more, or the workspace is too small.
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
    _check_maps(x, out, residual, precision)
    shape.weight_pitch = packed_terms(x.channels, size, precision)
    product = Product(out.pixels, out.channels, mma_terms(x.channels, size, precision))
    _check_limits(product, size, tile, workspace)
    split = None, None
    if workspace is not None and mma_counters(product, tile):
        split = workspace[SPLIT_TILES:], workspace[:SPLIT_TILES].view(np.uint32)
    target.kernel(tile.file, tile.instance(precision, out.data, activation))(
        mma_grid(product, tile),
        (tile.threads,),
        (
            *(shape, x.data, packed, biases, residual.data if residual else None, out.data),
            *split,
        ),
        shared_mem=tile.shared_bytes,
        outputs=out.whole,
    )


def _check_maps(
    x: DeviceMap, out: DeviceMap, residual: DeviceMap | None, precision: Precision
) -> None:
    for name, given in (("x", x), ("residual", residual)):
        if given is not None and given.data.dtype != precision.dtype:
            expected = np.dtype(precision.dtype)
            raise InputError(f"convolution: {name} must be of {expected}, not {given.data.dtype}")
    if out.data.dtype not in (precision.dtype, np.float32):
        wanted = " or ".join(dict.fromkeys((str(np.dtype(precision.dtype)), "float32")))
        raise InputError(f"convolution: out must be of {wanted}, not {out.data.dtype}")
    if not x.in_chunks:
        raise InputError(
            f"convolution: {precision.name} needs each pixel of x at a multiple of 16 bytes, in an "
            "array with the whole of the last one's last chunk, found pixels "
            f"{x.pitch * x.data.itemsize} bytes apart from {address(x.data):#x} on, and "
            f"{x.data.size} numbers"
        )
    if x.pixels * x.pitch >= 2**31:
        raise InputError(f"convolution: a map of {x.pixels * x.pitch} numbers, 2³¹ are too many")


def _check_limits(
    product: Product, size: int, tile: GemmTile, workspace: DeviceArray | None
) -> None:
    if size > BLOCKED_SIZE:
        raise InputError(
            f"convolution: the kernel of tensor cores takes sizes up to {BLOCKED_SIZE}, not {size}"
        )
    counters, needed = mma_counters(product, tile), mma_workspace_floats(product, tile)
    found = 0 if workspace is None else workspace.size
    if counters and (found < needed or counters > SPLIT_TILES):
        shared = f"{tile.blocks} blocks" if tile.blocks else f"{tile.parts} parts"
        raise InputError(
            f"convolution: {shared} of {tile.tiles(product)} tiles need a workspace of {needed} "
            f"numbers and at most {SPLIT_TILES} counters, found {found} numbers, and {counters} "
            "are to count"
        )
