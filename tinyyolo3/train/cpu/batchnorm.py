"""Batch normalisation of blocked mini-batches in training, forward and back, and bias gradients.

    m = Σ x / n,   v = Σ x² / n − m²,   y = f(γ / √(v + ε) · (x − m) + β)

over the n = N·H·W numbers of a channel, f being linear, leaky or relu (Ioffe and Szegedy, 2015,
arXiv:1502.03167, algorithm 1). On the way back, with dz = dy · f′ and x̂ = (x − m) / √(v + ε),

    dβ = Σ dz,   dγ = Σ dz · x̂,   dx = γ / √(v + ε) · (dz − dβ/n − x̂ · dγ/n).

Each way is two passes over the pixels (`channel_sums`) with a short step in between that makes
coefficients of sums: the first pass sums up, each job on its own; the step adds the jobs' sums in
their order; the second pass applies. The way back needs x and no other map: f′ follows from z's
sign.

Equals: `tinyyolo3.layers.batchnorm_train` followed or preceded by `tinyyolo3.layers.activation`;
with given moments `tinyyolo3.layers.batchnorm`. Lanes beyond the last channel may hold any finite
numbers and become zero in both directions' results; no parameter's gradient has any of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyyolo3.engine.cpu.channel_sums import (
    COEFFICIENT_BYTES,
    COEFFICIENTS,
    SUM_BYTES,
    channel_sums,
    gradient_sums,
    normalize_gradient,
    normalize_pixels,
)
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES, as_doubles, as_floats, carray
from tinyyolo3.parallel import compiled
from tinyyolo3.train.cpu.batch_map import (
    PART_FIELDS,
    BatchMap,
    map_fields,
    part_fields,
    parts_of,
    plane_part,
)


@compiled
def _sums_place(step: Any, index: int, image: int, block: int) -> int:
    """Return where a job's sums lie: those of a block together."""
    own = image * step.parts + index % step.parts
    address: int = step.sums + (block * step.images * step.parts + own) * SUM_BYTES
    return address


@operation(*map_fields("source"), *PART_FIELDS, "sums")
def channel_sums_job(steps: Any, index: int, _scratch: int) -> None:
    """Σ x and Σ x² of some pixels of one block of one image."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    at = step.source + image * step.source_image + block * step.source_stride + start * BLOCK
    channel_sums(at, count, _sums_place(step, index, image, block))


@operation(*map_fields("source", "gradient"), *PART_FIELDS, "coefficients", "sums", "slope")
def gradient_sums_job(steps: Any, index: int, _scratch: int) -> None:
    """Σ dz and Σ dz · (x − m) of some pixels of one block of one image."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    x = step.source + image * step.source_image + block * step.source_stride + start * BLOCK
    g = step.gradient + image * step.gradient_image + block * step.gradient_stride + start * BLOCK
    gradient_sums(
        g, x, count, step.coefficients + block * COEFFICIENT_BYTES,
        _sums_place(step, index, image, block), np.float32(step.slope),
    )  # fmt: skip


@operation(*map_fields("source", "target"), *PART_FIELDS, "coefficients", "slope")
def normalize_job(steps: Any, index: int, _scratch: int) -> None:
    """Normalised and activated: some pixels of one block of one image."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    x = step.source + image * step.source_image + block * step.source_stride + start * BLOCK
    y = step.target + image * step.target_image + block * step.target_stride + start * BLOCK
    own = step.coefficients + block * COEFFICIENT_BYTES
    normalize_pixels(x, y, count, own, np.float32(step.slope))


@operation(*map_fields("source", "gradient", "target"), *PART_FIELDS, "coefficients", "slope")
def normalize_gradient_job(steps: Any, index: int, _scratch: int) -> None:
    """∂loss/∂x: some pixels of one block of one image."""
    step = carray(steps, 1)[0]
    image, block, start, count = plane_part(step, index)
    x = step.source + image * step.source_image + block * step.source_stride + start * BLOCK
    g = step.gradient + image * step.gradient_image + block * step.gradient_stride + start * BLOCK
    y = step.target + image * step.target_image + block * step.target_stride + start * BLOCK
    own = step.coefficients + block * COEFFICIENT_BYTES
    normalize_gradient(g, x, y, count, own, np.float32(step.slope))


@compiled
def _total(step: Any, block: int, lane: int) -> tuple[float, float]:
    """Return the two sums of one channel over all jobs, in their order."""
    own = carray(as_doubles(step.sums + block * step.jobs * SUM_BYTES), step.jobs * 2 * LANES)
    first, second = 0.0, 0.0
    for job in range(step.jobs):
        first += own[job * 2 * LANES + lane]
        second += own[(job * 2 + 1) * LANES + lane]
    return first, second


_OWN = ("channels", "coefficients", "means", "variances", "scales", "biases", "epsilon")


# Given numbers and no record: Numba would take the longer record for the shorter one, and warn.
@compiled
def _write_forward(
    coefficients: int, lane: int, mean: float, variance: float, scale: float, bias: float,
    epsilon: float,
) -> None:  # fmt: skip
    """Write the coefficients m, a and b of one of a block's channels."""
    own = carray(as_floats(coefficients), COEFFICIENTS * LANES)
    own[lane] = mean
    own[LANES + lane] = scale / np.sqrt(variance + epsilon)
    own[2 * LANES + lane] = bias


@compiled
def _clear_coefficients(coefficients: int) -> None:
    own = carray(as_floats(coefficients), COEFFICIENTS * LANES)
    for i in range(COEFFICIENTS * LANES):
        own[i] = 0


@operation(*_OWN, "sums", "jobs", "count")
def moments_job(steps: Any, index: int, _scratch: int) -> None:
    """Mean, variance and coefficients of one block's channels."""
    step = carray(steps, 1)[0]
    means = carray(as_floats(step.means), step.channels)
    variances = carray(as_floats(step.variances), step.channels)
    scales = carray(as_floats(step.scales), step.channels)
    biases = carray(as_floats(step.biases), step.channels)
    coefficients = step.coefficients + index * COEFFICIENT_BYTES
    _clear_coefficients(coefficients)
    for lane in range(min(LANES, step.channels - index * LANES)):
        channel = index * LANES + lane
        total, squares = _total(step, index, lane)
        mean = total / step.count
        means[channel] = mean
        variances[channel] = max(0.0, squares / step.count - mean * mean)
        _write_forward(
            coefficients, lane, means[channel], variances[channel], scales[channel],
            biases[channel], step.epsilon,
        )  # fmt: skip


@operation(*_OWN)
def given_moments_job(steps: Any, index: int, _scratch: int) -> None:
    """Coefficients of one block's channels from moments that are there already."""
    step = carray(steps, 1)[0]
    means = carray(as_floats(step.means), step.channels)
    variances = carray(as_floats(step.variances), step.channels)
    scales = carray(as_floats(step.scales), step.channels)
    biases = carray(as_floats(step.biases), step.channels)
    coefficients = step.coefficients + index * COEFFICIENT_BYTES
    _clear_coefficients(coefficients)
    for lane in range(min(LANES, step.channels - index * LANES)):
        channel = index * LANES + lane
        _write_forward(
            coefficients, lane, means[channel], variances[channel], scales[channel],
            biases[channel], step.epsilon,
        )  # fmt: skip


@operation(
    "sums", "jobs", "count", "channels", "coefficients", "variances", "epsilon", "scale_gradient",
    "bias_gradient",
)  # fmt: skip
def parameter_gradients_job(steps: Any, index: int, _scratch: int) -> None:
    """∂loss/∂γ, ∂loss/∂β and the coefficients of the way back of one block's channels."""
    step = carray(steps, 1)[0]
    own = carray(as_floats(step.coefficients + index * COEFFICIENT_BYTES), COEFFICIENTS * LANES)
    variances = carray(as_floats(step.variances), step.channels)
    of_scales = carray(as_floats(step.scale_gradient), step.channels)
    of_biases = carray(as_floats(step.bias_gradient), step.channels)
    for lane in range(min(LANES, step.channels - index * LANES)):
        channel = index * LANES + lane
        total, products = _total(step, index, lane)
        square = variances[channel] + step.epsilon
        factor = own[LANES + lane]
        of_scales[channel] = products / np.sqrt(square)
        of_biases[channel] = total
        own[3 * LANES + lane] = factor
        own[4 * LANES + lane] = -factor * products / (square * step.count)
        own[5 * LANES + lane] = -factor * total / step.count


@operation("sums", "jobs", "channels", "bias_gradient")
def bias_gradient_job(steps: Any, index: int, _scratch: int) -> None:
    """∂loss/∂biases of one block's channels, without batch normalisation."""
    step = carray(steps, 1)[0]
    of_biases = carray(as_floats(step.bias_gradient), step.channels)
    for lane in range(min(LANES, step.channels - index * LANES)):
        of_biases[index * LANES + lane] = _total(step, index, lane)[0]


@dataclass(frozen=True)
class Normalization:
    """The memory that a layer's batch norm works with, all by address.

    Attributes:
        scales: (C,) float32, the factors γ.
        biases: (C,) float32, the offsets β.
        means: (C,) float32, written by the forward pass in training, read with given moments.
        variances: (C,) float32, of the batch Σ(x − m)²/n, alike.
        coefficients: `coefficient_bytes` bytes that live from the forward to the backward pass,
            at a multiple of `BLOCK`.
        epsilon: keeps the divisor from zero, inside the root.
    """

    scales: int
    biases: int
    means: int
    variances: int
    coefficients: int
    epsilon: float = 1e-5


def coefficient_bytes(x: BatchMap) -> int:
    """Return the bytes of `Normalization.coefficients`."""
    return x.blocks * COEFFICIENT_BYTES


def sum_bytes(x: BatchMap, jobs: int) -> int:
    """Return the shared memory that the steps of one pass over `x` need for their sums."""
    return x.images * x.blocks * parts_of(jobs, x.pixels, x.images * x.blocks) * SUM_BYTES


def _own_fields(x: BatchMap, own: Normalization) -> dict[str, float]:
    return {
        "channels": x.channels,
        "coefficients": own.coefficients,
        "means": own.means,
        "variances": own.variances,
        "scales": own.scales,
        "biases": own.biases,
        "epsilon": own.epsilon,
    }


def _normalize(x: BatchMap, y: BatchMap, own: Normalization, slope: float, jobs: int) -> Lowered:
    fields, count = part_fields(x, jobs)
    maps = {**x.fields("source"), **y.fields("target")}
    record = {**maps, **fields, "coefficients": own.coefficients, "slope": slope}
    return Lowered(normalize_job, record, count)


def lower_batchnorm(
    x: BatchMap, y: BatchMap, own: Normalization, slope: float, sums: int, jobs: int
) -> list[Lowered]:
    """Return the steps that normalise by the batch's moments and activate.

    Args:
        x: what is normalised.
        y: where to; may be `x`, if nothing goes back.
        own: parameters, and the moments to be written.
        slope: of the activation max(z, slope · z), in [0, 1].
        sums: the address of `sum_bytes` bytes.
        jobs: into how many to cut a pass, where it is large enough.
    """
    fields, count = part_fields(x, jobs)
    per_block = {"sums": sums, "jobs": count // x.blocks, "count": x.images * x.pixels}
    return [
        Lowered(channel_sums_job, {**x.fields("source"), **fields, "sums": sums}, count),
        Lowered(moments_job, {**_own_fields(x, own), **per_block}, x.blocks),
        _normalize(x, y, own, slope, jobs),
    ]


def lower_given_batchnorm(
    x: BatchMap, y: BatchMap, own: Normalization, slope: float, jobs: int
) -> list[Lowered]:
    """Return the steps that normalise by given moments, such as the running ones, and activate."""
    return [
        Lowered(given_moments_job, _own_fields(x, own), x.blocks),
        _normalize(x, y, own, slope, jobs),
    ]


def lower_batchnorm_backward(
    gradient: BatchMap,
    x: BatchMap,
    target: BatchMap,
    own: Normalization,
    slope: float,
    of_scales: int,
    of_biases: int,
    sums: int,
    jobs: int,
) -> list[Lowered]:
    """Return the steps that carry a gradient back through activation and normalisation.

    Args:
        gradient: ∂loss/∂y.
        x: what was normalised.
        target: where ∂loss/∂x goes; may be `gradient`.
        own: as in the forward pass, with the coefficients and moments that it left.
        slope: as in the forward pass; 1 if the activation's gradient is in `gradient` already.
        of_scales: the address of (C,) float32, ∂loss/∂γ.
        of_biases: the address of (C,) float32, ∂loss/∂β.
        sums: the address of `sum_bytes` bytes.
        jobs: into how many to cut a pass, where it is large enough.
    """
    fields, count = part_fields(x, jobs)
    passes = {
        **x.fields("source"),
        **gradient.fields("gradient"),
        **fields,
        "coefficients": own.coefficients,
        "slope": slope,
    }
    between = {
        "sums": sums,
        "jobs": count // x.blocks,
        "count": x.images * x.pixels,
        "channels": x.channels,
        "coefficients": own.coefficients,
        "variances": own.variances,
        "epsilon": own.epsilon,
        "scale_gradient": of_scales,
        "bias_gradient": of_biases,
    }
    return [
        Lowered(gradient_sums_job, {**passes, "sums": sums}, count),
        Lowered(parameter_gradients_job, between, x.blocks),
        Lowered(normalize_gradient_job, {**passes, **target.fields("target")}, count),
    ]


def lower_bias_gradient(gradient: BatchMap, target: int, sums: int, jobs: int) -> list[Lowered]:
    """Return the steps that sum a gradient up over images and pixels.

    Args:
        gradient: ∂loss/∂(x + bias).
        target: the address of (C,) float32.
        sums: the address of `sum_bytes` bytes.
        jobs: into how many to cut the pass, where it is large enough.
    """
    fields, count = part_fields(gradient, jobs)
    add = {
        "sums": sums,
        "jobs": count // gradient.blocks,
        "channels": gradient.channels,
        "bias_gradient": target,
    }
    return [
        Lowered(channel_sums_job, {**gradient.fields("source"), **fields, "sums": sums}, count),
        Lowered(bias_gradient_job, add, gradient.blocks),
    ]
