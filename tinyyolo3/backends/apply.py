"""One layer's computation: its specification's numbers handed to the backend's functions."""

from collections.abc import Sequence

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.table import Backend
from tinyyolo3.network import specs
from tinyyolo3.network.parameters import LayerParameters
from tinyyolo3.network.parity import Parity


def apply_layer(
    backend: Backend,
    parity: Parity,
    layer: specs.Layer,
    parameters: LayerParameters,
    inputs: Sequence[FloatArray],
) -> FloatArray:
    """Return the output of `layer`, (N, C, H, W), for the outputs of the layers that it reads."""
    call = backend.functions
    x = inputs[0]
    match layer:
        case specs.Convolutional():
            y = call["convolution"](
                x,
                parameters["weights"],
                None if layer.batch_normalize else parameters["biases"],
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
            )
            return _normalize_and_activate(backend, parity, layer, parameters, y)
        case specs.Connected():
            biases = parameters["biases"]
            if layer.batch_normalize:
                biases = biases * 0
            y = call["connected"](x, parameters["weights"], biases)
            return _normalize_and_activate(backend, parity, layer, parameters, y)
        case specs.Maxpool():
            y = call["maxpool"](x, size=layer.size, stride=layer.stride, padding=layer.padding)
        case specs.Upsample():
            y = call["upsample"](x, stride=layer.stride, scale=layer.scale)
        case specs.Route():
            y = call["route"](inputs, groups=layer.groups, group_id=layer.group_id)
        case specs.Shortcut():
            y = call["shortcut"](x, inputs[1:], alpha=layer.alpha, beta=layer.beta)
            y = call["activation"](y, layer.activation, out=y)
        case specs.ScaleChannels():
            y = call["scale_channels"](x, inputs[1], scale_wh=layer.scale_wh)
            y = call["activation"](y, layer.activation, out=y)
        case specs.Sam():
            y = call["sam"](x, inputs[1])
            y = call["activation"](y, layer.activation, out=y)
        case specs.Softmax():
            y = call["softmax"](x, groups=layer.groups, temperature=layer.temperature)
        case specs.Reorg():
            y = call["reorg"](x, stride=layer.stride)
        case specs.Yolo():
            y = call["yolo"](
                x,
                anchors=len(layer.anchors),
                classes=layer.classes,
                scale_x_y=layer.scale_x_y,
                new_coords=layer.new_coords,
            )
        case specs.Region():
            anchors = len(layer.anchors)
            y = call["region"](x, anchors=anchors, classes=layer.classes, softmax=layer.softmax)
        case specs.Cost():
            y = x
        case _:  # avgpool, dropout: no numbers to hand over
            y = call[layer.kind](x)
    return y  # type: ignore[no-any-return]


def _normalize_and_activate(
    backend: Backend,
    parity: Parity,
    layer: specs.Convolutional | specs.Connected,
    parameters: LayerParameters,
    y: FloatArray,
) -> FloatArray:
    if layer.batch_normalize:
        y = backend.functions["batchnorm"](
            y,
            parameters["mean"],
            parameters["variance"],
            parameters["scales"],
            parameters["biases"],
            epsilon=parity.batchnorm_epsilon,
            epsilon_inside_root=parity.epsilon_inside_root,
            out=y,
        )
    return backend.functions["activation"](y, layer.activation, out=y)  # type: ignore[no-any-return]
