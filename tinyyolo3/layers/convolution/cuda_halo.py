"""3 × 3 convolution on tensor cores: the launcher of ``kernels/convolution_halo.cu``."""

import numpy as np

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda import convolution_struct
from tinyyolo3.layers.convolution.cuda_algorithms import Problem
from tinyyolo3.layers.convolution.cuda_halo_tiles import (
    SIDE,
    HaloTile,
    halo_fits,
    halo_workspace_floats,
    tile_rectangle,
)
from tinyyolo3.layers.convolution.cuda_mma import check_mma_maps, packed_terms
from tinyyolo3.layers.convolution.cuda_mma_tiles import Precision
from tinyyolo3.layers.convolution.cuda_tiles import SPLIT_TILES
from tinyyolo3.layers.shapes import Stride


def conv_forward_halo_cuda(
    target: Target,
    x: DeviceMap,
    packed: DeviceArray,
    biases: DeviceArray,
    out: DeviceMap,
    *,
    precision: Precision,
    tile: HaloTile,
    size: int = SIDE,
    stride: Stride,
    padding: int,
    dilation: int = 1,
    activation: str = "linear",
    residual: DeviceMap | None = None,
    workspace: DeviceArray | None = None,
) -> None:
    """Launch ``kernels/convolution_halo.cu`` from `x` into `out`.

    Arguments are those of `cuda_mma.conv_forward_mma_cuda`, which see.

    Args:
        target: where to run; from sm_75 on for fp16, from sm_80 on for tf32.
        x: (N, H, W, C) of the precision's type, every pixel at a multiple of 16 bytes.
        packed: the weights, packed by `pack_mma_weights`.
        biases: (F,), float32.
        out: (N, out_H, out_W, F), of the precision's type or float32.
        precision: what is multiplied; sums are float32 always.
        tile: how to cut the work.
        size: side of the kernel, 3.
        stride: vertical and horizontal step.
        padding: zeros on each side, in dilated pixels.
        dilation: distance of the kernel's taps.
        activation: applied to the sums.
        residual: added after the activation; of `out`'s shape and `x`'s type, in other memory.
        workspace: from `new_workspace`, of `halo_workspace_floats` or more; needed if
            `tile.parts` > 1.

    Raises:
        InputError: a shape or a type does not fit, a map's pixels lie where they cannot be copied
            16 bytes at a time, the tile cannot compute this convolution, a map has 2³¹ numbers or
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
    check_mma_maps(x, out, residual, precision)
    shape.weight_pitch = packed_terms(x.channels, size, precision)
    sides = (out.images, out.height, out.width, x.channels, out.channels)
    problem = Problem(*sides, size, stride, dilation)
    rectangle = tile_rectangle(problem, tile.pixels, tile.halo)
    if rectangle is None or not halo_fits(problem, precision, tile):
        raise InputError(f"convolution: {tile} cannot compute {problem}")
    _check_workspace(problem, tile, workspace)
    split = None, None
    if workspace is not None and tile.parts > 1:
        split = workspace[SPLIT_TILES:], workspace[:SPLIT_TILES].view(np.uint32)
    target.kernel(tile.file, tile.instance(precision, out.data, activation))(
        (tile.tiles(problem), tile.parts),
        (tile.threads,),
        (
            *(shape, *rectangle, x.data, packed, biases),
            *(residual.data if residual else None, out.data, *split),
        ),
        shared_mem=tile.shared_bytes,
        outputs=out.whole,
    )


def _check_workspace(problem: Problem, tile: HaloTile, workspace: DeviceArray | None) -> None:
    needed = halo_workspace_floats(problem, tile)
    found = 0 if workspace is None else workspace.size
    if found < needed or (tile.parts > 1 and tile.tiles(problem) > SPLIT_TILES):
        raise InputError(
            f"convolution: {tile.parts} parts of {tile.tiles(problem)} tiles need a workspace of "
            f"{needed} numbers and at most {SPLIT_TILES} tiles, found {found} numbers"
        )
