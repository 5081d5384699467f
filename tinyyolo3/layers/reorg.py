"""Reorg: YOLOv2's passthrough, which trades resolution for channels.

A map of (C, H, W) becomes (C·s², H/s, W/s). The paper (Redmon and Farhadi, 2016,
arXiv:1612.08242, section 2) describes stacking adjacent cells into channels. Darknet's reorg_cpu
(blas.c) does something else, and every YOLOv2 is trained with it: it takes the input's memory
for a map of (C/s², s·H, s·W), stacks the s × s neighbours of *that* into (C, H, W), and calls
the outcome a map of (C·s², H/s, W/s). Indices move, values do not, so one NumPy function serves
every backend that computes on the CPU.
"""

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import require_map, result_array
from tinyyolo3.layers.pixelwise import BLOCK, pixelwise_grid


def reorg_forward_reference(
    x: FloatArray, *, stride: int, out: FloatArray | None = None
) -> FloatArray:
    """Rearrange a feature map by Darknet's rule.

    Args:
        x: (N, C, H, W), float32 or float64, C divisible by stride², H and W by `stride`.
        stride: s, by which rows and columns shrink.
        out: where to write the result, (N, C·s², H/s, W/s) of `x`'s dtype; not `x`'s memory.

    Returns:
        `out`, or a new array.

    Raises:
        InputError: `x` cannot be divided so, or `out` does not fit.
    """
    require_map("reorg", "x", x)
    n, c, h, w = x.shape
    s = stride
    if s < 1 or c % (s * s) or h % s or w % s:
        raise InputError(
            f"reorg: stride={s} needs rows and columns divisible by it and channels by its "
            f"square, not x of shape {x.shape}"
        )
    result = result_array("reorg", out, (n, c * s * s, h // s, w // s), x.dtype)
    # DARKNET: not a space-to-depth of x itself; the reshapes on both sides regroup its memory.
    wide = x.reshape(n, c // (s * s), h, s, w, s)
    stacked = wide.transpose(0, 3, 5, 1, 2, 4)  # to (n, row in square, column in square, c, h, w)
    result[...] = stacked.reshape(result.shape)
    return result


def reorg_forward_cuda(target: Target, x: DeviceMap, out: DeviceMap, *, stride: int) -> None:
    """Launch ``kernels/reorg.cu`` from `x` into `out`; the values are exactly the reference's."""
    target.kernel("reorg.cu", f"reorg_forward{x.kernel_suffix}")(
        pixelwise_grid(out, 1),
        (BLOCK,),
        (x.data, x.struct, out.data, out.struct, stride),
        outputs=out.whole,
    )
