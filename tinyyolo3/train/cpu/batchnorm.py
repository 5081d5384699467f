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

from tinyyolo3.engine.cpu.channel_sums import COEFFICIENT_BYTES, SUM_BYTES
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.train.cpu.batch_map import BatchMap, part_fields, parts_of
from tinyyolo3.train.cpu.batchnorm_jobs import (
    bias_gradient_job,
    channel_sums_job,
    given_moments_job,
    gradient_sums_job,
    moments_job,
    normalize_gradient_job,
    normalize_job,
    parameter_gradients_job,
)


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
