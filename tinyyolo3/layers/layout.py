"""Layout: plain feature maps, channels first, to a GPU's maps, channels last, and back.

    map[n, i, j, c] = array[n, c, i, j]

On the CPU this is a transposed view, which costs nothing.
"""

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target

#: Side of a tile and rows of threads of ``kernels/layout.cu``; a tile's rows are one number longer.
_SIDE, _ROWS = 32, 8
_TILE_BYTES = 4 * _SIDE * (_SIDE + 1)


def nchw_to_map_cuda(target: Target, x: DeviceArray, out: DeviceMap) -> None:
    """Launch ``kernels/layout.cu`` from a plain array into a map.

    Args:
        target: where to run.
        x: contiguous float32, as many numbers as `out`, in the order (N, C, H, W).
        out: the map to write.
    """
    target.kernel("layout.cu", f"nchw_to_map{out.kernel_suffix}")(
        _tiles(out),
        (_SIDE, _ROWS),
        (x, out.data, out.struct),
        shared_mem=_TILE_BYTES,
        outputs=out.whole,
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
