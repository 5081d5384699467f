"""The self-test's cases of all layers but the convolutions.

Every function makes one case from its shapes and options, so that what the self-test tries on odd
little maps can be tried, or timed, on any others.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import (
    activation_forward_cuda,
    activation_forward_numba,
    activation_forward_reference,
)
from tinyyolo3.layers.avgpool import (
    avgpool_forward_cuda,
    avgpool_forward_numba,
    avgpool_forward_reference,
)
from tinyyolo3.layers.batchnorm import (
    batchnorm_forward_cuda,
    batchnorm_forward_numba,
    batchnorm_forward_reference,
    batchnorm_statistics_cuda,
    batchnorm_statistics_reference,
    batchnorm_statistics_workspace,
)
from tinyyolo3.layers.connected import (
    connected_forward_cuda,
    connected_forward_reference,
    pack_connected_weights,
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
from tinyyolo3.layers.softmax import softmax_forward_cuda, softmax_forward_reference
from tinyyolo3.layers.upsample import (
    upsample_forward_cuda,
    upsample_forward_numba,
    upsample_forward_reference,
)
from tinyyolo3.selftest.case import Case, Expected, Prepared, Size, map_case, normal
from tinyyolo3.testing import tolerances


def layer_cases() -> Iterator[Case]:
    """Yield every case: maps of odd sizes, alone and inside wider ones."""
    for kind in ACTIVATIONS:
        yield activation((2, 8, 7, 5), kind)
    yield activation((1, 5, 3, 9), "mish", margin=3)
    yield avgpool((2, 37, 13, 11))
    yield avgpool((1, 64, 4, 4), margin=4)
    yield batchnorm((2, 12, 7, 9))
    yield batchnorm((1, 5, 3, 4), margin=2)
    yield batchnorm_statistics((3, 35, 9, 11))
    yield connected((1, 8, 5, 3), 30, "leaky")
    yield connected((5, 7, 3, 3), 9, "logistic")
    yield layout_in((2, 35, 9, 7))
    yield layout_in((1, 3, 13, 17), margin=5)
    yield layout_out((2, 35, 9, 7))
    yield layout_out((1, 255, 4, 3), margin=1)
    yield maxpool((2, 8, 13, 9), 2, (2, 2), 1)
    yield maxpool((1, 5, 7, 7), 5, (1, 1), 4, margin=3)
    yield reorg((2, 4, 6, 10), 2)
    yield route([(2, 8, 5, 7), (2, 4, 5, 7)])
    yield route([(1, 6, 3, 5)], groups=2, group_id=1, margin=3)
    yield sam((2, 8, 5, 7))
    yield scale_channels((2, 8, 5, 7), scale_wh=False)
    yield scale_channels((2, 5, 5, 7), scale_wh=True)
    yield shortcut((2, 8, 6, 10), (2, 8, 6, 10), "linear")
    yield shortcut((1, 6, 5, 9), (1, 4, 10, 18), "leaky", margin=1)
    yield softmax((3, 1000, 1, 1), 1)
    yield softmax((2, 60, 1, 1), 3)
    yield upsample((2, 8, 5, 7), 2)
    yield upsample((1, 3, 4, 3), 3, margin=2)


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


def avgpool(shape: Size, margin: int = 0) -> Case:
    """Each channel's mean."""
    x = normal(2, *shape)

    def expected() -> Expected:
        sizes = np.abs(x).mean(axis=(2, 3), keepdims=True)
        values = avgpool_forward_reference(x.astype(np.float64))
        return Expected(values, tolerances.summation(sizes, shape[2] * shape[3]))

    return map_case(
        "avgpool",
        "avgpool.cu",
        "",
        [x],
        (*shape[:2], 1, 1),
        avgpool_forward_cuda,
        expected,
        margin=margin,
        on_cpu=lambda: avgpool_forward_numba(x),
    )


def batchnorm(shape: Size, margin: int = 0) -> Case:
    """Batch norm by given means and variances."""
    x, channels = normal(3, *shape), shape[1]
    mean, scales, biases = normal(4, 3, channels)
    variance = np.abs(normal(5, channels)) + np.float32(0.1)
    parameters = (mean, variance, scales, biases)

    def expected() -> Expected:
        values = batchnorm_forward_reference(
            x.astype(np.float64), *(array.astype(np.float64) for array in parameters)
        )
        factor, shift = (np.abs(a).reshape(-1, 1, 1) for a in (scales / np.sqrt(variance), biases))
        sizes = factor * (np.abs(x) + np.abs(mean).reshape(-1, 1, 1)) + shift
        return Expected(values, tolerances.summation(sizes, 2))

    return map_case(
        "batchnorm",
        "batchnorm.cu",
        "",
        [x],
        shape,
        batchnorm_forward_cuda,
        expected,
        margin=margin,
        arrays=parameters,
        on_cpu=lambda: batchnorm_forward_numba(x, *parameters),
    )


def batchnorm_statistics(shape: Size) -> Case:
    """Each channel's mean and variance over a batch."""
    from tinyyolo3.cuda.maps import upload_map

    x = normal(6, *shape) + 1
    count, channels = shape[0] * shape[2] * shape[3], shape[1]

    def prepare(target: Target) -> Prepared:
        here = upload_map(target, x)
        mean, variance = target.empty(channels), target.empty(channels)
        workspace = target.empty(batchnorm_statistics_workspace(count, channels))
        return Prepared(
            lambda: batchnorm_statistics_cuda(target, here, mean, variance, workspace),
            lambda: [target.download(mean), target.download(variance)],
            x.nbytes + 8 * channels,
        )

    def expected() -> list[Expected]:
        mean, variance = batchnorm_statistics_reference(x.astype(np.float64))
        sizes = np.abs(x).mean(axis=(0, 2, 3), dtype=np.float64)
        return [
            Expected(mean, tolerances.summation(sizes, count)),
            Expected(variance, tolerances.variance(mean, variance, count)),
        ]

    label = "x".join(map(str, shape))
    return Case("batchnorm statistics", ("batchnorm.cu",), label, prepare, expected)


def connected(shape: Size, outputs: int, kind: str) -> Case:
    """A fully connected layer with its activation."""
    x = normal(7, *shape)
    terms = int(np.prod(shape[1:]))
    weights, biases = normal(8, outputs, terms) / np.float32(terms**0.5), normal(9, outputs)

    def expected() -> Expected:
        wide = [array.astype(np.float64) for array in (x, weights, biases)]
        values = activation_forward_reference(connected_forward_reference(*wide), kind)
        sizes = connected_forward_reference(*map(np.abs, wide))
        slack = tolerances.ELEMENTARY_FLOAT32 * np.maximum(np.abs(values), 1)
        return Expected(values, tolerances.summation(sizes, terms + 2) + slack)

    return map_case(
        "connected",
        "connected.cu",
        f"to {outputs} {kind}",
        [x],
        (shape[0], outputs, 1, 1),
        lambda target, x, weights, biases, out: connected_forward_cuda(
            target, x, weights, biases, out, activation=kind
        ),
        expected,
        arrays=[pack_connected_weights(weights, shape[1:]), biases],
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
    from tinyyolo3.cuda.maps import upload_map

    x = normal(11, *shape)

    def prepare(target: Target) -> Prepared:
        here = upload_map(target, x, shape[1] + margin)
        out = target.empty(x.size)
        return Prepared(
            lambda: map_to_nchw_cuda(target, here, out),
            lambda: [target.download(out).reshape(shape)],
            2 * x.nbytes,
        )

    label = "x".join(map(str, shape))
    return Case("layout, out", ("layout.cu",), label, prepare, lambda: [Expected(x)])


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


def softmax(shape: Size, groups: int) -> Case:
    """Probabilities of each group of scores."""
    x = 3 * normal(23, *shape)

    def expected() -> Expected:
        values = softmax_forward_reference(x.astype(np.float64), groups=groups)
        largest = float(np.abs(x).max())
        return Expected(values, tolerances.softmax(values, largest, np.float32))

    return map_case(
        "softmax",
        "softmax.cu",
        f"groups={groups}",
        [x],
        shape,
        partial(softmax_forward_cuda, groups=groups),
        expected,
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
