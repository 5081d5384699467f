"""The `cpu` backend: BLAS for convolutions, Numba for what is worth compiling.

Operations that only copy, or that are one call of BLAS or NumPy already, are the reference's own.
"""

from typing import Any

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.table import Backend
from tinyyolo3.layers.activation import activation_forward_numba
from tinyyolo3.layers.avgpool import avgpool_forward_numba
from tinyyolo3.layers.batchnorm import batchnorm_forward_numba
from tinyyolo3.layers.connected import connected_forward_reference
from tinyyolo3.layers.convolution.depthwise import conv_forward_depthwise
from tinyyolo3.layers.convolution.im2col import conv_forward_im2col
from tinyyolo3.layers.dropout import dropout_forward_reference
from tinyyolo3.layers.maxpool import maxpool_forward_numba
from tinyyolo3.layers.region import region_forward_numba
from tinyyolo3.layers.reorg import reorg_forward_reference
from tinyyolo3.layers.route import route_forward_reference
from tinyyolo3.layers.sam import sam_forward_numba
from tinyyolo3.layers.scale_channels import scale_channels_forward_numba
from tinyyolo3.layers.shortcut import shortcut_forward_numba
from tinyyolo3.layers.softmax import softmax_forward_reference
from tinyyolo3.layers.upsample import upsample_forward_numba
from tinyyolo3.layers.yolo import yolo_forward_numba


def conv_forward_cpu(
    x: FloatArray, weights: FloatArray, biases: FloatArray | None, **options: Any
) -> FloatArray:
    """Convolve with the algorithm for the layer's shape: depthwise where groups leave 1 channel."""
    if weights.shape[1] == 1 and options.get("groups", 1) > 1:
        return conv_forward_depthwise(x, weights, biases, **options)
    return conv_forward_im2col(x, weights, biases, **options)


CPU = Backend(
    "cpu",
    {
        "convolution": conv_forward_cpu,
        "connected": connected_forward_reference,
        "batchnorm": batchnorm_forward_numba,
        "activation": activation_forward_numba,
        "maxpool": maxpool_forward_numba,
        "avgpool": avgpool_forward_numba,
        "upsample": upsample_forward_numba,
        "route": route_forward_reference,
        "shortcut": shortcut_forward_numba,
        "scale_channels": scale_channels_forward_numba,
        "sam": sam_forward_numba,
        "dropout": dropout_forward_reference,
        "softmax": softmax_forward_reference,
        "reorg": reorg_forward_reference,
        "yolo": yolo_forward_numba,
        "region": region_forward_numba,
    },
)
