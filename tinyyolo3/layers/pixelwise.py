"""Launching the kernels that compute each output pixel on its own (``kernels/pixelwise.cuh``)."""

from collections.abc import Sequence
from dataclasses import replace

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cuda.maps import DeviceMap, address, map_size
from tinyyolo3.cuda.target import Target

#: Threads of a block.
BLOCK = 256

#: Channels that a thread can load and store at once, the most first; floats four at the most.
LANES = (8, 4, 1)


def activation_number(name: str) -> int:
    """Return the number under which kernels know an activation."""
    return ACTIVATIONS.index(name)


def lanes_of(*maps: DeviceMap) -> int:
    """Return how many neighbouring channels a thread can take at once in all of these maps.

    Four floats, or eight or four halves, where every pixel of every map has a multiple of as many
    channels and begins where so many can be loaded at once; else one.
    """
    halves = any(x.element == "half" for x in maps)
    fitting = (n for n in LANES if (halves or n <= 4) and all(x.in_lanes(n) for x in maps))
    return next(fitting)


def pixelwise_grid(out: DeviceMap, lanes: int) -> tuple[int, int]:
    """Return the blocks for one thread for each `lanes` channels of each pixel of `out`."""
    threads = out.height * out.width * (out.channels // lanes)
    return (-(-threads // BLOCK), out.images)


def channel_range(x: DeviceMap, first: int, count: int) -> DeviceMap:
    """Return the map of some of `x`'s channels, where they lie in `x`."""
    if count == x.channels:
        return x
    data = x.data[first : first + map_size(x.pixels, count, x.pitch, x.data.dtype)]
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
        name: the kernel, a template over the lanes and, where they are not floats, the numbers.
        inputs: the maps that it reads, in the order of its parameters. `out` may be one of them,
            if the kernel allows it.
        out: the map that it writes; its parameter follows the inputs'.
        numbers: the parameters after the maps.
        lanes: channels of a thread; by default as many as suit all the maps.
    """
    maps = (*inputs, out)
    lanes = lanes_of(*maps) if lanes is None else lanes
    in_place = any(address(x.data) == address(out.data) for x in inputs)
    target.kernel(file, f"{name}<{', '.join([str(lanes), *_elements(inputs[0], out)])}>")(
        pixelwise_grid(out, lanes),
        (BLOCK,),
        [*(part for x in maps for part in (x.data, x.struct)), *numbers],
        outputs=() if in_place else out.whole,
    )


def _elements(x: DeviceMap, out: DeviceMap) -> list[str]:
    """Return the template arguments for the numbers of the maps, which are floats by default."""
    if out.element != x.element:
        return [x.element, out.element]
    return [] if out.element == "float" else ["half"]
