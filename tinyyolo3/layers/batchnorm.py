"""Batch normalisation at inference: an affine map per channel.

    y = scales · (x − mean) / √(variance + ε) + biases

with the running mean and variance that training left in the weights file (Ioffe and Szegedy,
2015, arXiv:1502.03167, algorithm 2). Darknet: batchnorm_layer.c forward_batchnorm_layer.

The builds differ in the divisor. AlexeyAB's, and pjreddie's on a GPU, take √(variance + 1e-5);
pjreddie's CPU build takes √variance + 1e-6 (blas.c, normalize_cpu). Where a variance is small
the difference can be seen in detections.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.errors import InputError
from tinyyolo3.layers.arguments import items_per_thread, plane_runs, require_map, result_array
from tinyyolo3.parallel import compiled, parallel_for


def batchnorm_divisor(
    variance: FloatArray, epsilon: float = 1e-5, epsilon_inside_root: bool = True
) -> FloatArray:
    """Return what batch normalisation divides by.

    Args:
        variance: (C,), non-negative.
        epsilon: the term that keeps the divisor from zero.
        epsilon_inside_root: True for √(variance + ε), False for √variance + ε.

    Returns:
        (C,), `variance`'s dtype.
    """
    if epsilon_inside_root:
        return np.asarray(np.sqrt(variance + epsilon))
    # DARKNET: pjreddie's normalize_cpu adds epsilon after the root.
    return np.asarray(np.sqrt(variance) + epsilon)


def batchnorm_forward_reference(
    x: FloatArray,
    mean: FloatArray,
    variance: FloatArray,
    scales: FloatArray,
    biases: FloatArray,
    *,
    epsilon: float = 1e-5,
    epsilon_inside_root: bool = True,
    out: FloatArray | None = None,
) -> FloatArray:
    """Normalise each channel by its running mean and variance, then scale and shift it.

    Args:
        x: (N, C, H, W), float32 or float64.
        mean: (C,), the running mean.
        variance: (C,), the running variance.
        scales: (C,), the learnt factor γ.
        biases: (C,), the learnt offset β.
        epsilon: see `batchnorm_divisor`.
        epsilon_inside_root: see `batchnorm_divisor`.
        out: where to write the result, of `x`'s shape and dtype; may be `x` itself.

    Returns:
        `out`, or a new array.

    Raises:
        InputError: a shape or dtype does not fit.
    """
    mean, variance, scales, biases = _per_channel(x, mean, variance, scales, biases)
    result = result_array("batchnorm", out, x.shape, x.dtype)
    divisor = batchnorm_divisor(variance, epsilon, epsilon_inside_root)
    result[...] = scales * (x - mean) / divisor + biases
    return result


def _per_channel(x: FloatArray, *parameters: FloatArray) -> list[FloatArray]:
    """Return the parameters in `x`'s dtype and as (C, 1, 1), so that they broadcast over it."""
    require_map("batchnorm", "x", x)
    channels = x.shape[1]
    names = ("mean", "variance", "scales", "biases")
    for name, parameter in zip(names, parameters, strict=True):
        if parameter.shape != (channels,):
            raise InputError(
                f"batchnorm: {name} must have shape ({channels},) for x of shape {x.shape}, "
                f"not {parameter.shape}"
            )
    return [parameter.astype(x.dtype).reshape(channels, 1, 1) for parameter in parameters]


@compiled
def _batchnorm_core(
    start: int,
    stop: int,
    x: FloatArray,
    mean: FloatArray,
    factor: FloatArray,
    biases: FloatArray,
    out: FloatArray,
) -> None:
    for plane in range(start, stop):
        channel = plane % mean.size
        m, f, b = mean[channel], factor[channel], biases[channel]
        source, target = x[plane], out[plane]
        for i in range(source.size):
            target[i] = (source[i] - m) * f + b


def batchnorm_forward_numba(
    x: FloatArray,
    mean: FloatArray,
    variance: FloatArray,
    scales: FloatArray,
    biases: FloatArray,
    *,
    epsilon: float = 1e-5,
    epsilon_inside_root: bool = True,
    out: FloatArray | None = None,
) -> FloatArray:
    """Normalise each channel like `batchnorm_forward_reference`, with a compiled loop.

    ``scales / divisor`` is taken once per channel, so results differ from the reference's by a
    rounding or two. Arguments, result and errors are the reference's; any strides will do.
    """
    mean, variance, scales, biases = _per_channel(x, mean, variance, scales, biases)
    result = result_array("batchnorm", out, x.shape, x.dtype)
    factor = scales / batchnorm_divisor(variance, epsilon, epsilon_inside_root)
    per_channel = (mean.reshape(-1), factor.reshape(-1), biases.reshape(-1))
    grain = items_per_thread(1 << 16, x.shape[2] * x.shape[3])
    for out_run, x_run in plane_runs(result, x):
        parallel_for(_batchnorm_core, len(x_run), x_run, *per_channel, out_run, grain=grain)
    return result
