"""Batch normalisation at inference: an affine map per channel.

    y = scales · (x − mean) / √(variance + ε) + biases

with the running mean and variance that training left in the weights file (Ioffe and Szegedy,
2015, arXiv:1502.03167, algorithm 2). Darknet: batchnorm_layer.c forward_batchnorm_layer.

The builds differ in the divisor. AlexeyAB's, and pjreddie's on a GPU, take √(variance + 1e-5);
pjreddie's CPU build takes √variance + 1e-6 (blas.c, normalize_cpu). Where a variance is small
the difference can be seen in detections.

While training, mean and variance are those of the batch (algorithm 1): `batchnorm_statistics_*`.
"""

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
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


def batchnorm_statistics_reference(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return each channel's mean and variance over a batch, by which training normalises it.

    Args:
        x: (N, C, H, W), float32 or float64; at least two numbers per channel.

    Returns:
        mean (C,) and variance (C,), `x`'s dtype.

    Raises:
        InputError: one number per channel has no variance.
    """
    require_map("batchnorm", "x", x)
    require_two_values(len(x) * x.shape[2] * x.shape[3])
    mean = x.mean(axis=(0, 2, 3), dtype=np.float64)
    # DARKNET: divides by one less than the count (blas.c, variance_cpu), in training too.
    variance = x.var(axis=(0, 2, 3), dtype=np.float64, ddof=1)
    return mean.astype(x.dtype), variance.astype(x.dtype)


def require_two_values(count: int) -> None:
    """Check that a channel has a variance.

    Args:
        count: how many numbers of a batch each channel has.

    Raises:
        InputError: fewer than two.
    """
    if count < 2:
        raise InputError(
            f"batchnorm: a variance takes at least two numbers per channel, found {count}"
        )


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


#: The pixels that a block of ``kernels/batchnorm.cu`` takes at a time, and its channels.
_BLOCK_PIXELS, _BLOCK_CHANNELS = 8, 32
#: Pixels for each thread at the least: fewer would not repay the block's start.
_THREAD_PIXELS = 16
#: Slabs at the most: with 32 channels in each, they fill any GPU.
_MAX_SLABS = 512


def batchnorm_forward_cuda(
    target: Target,
    x: DeviceMap,
    mean: DeviceArray,
    variance: DeviceArray,
    scales: DeviceArray,
    biases: DeviceArray,
    out: DeviceMap,
    *,
    epsilon: float = 1e-5,
    epsilon_inside_root: bool = True,
) -> None:
    """Launch ``kernels/batchnorm.cu`` from `x` into `out`, which may be `x` itself.

    The parameters are float32 arrays (C,) in the target's memory; otherwise as
    `batchnorm_forward_reference`.
    """
    parameters = (mean, variance, scales, biases)
    target.kernel("batchnorm.cu", "batchnorm_forward")(
        (-(-x.channels // _BLOCK_CHANNELS), _slabs(x.pixels)),
        (_BLOCK_CHANNELS, _BLOCK_PIXELS),
        (x.data, x.struct, *parameters, out.data, out.struct, epsilon, int(epsilon_inside_root)),
        outputs=() if out.data is x.data else out.whole,
    )


def _slabs(pixels: int) -> int:
    return min(_MAX_SLABS, -(-pixels // (_BLOCK_PIXELS * _THREAD_PIXELS)))


def batchnorm_statistics_workspace(pixels: int, channels: int) -> int:
    """Return how many float32 numbers `batchnorm_statistics_cuda` works with."""
    return 3 * _slabs(pixels) * channels


def batchnorm_statistics_cuda(
    target: Target,
    x: DeviceMap,
    mean: DeviceArray,
    variance: DeviceArray,
    workspace: DeviceArray,
) -> None:
    """Write each channel's mean and variance, as `batchnorm_statistics_reference`, in two launches.

    The bits are the same from run to run.

    Args:
        target: where to run.
        x: the batch; at least two pixels.
        mean: (C,) float32, written.
        variance: (C,) float32, written.
        workspace: `batchnorm_statistics_workspace` float32 numbers, overwritten.

    Raises:
        InputError: one number per channel has no variance.
    """
    require_two_values(x.pixels)
    slabs = _slabs(x.pixels)
    target.kernel("batchnorm.cu", "batchnorm_slab_moments")(
        (-(-x.channels // _BLOCK_CHANNELS), slabs),
        (_BLOCK_CHANNELS, _BLOCK_PIXELS),
        (x.data, x.struct, workspace),
        shared_mem=12 * _BLOCK_CHANNELS * _BLOCK_PIXELS,
        outputs=(workspace,),
    )
    target.kernel("batchnorm.cu", "batchnorm_statistics")(
        (-(-x.channels // 256),),
        (256,),
        (workspace, slabs, x.channels, mean, variance),
        outputs=(mean, variance),
    )
