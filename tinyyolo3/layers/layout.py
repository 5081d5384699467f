"""Layout: plain feature maps, channels first, to a GPU's maps, channels last, and back.

    map[n, i, j, c] = array[n, c, i, j]

On the CPU this is a transposed view, which costs nothing.
"""

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.layers.pixelwise import BLOCK

#: Side of a tile and rows of threads of ``kernels/layout.cu``; a tile's rows are one number longer.
_SIDE, _ROWS = 32, 8
_TILE_BYTES = 4 * _SIDE * (_SIDE + 1)
#: Maps of no more channels are written without tiles; a thread takes so many pixels.
_FEW, _AT_ONCE = 8, 4


def nchw_to_map_cuda(target: Target, x: DeviceArray, out: DeviceMap) -> None:
    """Launch ``kernels/layout.cu`` from a plain array into a map.

    Args:
        target: where to run.
        x: contiguous float32, as many numbers as `out`, in the order (N, C, H, W).
        out: the map to write.
    """
    arguments = x, out.data, out.struct
    if out.channels <= _FEW:
        lanes = 1 << (out.channels - 1).bit_length()
        rows = BLOCK // lanes
        blocks = -(-out.height * out.width // (_AT_ONCE * rows))
        kernel = target.kernel("layout.cu", f"nchw_to_map_few{out.kernel_suffix}")
        kernel((blocks, out.images), (lanes, rows), arguments, outputs=out.whole)
        return
    target.kernel("layout.cu", f"nchw_to_map{out.kernel_suffix}")(
        _tiles(out), (_SIDE, _ROWS), arguments, shared_mem=_TILE_BYTES, outputs=out.whole
    )


def map_to_nchw_cuda(target: Target, x: DeviceMap, out: DeviceArray) -> None:
    """Launch ``kernels/layout.cu`` from a map into a plain array.

    Args:
        target: where to run.
        x: the map to read.
        out: contiguous float32, as many numbers as `x`, written in the order (N, C, H, W).
    """
    target.kernel("layout.cu", f"map_to_nchw{x.kernel_suffix}")(
        _tiles(x),
        (_SIDE, _ROWS),
        (x.data, x.struct, out),
        shared_mem=_TILE_BYTES,
        outputs=(out,),
    )


def _tiles(x: DeviceMap) -> tuple[int, int, int]:
    return (-(-x.height * x.width // _SIDE), -(-x.channels // _SIDE), x.images)
