"""The `cuda` backend: the launcher of the kernel that serves each operation.

Launchers take a target and maps in its memory where the other tables' functions take arrays; it is
`tinyyolo3.engine.cuda` that calls them, with all decided beforehand.
"""

from tinyyolo3.backends.table import Backend
from tinyyolo3.layers.activation import activation_forward_cuda
from tinyyolo3.layers.avgpool import avgpool_forward_cuda
from tinyyolo3.layers.batchnorm import batchnorm_forward_cuda
from tinyyolo3.layers.connected import connected_forward_cuda
from tinyyolo3.layers.convolution.cuda_algorithms import conv_forward_cuda
from tinyyolo3.layers.convolution.cuda_depthwise import conv_forward_depthwise_cuda
from tinyyolo3.layers.convolution.cuda_direct import conv_forward_direct_cuda
from tinyyolo3.layers.convolution.cuda_mma import conv_forward_mma_cuda
from tinyyolo3.layers.maxpool import maxpool_forward_cuda
from tinyyolo3.layers.region import region_forward_cuda
from tinyyolo3.layers.reorg import reorg_forward_cuda
from tinyyolo3.layers.route import route_forward_cuda
from tinyyolo3.layers.sam import sam_forward_cuda
from tinyyolo3.layers.scale_channels import scale_channels_forward_cuda
from tinyyolo3.layers.shortcut import shortcut_forward_cuda
from tinyyolo3.layers.softmax import softmax_forward_cuda
from tinyyolo3.layers.upsample import upsample_forward_cuda
from tinyyolo3.layers.yolo import yolo_forward_cuda

#: Convolutions on tensor cores and those of groups have kernels of their own. A plan passes a
#: dropout's input on, so that its entry, a copy, is never launched.
CUDA = Backend(
    "cuda",
    {
        "convolution": conv_forward_cuda,
        "convolution mma": conv_forward_mma_cuda,
        "convolution direct": conv_forward_direct_cuda,
        "convolution depthwise": conv_forward_depthwise_cuda,
        "connected": connected_forward_cuda,
        "batchnorm": batchnorm_forward_cuda,
        "activation": activation_forward_cuda,
        "maxpool": maxpool_forward_cuda,
        "avgpool": avgpool_forward_cuda,
        "upsample": upsample_forward_cuda,
        "route": route_forward_cuda,
        "shortcut": shortcut_forward_cuda,
        "scale_channels": scale_channels_forward_cuda,
        "sam": sam_forward_cuda,
        "dropout": route_forward_cuda,
        "softmax": softmax_forward_cuda,
        "reorg": reorg_forward_cuda,
        "yolo": yolo_forward_cuda,
        "region": region_forward_cuda,
    },
)
