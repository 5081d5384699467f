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
        case specs.Convolutional() | specs.Connected():
            return _apply_weights(backend, parity, layer, parameters, x)
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


def _apply_weights(
    backend: Backend,
    parity: Parity,
    layer: specs.Convolutional | specs.Connected,
    parameters: LayerParameters,
    x: FloatArray,
) -> FloatArray:
    """Multiply, normalize and activate; with batch norm the biases belong to that."""
    call = backend.functions
    weights, biases = parameters["weights"], parameters["biases"]
    if isinstance(layer, specs.Convolutional):
        y = call["convolution"](
            x,
            weights,
            None if layer.batch_normalize else biases,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
        )
    else:
        y = call["connected"](x, weights, biases * 0 if layer.batch_normalize else biases)
    if layer.batch_normalize:
        y = call["batchnorm"](
            y,
            parameters["mean"],
            parameters["variance"],
            parameters["scales"],
            biases,
            epsilon=parity.batchnorm_epsilon,
            epsilon_inside_root=parity.epsilon_inside_root,
            out=y,
        )
    return call["activation"](y, layer.activation, out=y)  # type: ignore[no-any-return]
