"""What every layer does with its arrays before and around its formula.

Two things are shared: the checks that turn a silent wrong answer into an `InputError`, and the
view of feature maps that compiled loops work on.

A compiled loop wants plain contiguous memory; a feature map need not be that. The one layout
that matters is a *channel slice* of a larger buffer (how a concatenation is written without
copying): there each image is contiguous although the whole is not. So `plane_runs` hands out
contiguous runs of ``(planes, area)``, one for the whole array where it is contiguous and one per
image where only the images are, and copies nothing in either case. Stranger layouts
(transposed, strided, reversed) are copied.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError


def require_map(layer: str, name: str, array: FloatArray) -> None:
    """Check that an argument is a feature map with pixels.

    Args:
        layer: the layer's name, for the message.
        name: the argument's name, for the message.
        array: expected ``(N, C, H, W)``, float32 or float64, with C, H and W positive.

    Raises:
        InputError: it is not.
    """
    if array.ndim != 4 or 0 in array.shape[1:]:
        raise InputError(
            f"{layer}: {name} must be a feature map (N, C, H, W), not an array of shape "
            f"{array.shape}"
        )
    if array.dtype != np.float32 and array.dtype != np.float64:
        raise InputError(f"{layer}: {name} must be float32 or float64, not {array.dtype}")


def result_array(
    layer: str, out: FloatArray | None, shape: tuple[int, ...], dtype: DTypeLike
) -> FloatArray:
    """Return the array that a layer writes to: `out` after a check, or a new one.

    Raises:
        InputError: `out` has another shape or dtype than the result.
    """
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype:
        raise InputError(
            f"{layer}: out must be {np.dtype(dtype)} of shape {shape}, not {out.dtype} of shape "
            f"{out.shape}"
        )
    return out


def require_gradient(
    layer: str, gradient: FloatArray, shape: tuple[int, ...], x: FloatArray
) -> None:
    """Check that what a backward pass is given is a gradient of the layer's result.

    Args:
        layer: the layer's name, for the message.
        gradient: expected to have `shape` and `x`'s dtype.
        shape: the result's.
        x: a feature map that the forward pass had, whose dtype all others share.

    Raises:
        InputError: it has another shape or dtype.
    """
    if gradient.shape != shape or gradient.dtype != x.dtype:
        raise InputError(
            f"{layer}: gradient must be {x.dtype} of shape {shape} like the result, not "
            f"{gradient.dtype} of shape {gradient.shape}"
        )


def plane_runs(out: FloatArray, *inputs: FloatArray) -> Iterator[tuple[FloatArray, ...]]:
    """Yield C-contiguous runs of planes that together cover feature maps.

    Args:
        out: (N, C, H, W), the map that the caller writes through the runs.
        inputs: (N, Cᵢ, Hᵢ, Wᵢ), the maps it reads; all have `out`'s N.

    Yields:
        Tuples of ``(images * C, H * W)`` arrays, one for `out` and then one for each input.
        A loop over the runs must be carried to its end: where `out`'s images are not contiguous
        the runs belong to a temporary array, which is copied to `out` after the last one.
    """
    target = out if _images_are_contiguous(out) else np.empty(out.shape, out.dtype)
    maps = [target]
    maps += [a if _images_are_contiguous(a) else np.ascontiguousarray(a) for a in inputs]
    if all(a.flags.c_contiguous for a in maps):
        yield tuple(a.reshape(a.shape[0] * a.shape[1], a.shape[2] * a.shape[3]) for a in maps)
    else:
        for image in range(len(out)):
            yield tuple(a[image].reshape(a.shape[1], a.shape[2] * a.shape[3]) for a in maps)
    if target is not out:
        out[...] = target


def _images_are_contiguous(array: FloatArray) -> bool:
    return bool(array[:1].flags.c_contiguous)


def items_per_thread(work: int, cost: int) -> int:
    """Return how many items make `work` unit steps, when one takes `cost`: `parallel_for`'s grain.

    A unit step is one multiply-add of a vectorised loop; 65536 of them take about as long as
    handing a range to another thread.
    """
    return max(1, work // max(1, cost))
