"""The YOLOv3 head's activation: logits in, what Darknet keeps in ``l.output`` out.

Each grid cell holds, for each of its anchors, the entries ``[x y w h objectness classes...]``,
channel-first: channel ``anchor * (5 + classes) + entry`` (yolo_layer.c, entry_index). The layer
turns all of them but w and h into numbers between 0 and 1 with the logistic function

    σ(t) = 1 / (1 + exp(-t))

and lets the centre leave its cell a little, ``s·σ(t) - (s - 1)/2`` with ``s = scale_x_y`` (YOLOv4,
Bochkovskiy et al. 2020, section 3.4, "eliminate grid sensitivity"). Classes are independent
logistic regressions rather than a softmax, because labels overlap (Redmon and Farhadi, YOLOv3,
2018, section 2.2). Source: yolo_layer.c, forward_yolo_layer.

The logistic is one scheme wherever it is taken: in float64, on ``exp(-|t|)`` so that nothing can
overflow, and rounded once to the dtype of the head. Two machines' ``exp`` differ in the last bit
of a float64, which the rounding to float32 hides, so every backend takes the same decision at a
threshold.
"""

import math
from typing import Any

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import require_map, result_array
from tinyyolo3.parallel import compiled, parallel_for


def split_anchors(layer: str, x: FloatArray, anchors: int, classes: int) -> FloatArray:
    """View a batch of head maps with the anchor and the entry as axes of their own.

    Args:
        layer: the layer's name, for the message.
        x: head maps (N, anchors*(5+classes), H, W), float32 or float64, any strides.
        anchors: how many anchors (masks) the head has.
        classes: how many classes the head has.

    Returns:
        A view of `x`, shape (N, anchors, 5+classes, H, W).

    Raises:
        InputError: `x` is no feature map, or its channels do not fit.
    """
    if anchors < 1 or classes < 1:
        raise InputError(f"{layer}: needs anchors and classes, not {anchors} and {classes}")
    require_map(layer, "x", x)
    n, channels, height, width = x.shape
    if channels != anchors * (5 + classes):
        raise InputError(
            f"{layer}: {anchors} anchors and {classes} classes take "
            f"{anchors * (5 + classes)} channels, x has {channels}"
        )
    return x.reshape(n, anchors, 5 + classes, height, width)


def logistic_reference(logits: FloatArray) -> FloatArray:
    """Take the logistic function of an array, in float64, rounded to the array's dtype.

    Args:
        logits: any shape, any float dtype; infinities give 0 and 1, NaN gives NaN.

    Returns:
        An array of the same shape and dtype, in [0, 1].
    """
    wide = logits.astype(np.float64)
    small = np.exp(-np.abs(wide))
    return (np.where(wide < 0, small, 1.0) / (1.0 + small)).astype(logits.dtype)


@compiled
def logistic_scalar(logit: float | np.floating[Any]) -> float:
    """Take the logistic function of one number in float64; the caller rounds it."""
    small = math.exp(-abs(np.float64(logit)))
    return (small if logit < 0 else 1.0) / (1.0 + small)


def yolo_forward_reference(
    x: FloatArray,
    *,
    anchors: int,
    classes: int,
    scale_x_y: float = 1.0,
    new_coords: bool = False,
    out: FloatArray | None = None,
) -> FloatArray:
    """Activate the raw maps of a yolo head (yolo_layer.c, forward_yolo_layer).

    Args:
        x: logits (N, anchors*(5+classes), H, W), float32 or float64.
        anchors: how many anchors (masks) the head has.
        classes: how many classes the head has.
        scale_x_y: how far a centre may reach, in cells; 1 keeps it inside its own.
        new_coords: the maps have passed a logistic activation already (Scaled-YOLOv4).
        out: where to write, shaped like `x`; may be `x` itself.

    Returns:
        The activated maps, shape and dtype of `x`; w and h are still logits.

    Raises:
        InputError: `x` is not such a head, or `out` does not fit.
    """
    logits = split_anchors("yolo", x, anchors, classes)
    out = result_array("yolo", out, x.shape, x.dtype)
    result = split_anchors("yolo", out, anchors, classes)
    result[:, :, 2:4] = logits[:, :, 2:4]
    # DARKNET: new_coords leaves every activation out, yet scales x and y all the same.
    activate = np.array if new_coords else logistic_reference
    scale = x.dtype.type(scale_x_y)
    with np.errstate(over="ignore"):  # only unactivated maps, under new_coords, can be so large
        result[:, :, :2] = activate(logits[:, :, :2]) * scale + centre_shift(scale)
    result[:, :, 4:] = activate(logits[:, :, 4:])
    return out


def centre_shift(scale: np.floating[Any]) -> np.floating[Any]:
    """Return ``-(s - 1)/2`` in the dtype of `scale`: it puts σ = 1/2 at the middle of the cell."""
    return scale.dtype.type(-0.5) * (scale - scale.dtype.type(1))


@compiled
def _yolo_channels(
    start: int,
    stop: int,
    logits: FloatArray,
    entries: int,
    scale: np.floating[Any],
    shift: np.floating[Any],
    new_coords: bool,
    result: FloatArray,
) -> None:
    _, channels, height, width = logits.shape
    for item in range(start, stop):
        image, channel = divmod(item, channels)
        source, target = logits[image, channel], result[image, channel]
        entry = channel % entries
        raw = new_coords or entry == 2 or entry == 3
        for row in range(height):
            for col in range(width):
                # Storing rounds to the head's dtype, which the scaling then works in.
                target[row, col] = source[row, col] if raw else logistic_scalar(source[row, col])
                if entry < 2:
                    target[row, col] = target[row, col] * scale + shift


def yolo_forward_numba(
    x: FloatArray,
    *,
    anchors: int,
    classes: int,
    scale_x_y: float = 1.0,
    new_coords: bool = False,
    out: FloatArray | None = None,
) -> FloatArray:
    """Do what `yolo_forward_reference` does in one compiled pass, threads sharing the channels.

    Args, Returns and Raises: as there.
    """
    split_anchors("yolo", x, anchors, classes)
    out = result_array("yolo", out, x.shape, x.dtype)
    scale = x.dtype.type(scale_x_y)
    shift = centre_shift(scale)
    items = x.shape[0] * x.shape[1]
    options = (5 + classes, scale, shift, bool(new_coords))
    parallel_for(_yolo_channels, items, x, *options, out, grain=64)
    return out


def yolo_forward_cuda(
    target: Target,
    x: DeviceMap,
    out: DeviceMap,
    *,
    classes: int,
    scale_x_y: float = 1.0,
    new_coords: bool = False,
) -> None:
    """Launch ``kernels/yolo.cu`` from `x` into `out`, other memory; the bits are the reference's.

    Arguments are those of `yolo_forward_reference`; the anchors follow from the channels.
    """
    scale = np.float32(scale_x_y)
    target.kernel("yolo.cu", "yolo_forward")(
        (-(-x.pixels * x.channels // 256),),
        (256,),
        (
            *(x.data, x.struct, out.data, out.struct, 5 + classes),
            *(float(scale), float(centre_shift(scale)), int(new_coords)),
        ),
        outputs=out.whole,
    )
