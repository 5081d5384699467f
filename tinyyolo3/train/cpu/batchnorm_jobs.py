"""The jobs of `batchnorm`: passes over pixels, and the steps between them that make coefficients.

The formulas stand in `tinyyolo3.train.cpu.batchnorm`, the passes themselves in
`tinyyolo3.engine.cpu.channel_sums`.
"""

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
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES, as_doubles, as_floats, carray
from tinyyolo3.parallel import compiled
from tinyyolo3.train.cpu.batch_map import PART_FIELDS, map_fields, plane_part


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
