"""Pictures to a network's input on a GPU: ``kernels/resize.cu``.

The pictures of a batch lie one after another in one array of bytes, as they were read: RGB, row
after row. A table says of each where it begins, how large it is and where in the input it goes.
Both arrays are the target's memory and may change between two runs of the same recorded launch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.image.geometry import Geometry

#: What the kernel needs of a `Geometry`.
_PLACE = ("image_width", "image_height", "new_width", "new_height", "left", "top")
#: `struct Frame` of ``kernels/boxes.cuh``: a picture's first byte, its size, and its place in the
#: network's input. All zeros where a batch has no picture.
FRAME = np.dtype([("offset", np.int64), *((name, np.int32) for name in _PLACE)])

#: Threads of a block; each makes one pixel of the input.
_BLOCK = 256


def fill_frames(frames: NDArray[np.void], geometries: Sequence[Geometry]) -> int:
    """Write down pictures that lie one after another, without gaps.

    Args:
        frames: one `FRAME` for each place in the batch; those beyond the pictures become zeros.
        geometries: where each picture goes, at most as many.

    Returns:
        How many bytes the pictures have, together.

    Raises:
        InputError: there are more pictures than places.
    """
    if len(geometries) > len(frames):
        raise InputError(f"a batch of {len(frames)} has no room for {len(geometries)} pictures")
    frames[...] = 0
    offset = 0
    for frame, geometry in zip(frames, geometries, strict=False):
        frame["offset"] = offset
        for name in _PLACE:
            frame[name] = getattr(geometry, name)
        offset += 3 * geometry.image_width * geometry.image_height
    return offset


def network_input_cuda(
    target: Target, pixels: DeviceArray, frames: DeviceArray, out: DeviceMap
) -> None:
    """Launch the kernel that fits the pictures of a batch to the network's input.

    The bits are those of `tinyyolo3.image.resize.network_input_reference`, of grey pictures
    (`tinyyolo3.image.files.to_grey`) where the input has one channel. A place of the batch without
    a picture becomes border.

    Args:
        target: where to run.
        pixels: uint8, all pictures' RGB.
        frames: uint8, as many `FRAME` as `out` has images.
        out: the input, of three channels or one.

    Raises:
        InputError: `out` has another number of channels.
    """
    if out.channels not in (1, 3):
        raise InputError(f"a network's input of pictures has 1 or 3 channels, not {out.channels}")
    blocks = -(-out.height * out.width // _BLOCK)
    target.kernel("resize.cu", f"network_input{out.kernel_suffix}")(
        (blocks, out.images),
        (_BLOCK,),
        (pixels, frames, out.data, out.struct),
        outputs=out.whole,
    )
