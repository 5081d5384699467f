"""Route: the outputs of earlier layers, one after another along the channels.

With ``groups`` and ``group_id`` each input contributes only one of its `groups` equal runs of
channels. Darknet: route_layer.c, forward_route_layer (groups: AlexeyAB's).

This is copying and nothing else, for which NumPy's slices are already as quick as memory, so
one function serves every backend that computes on the CPU.
"""

from collections.abc import Sequence

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import require_map, result_array
from tinyyolo3.layers.pixelwise import channel_range, launch_pixelwise


def route_forward_reference(
    inputs: Sequence[FloatArray],
    *,
    groups: int = 1,
    group_id: int = 0,
    out: FloatArray | None = None,
) -> FloatArray:
    """Concatenate feature maps, or one group of each, along the channels.

    Args:
        inputs: one or more (N, Cᵢ, H, W) of equal N, H, W and dtype.
        groups: into how many equal parts each input's channels are cut.
        group_id: which part of each input is taken, counted from 0.
        out: where to write the result, (N, Σ Cᵢ / groups, H, W); not an input's memory.

    Returns:
        `out`, or a new array; without `out` a single input is not copied: the result is a view
        of it, and with ``groups=1`` the input itself.

    Raises:
        InputError: there is no input, their shapes or dtypes differ, channels cannot be cut
            into `groups`, or `group_id` is not one of them.
    """
    if not inputs:
        raise InputError("route: inputs must hold at least one feature map, not none")
    parts = [_group_of_channels(x, groups, group_id) for x in inputs]
    n, _, h, w = parts[0].shape
    for part in parts:
        if (part.shape[0], *part.shape[2:]) != (n, h, w) or part.dtype != parts[0].dtype:
            raise InputError(
                "route: inputs must agree in all but channels, not "
                + ", ".join(f"{x.dtype}{x.shape}" for x in inputs)
            )
    if len(parts) == 1 and out is None:
        return parts[0]
    channels = sum(part.shape[1] for part in parts)
    result = result_array("route", out, (n, channels, h, w), parts[0].dtype)
    first = 0
    for part in parts:
        result[:, first : first + part.shape[1]] = part
        first += part.shape[1]
    return result


def route_backward_reference(
    gradient: FloatArray,
    channels: Sequence[int],
    *,
    groups: int = 1,
    group_id: int = 0,
) -> list[FloatArray]:
    """Cut a gradient into what belongs to each input; channels of other groups get zero.

    Darknet: route_layer.c, backward_route_layer.

    Args:
        gradient: (N, Σ Cᵢ / groups, H, W), ∂loss/∂y, float32 or float64.
        channels: each input's channels Cᵢ.
        groups: into how many equal parts each input's channels were cut.
        group_id: which part of each input was taken, counted from 0.

    Returns:
        ∂loss/∂xᵢ for each input, new arrays (N, Cᵢ, H, W) of `gradient`'s dtype. An input that is
        named twice gets two gradients, to be added.

    Raises:
        InputError: `gradient` has not the channels of the inputs' groups, or these cannot be.
    """
    require_map("route", "gradient", gradient)
    n, _, h, w = gradient.shape
    gradients = [np.zeros((n, count, h, w), gradient.dtype) for count in channels]
    parts = [_group_of_channels(grad_x, groups, group_id) for grad_x in gradients]
    joined = sum(part.shape[1] for part in parts)
    if gradient.shape[1] != joined:
        raise InputError(
            f"route: gradient must have {joined} channels for inputs of {list(channels)} in "
            f"groups={groups}, not {gradient.shape[1]}"
        )
    first = 0
    for part in parts:
        part[...] = gradient[:, first : first + part.shape[1]]
        first += part.shape[1]
    return gradients


def _group_of_channels(x: FloatArray, groups: int, group_id: int) -> FloatArray:
    require_map("route", "an input", x)
    channels = x.shape[1]
    if groups < 1 or channels % groups or not 0 <= group_id < groups:
        raise InputError(
            f"route: groups={groups} must divide the input's {channels} channels and "
            f"group_id={group_id} be one of 0 to groups - 1"
        )
    if groups == 1:
        return x
    size = channels // groups
    return x[:, group_id * size : (group_id + 1) * size]


def route_forward_cuda(
    target: Target,
    inputs: Sequence[DeviceMap],
    out: DeviceMap,
    *,
    groups: int = 1,
    group_id: int = 0,
) -> None:
    """Launch ``kernels/route.cu`` once for each input, into its channels of `out`."""
    first = 0
    for x in inputs:
        size = x.channels // groups
        part = channel_range(x, group_id * size, size)
        place = channel_range(out, first, size)
        launch_pixelwise(target, "route.cu", "route_forward", [part], place)
        first += size
