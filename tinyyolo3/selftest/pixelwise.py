"""The self-test's cases of layers that compute, pick or move single numbers."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from tinyyolo3.cuda.maps import upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import (
    activation_forward_cuda,
    activation_forward_numba,
    activation_forward_reference,
)
from tinyyolo3.layers.layout import map_to_nchw_cuda, nchw_to_map_cuda
from tinyyolo3.layers.maxpool import (
    maxpool_forward_cuda,
    maxpool_forward_numba,
    maxpool_forward_reference,
)
from tinyyolo3.layers.reorg import reorg_forward_cuda, reorg_forward_reference
from tinyyolo3.layers.route import route_forward_cuda, route_forward_reference
from tinyyolo3.layers.sam import sam_forward_cuda, sam_forward_numba, sam_forward_reference
from tinyyolo3.layers.scale_channels import (
    scale_channels_forward_cuda,
    scale_channels_forward_numba,
    scale_channels_forward_reference,
)
from tinyyolo3.layers.shapes import maxpool_shape, reorg_shape
from tinyyolo3.layers.shortcut import (
    shortcut_forward_cuda,
    shortcut_forward_numba,
    shortcut_forward_reference,
)
from tinyyolo3.layers.upsample import (
    upsample_forward_cuda,
    upsample_forward_numba,
    upsample_forward_reference,
)
from tinyyolo3.selftest.case import (
    Case,
    Expected,
    Prepared,
    Size,
    case_in_halves,
    map_case,
    normal,
)
from tinyyolo3.testing import tolerances


def activation(shape: Size, kind: str, margin: int = 0) -> Case:
    """An activation on its own."""
    x = 4 * normal(1, *shape)

    def expected() -> Expected:
        values = activation_forward_reference(x.astype(np.float64), kind)
        return Expected(values, tolerances.ELEMENTARY_FLOAT32 * np.maximum(np.abs(values), 1))

    return map_case(
        "activation",
        "activation.cu",
        kind,
        [x],
        shape,
        partial(activation_forward_cuda, kind=kind),
        expected,
        margin=margin,
        on_cpu=lambda: activation_forward_numba(x, kind),
    )


def layout_in(shape: Size, margin: int = 0) -> Case:
    """From NumPy's order of a batch to a map's."""
    x = normal(10, *shape)
    return map_case(
        "layout, in",
        "layout.cu",
        "x".join(map(str, shape)),
        [],
        shape,
        lambda target, flat, out: nchw_to_map_cuda(target, flat, out),
        lambda: Expected(x),
        margin=margin,
        arrays=[x.reshape(-1)],
    )


def layout_out(shape: Size, margin: int = 0) -> Case:
    """From a map's order to NumPy's."""
    x = normal(11, *shape)

    def prepare(target: Target, dtype: DTypeLike = np.float32) -> Prepared:
        here = upload_map(target, x.astype(dtype), shape[1] + margin)
        out = target.empty(x.size)
        return Prepared(
            lambda: map_to_nchw_cuda(target, here, out),
            lambda: [target.download(out).reshape(shape)],
            x.nbytes + here.data.nbytes,
        )

    label = "x".join(map(str, shape))
    case = Case("layout, out", ("layout.cu",), label, prepare, lambda: [Expected(x)])
    return replace(case, in_halves=lambda: case_in_halves(case, partial(prepare, dtype=np.float16)))


def maxpool(shape: Size, size: int, stride: tuple[int, int], padding: int, margin: int = 0) -> Case:
    """The largest of each window."""
    x = normal(12, *shape)
    pooled = maxpool_shape(shape[1:], size=size, stride=stride, padding=padding)
    return map_case(
        "maxpool",
        "maxpool.cu",
        f"size={size} stride={stride[0]}",
        [x],
        (shape[0], *pooled),
        partial(maxpool_forward_cuda, size=size, stride=stride, padding=padding),
        lambda: Expected(maxpool_forward_reference(x, size=size, stride=stride, padding=padding)),
        margin=margin,
        on_cpu=lambda: maxpool_forward_numba(x, size=size, stride=stride, padding=padding),
    )


def reorg(shape: Size, stride: int) -> Case:
    """Neighbouring pixels to channels."""
    x = normal(13, *shape)
    return map_case(
        "reorg",
        "reorg.cu",
        f"stride={stride}",
        [x],
        (shape[0], *reorg_shape(shape[1:], stride=stride)),
        partial(reorg_forward_cuda, stride=stride),
        lambda: Expected(reorg_forward_reference(x, stride=stride)),
    )


def route(shapes: list[Size], groups: int = 1, group_id: int = 0, margin: int = 0) -> Case:
    """Channels of several maps, side by side."""
    inputs = [normal(14 + k, *shape) for k, shape in enumerate(shapes)]
    channels = sum(shape[1] // groups for shape in shapes)
    return map_case(
        "route",
        "route.cu",
        f"of {len(shapes)}, groups={groups}",
        inputs,
        (shapes[0][0], channels, *shapes[0][2:]),
        lambda target, *maps: route_forward_cuda(
            target, maps[:-1], maps[-1], groups=groups, group_id=group_id
        ),
        lambda: Expected(route_forward_reference(inputs, groups=groups, group_id=group_id)),
        margin=margin,
    )


def sam(shape: Size) -> Case:
    """One map times another."""
    x, source = normal(17, *shape), normal(18, *shape)
    return map_case(
        "sam",
        "sam.cu",
        "",
        [x, source],
        shape,
        sam_forward_cuda,
        lambda: Expected(sam_forward_reference(x, source)),
        on_cpu=lambda: sam_forward_numba(x, source),
    )


def scale_channels(shape: Size, *, scale_wh: bool) -> Case:
    """A map times a number for each channel, or for each pixel."""
    images, channels, height, width = shape
    x = normal(19, *((images, 1, height, width) if scale_wh else (images, channels, 1, 1)))
    source = normal(20, *shape)
    return map_case(
        "scale_channels",
        "scale_channels.cu",
        "by pixel" if scale_wh else "by channel",
        [x, source],
        shape,
        partial(scale_channels_forward_cuda, scale_wh=scale_wh),
        lambda: Expected(scale_channels_forward_reference(x, source, scale_wh=scale_wh)),
        on_cpu=lambda: scale_channels_forward_numba(x, source, scale_wh=scale_wh),
    )


def shortcut(shape: Size, other_shape: Size, kind: str, margin: int = 0) -> Case:
    """The sum of two maps, activated; Darknet's rule where their shapes differ."""
    x, other = normal(21, *shape), normal(22, *other_shape)

    def expected() -> Expected:
        return Expected(activation_forward_reference(shortcut_forward_reference(x, [other]), kind))

    return map_case(
        "shortcut",
        "shortcut.cu",
        f"+ {'x'.join(map(str, other_shape))} {kind}",
        [x, other],
        shape,
        lambda target, x, other, out: shortcut_forward_cuda(
            target, x, [other], out, activation=kind
        ),
        expected,
        margin=margin,
        on_cpu=lambda: activation_forward_numba(shortcut_forward_numba(x, [other]), kind),
    )


def upsample(shape: Size, stride: int, margin: int = 0) -> Case:
    """Each pixel as a square of them."""
    x = normal(24, *shape)
    images, channels, height, width = shape
    return map_case(
        "upsample",
        "upsample.cu",
        f"stride={stride}",
        [x],
        (images, channels, stride * height, stride * width),
        partial(upsample_forward_cuda, stride=stride),
        lambda: Expected(upsample_forward_reference(x, stride=stride)),
        margin=margin,
        on_cpu=lambda: upsample_forward_numba(x, stride=stride),
    )
