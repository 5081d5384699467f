"""Launching the kernels that compute each output pixel on its own (``kernels/pixelwise.cuh``)."""

from collections.abc import Sequence
from dataclasses import replace

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cuda.maps import DeviceMap, map_size
from tinyyolo3.cuda.target import DeviceArray, Target

#: Threads of a block.
BLOCK = 256

#: Floats that a thread can load and store at once: 16 bytes.
WIDEST = 4


def activation_number(name: str) -> int:
    """Return the number under which kernels know an activation."""
    return ACTIVATIONS.index(name)


def lanes_of(*maps: DeviceMap) -> int:
    """Return how many neighbouring channels a thread can take at once in all of these maps.

    Four, where every pixel of every map begins at a multiple of 16 bytes and has a multiple of
    four channels; else one.
    """
    for x in maps:
        if x.channels % WIDEST or x.pitch % WIDEST or _address(x.data) % (4 * WIDEST):
            return 1
    return WIDEST


def _address(array: DeviceArray) -> int:
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    address: int = interface["data"][0]
    return address


def pixelwise_grid(out: DeviceMap, lanes: int) -> tuple[int, int]:
    """Return the blocks for one thread for each `lanes` channels of each pixel of `out`."""
    threads = out.height * out.width * (out.channels // lanes)
    return (-(-threads // BLOCK), out.images)


def channel_range(x: DeviceMap, first: int, count: int) -> DeviceMap:
    """Return the map of some of `x`'s channels, where they lie in `x`."""
    if count == x.channels:
        return x
    data = x.data[first : first + map_size(x.pixels, count, x.pitch)]
    return replace(x, data=data, channels=count)


def launch_pixelwise(
    target: Target,
    file: str,
    name: str,
    inputs: Sequence[DeviceMap],
    out: DeviceMap,
    *numbers: float,
    lanes: int | None = None,
) -> None:
    """Launch a kernel of one thread for each `lanes` channels of each pixel of `out`.

    Args:
        target: where to run.
        file: the file in ``kernels/``.
        name: the kernel, a template over the lanes.
        inputs: the maps that it reads, in the order of its parameters. `out` may be one of them,
            if the kernel allows it.
        out: the map that it writes; its parameter follows the inputs'.
        numbers: the parameters after the maps.
        lanes: channels of a thread; by default as many as suit all the maps.
    """
    maps = (*inputs, out)
    lanes = lanes_of(*maps) if lanes is None else lanes
    in_place = any(_address(x.data) == _address(out.data) for x in inputs)
    target.kernel(file, f"{name}<{lanes}>")(
        pixelwise_grid(out, lanes),
        (BLOCK,),
        [*(part for x in maps for part in (x.data, x.struct)), *numbers],
        outputs=() if in_place else out.whole,
    )
