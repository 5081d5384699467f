"""The `reference` backend: plain NumPy throughout, the numbers that all others are held to."""

from tinyyolo3.backends.table import Backend
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.avgpool import avgpool_forward_reference
from tinyyolo3.layers.batchnorm import batchnorm_forward_reference
from tinyyolo3.layers.connected import connected_forward_reference
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.layers.dropout import dropout_forward_reference
from tinyyolo3.layers.maxpool import maxpool_forward_reference
from tinyyolo3.layers.region import region_forward_reference
from tinyyolo3.layers.reorg import reorg_forward_reference
from tinyyolo3.layers.route import route_forward_reference
from tinyyolo3.layers.sam import sam_forward_reference
from tinyyolo3.layers.scale_channels import scale_channels_forward_reference
from tinyyolo3.layers.shortcut import shortcut_forward_reference
from tinyyolo3.layers.softmax import softmax_forward_reference
from tinyyolo3.layers.upsample import upsample_forward_reference
from tinyyolo3.layers.yolo import yolo_forward_reference

REFERENCE = Backend(
    "reference",
    {
        "convolution": conv_forward_reference,
        "connected": connected_forward_reference,
        "batchnorm": batchnorm_forward_reference,
        "activation": activation_forward_reference,
        "maxpool": maxpool_forward_reference,
        "avgpool": avgpool_forward_reference,
        "upsample": upsample_forward_reference,
        "route": route_forward_reference,
        "shortcut": shortcut_forward_reference,
        "scale_channels": scale_channels_forward_reference,
        "sam": sam_forward_reference,
        "dropout": dropout_forward_reference,
        "softmax": softmax_forward_reference,
        "reorg": reorg_forward_reference,
        "yolo": yolo_forward_reference,
        "region": region_forward_reference,
    },
)
