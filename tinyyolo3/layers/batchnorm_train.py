"""Batch normalisation while training: by the mean and variance of the batch itself.

    m = Σ x / n,   v = Σ (x − m)² / n,   x̂ = (x − m) / √(v + ε),   y = γ·x̂ + β

over the n = N·H·W numbers of a channel (Ioffe and Szegedy, 2015, arXiv:1502.03167, algorithm 1;
the gradients are its section 3). Since m and v depend on every x,

    ∂loss/∂x = γ / √(v + ε) · (g − mean(g) − x̂ · mean(g·x̂)),   g = ∂loss/∂y.

`batchnorm` normalises with the running moments instead, which `updated_running_moments` gathers.
Darknet: batchnorm_layer.c, forward_batchnorm_layer_gpu and backward_batchnorm_layer_gpu, where
cuDNN computes. Its CPU build divides both variances by n − 1 and mixes the two in its gradient.
"""

from dataclasses import dataclass

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import require_gradient, require_map
from tinyyolo3.layers.batchnorm import batchnorm_divisor, require_two_values

#: How much of the running moments a batch replaces.
RUNNING_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Moments:
    """What a batch was normalised by; the backward pass needs it.

    Attributes:
        mean: (C,), of the batch.
        variance: (C,), of the batch, the sum of squares divided by the count.
        divisor: (C,), √(variance + ε).
        normalized: (N, C, H, W), x̂, of mean 0 and variance 1 in each channel.
    """

    mean: FloatArray
    variance: FloatArray
    divisor: FloatArray
    normalized: FloatArray


def batchnorm_train_forward_reference(
    x: FloatArray, scales: FloatArray, biases: FloatArray, *, epsilon: float = 1e-5
) -> tuple[FloatArray, Moments]:
    """Normalise each channel by its mean and variance over the batch, then scale and shift it.

    Args:
        x: (N, C, H, W), float32 or float64; at least two numbers per channel.
        scales: (C,) of `x`'s dtype, the learnt factor γ.
        biases: (C,) of `x`'s dtype, the learnt offset β.
        epsilon: keeps the divisor from zero, inside the root.

    Returns:
        y, a new array of `x`'s shape and dtype, and the moments in the same dtype.

    Raises:
        InputError: a shape does not fit, or a channel has a single number.
    """
    require_map("batchnorm", "x", x)
    _require_parameters(x, scales=scales, biases=biases)
    require_two_values(len(x) * x.shape[2] * x.shape[3])
    mean = x.mean(axis=(0, 2, 3), dtype=np.float64).astype(x.dtype)
    variance = x.var(axis=(0, 2, 3), dtype=np.float64).astype(x.dtype)
    divisor = batchnorm_divisor(variance, epsilon)
    normalized = (x - mean[:, None, None]) / divisor[:, None, None]
    y = scales[:, None, None] * normalized + biases[:, None, None]
    return y, Moments(mean, variance, divisor, normalized)


def batchnorm_train_backward_reference(
    gradient: FloatArray, moments: Moments, scales: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Carry a gradient back through the normalisation, its mean and its variance.

    Args:
        gradient: (N, C, H, W), ∂loss/∂y.
        moments: what the forward pass returned.
        scales: (C,), the factor γ that it used.

    Returns:
        ∂loss/∂x (N, C, H, W), ∂loss/∂scales (C,) and ∂loss/∂biases (C,), new arrays of
        `gradient`'s dtype.

    Raises:
        InputError: the arrays do not belong together.
    """
    normalized = moments.normalized
    require_gradient("batchnorm", gradient, normalized.shape, normalized)
    _require_parameters(gradient, scales=scales)
    count = normalized.size // len(scales)
    grad_biases = gradient.sum(axis=(0, 2, 3), dtype=np.float64)
    grad_scales = np.multiply(gradient, normalized).sum(axis=(0, 2, 3), dtype=np.float64)
    along_mean = (grad_biases / count).astype(gradient.dtype)[:, None, None]
    along_spread = (grad_scales / count).astype(gradient.dtype)[:, None, None]
    factor = (scales / moments.divisor)[:, None, None]
    grad_x = factor * (gradient - along_mean - normalized * along_spread)
    return grad_x, grad_scales.astype(gradient.dtype), grad_biases.astype(gradient.dtype)


def updated_running_moments(
    mean: FloatArray,
    variance: FloatArray,
    batch_mean: FloatArray,
    batch_variance: FloatArray,
    count: int,
) -> tuple[FloatArray, FloatArray]:
    """Return the running moments after one more batch, for use at inference.

    Args:
        mean: (C,), the running mean so far.
        variance: (C,), the running variance so far.
        batch_mean: (C,), the batch's mean.
        batch_variance: (C,), the batch's variance, the sum of squares divided by `count`.
        count: n = N·H·W, how many numbers of the batch each channel has.

    Returns:
        mean and variance, new arrays (C,): nine tenths old, one tenth new.

    Raises:
        InputError: fewer than two numbers have no variance.
    """
    require_two_values(count)
    # DARKNET: cuDNN normalises by Σ(x − m)²/n but gathers the unbiased Σ(x − m)²/(n − 1).
    unbiased = batch_variance * (count / (count - 1))
    keep = 1 - RUNNING_SHARE
    return (
        keep * mean + RUNNING_SHARE * batch_mean,
        keep * variance + RUNNING_SHARE * unbiased,
    )


def _require_parameters(x: FloatArray, **parameters: FloatArray) -> None:
    for name, parameter in parameters.items():
        if parameter.shape != (x.shape[1],) or parameter.dtype != x.dtype:
            raise InputError(
                f"batchnorm: {name} must be {x.dtype} of shape ({x.shape[1]},) for a map of shape "
                f"{x.shape}, not {parameter.dtype} of shape {parameter.shape}"
            )
