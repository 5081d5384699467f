"""The self-test's cases of layers that add many numbers up: means, products with weights."""

from functools import partial

import numpy as np

from tinyyolo3.cuda.maps import upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import (
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
from tinyyolo3.layers.softmax import softmax_forward_cuda, softmax_forward_reference
from tinyyolo3.selftest.case import Case, Expected, Prepared, Size, map_case, normal
from tinyyolo3.testing import tolerances


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
        halves=False,
        on_cpu=lambda: batchnorm_forward_numba(x, *parameters),
    )


def batchnorm_statistics(shape: Size) -> Case:
    """Each channel's mean and variance over a batch."""
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


def softmax(shape: Size, groups: int) -> Case:
    """Probabilities of each group of scores."""
    x = 4 * normal(23, *shape)

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
