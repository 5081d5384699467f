"""A network's forward pass as training needs it, and the way back, by the plain references.

Every layer leaves a `Trace` of what its backward needs. Going back, each layer turns the gradient
of its output into those of its inputs and its parameters; where several layers read one map, their
gradients of it are added (Rumelhart, Hinton and Williams, Learning representations by
back-propagating errors, 1986).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.apply import apply_layer
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.errors import ConfigError, InputError
from tinyyolo3.layers.activation import activation_backward_reference, activation_forward_reference
from tinyyolo3.layers.avgpool import avgpool_backward_reference
from tinyyolo3.layers.batchnorm_train import (
    Moments,
    batchnorm_train_backward_reference,
    batchnorm_train_forward_reference,
)
from tinyyolo3.layers.connected import connected_backward_reference, connected_forward_reference
from tinyyolo3.layers.convolution.backward import conv_backward_reference
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.layers.maxpool import maxpool_backward_reference
from tinyyolo3.layers.route import route_backward_reference
from tinyyolo3.layers.scale_channels import (
    scale_channels_backward_reference,
    scale_channels_forward_reference,
)
from tinyyolo3.layers.shortcut import shortcut_backward_reference, shortcut_forward_reference
from tinyyolo3.layers.softmax import softmax_backward_reference
from tinyyolo3.layers.upsample import upsample_backward_reference
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import LayerParameters, Parameters

#: The kinds of layers that a gradient can pass, and [yolo], where it begins.
TRAINABLE = frozenset(
    {"convolutional", "connected", "maxpool", "avgpool", "upsample", "route", "shortcut"}
    | {"scale_channels", "softmax", "yolo"}
)


@dataclass(frozen=True, eq=False)
class Trace:
    """What one layer computed.

    Attributes:
        inputs: what it read.
        raw: what its activation was applied to; the output itself where it has none.
        moments: of its batch norm, if it has one.
        output: its own.
    """

    inputs: tuple[FloatArray, ...]
    raw: FloatArray
    moments: Moments | None
    output: FloatArray


def check_trainable(graph: Graph, *, frozen: int = 0) -> None:
    """Refuse a network with no loss, or with a layer that no gradient can pass.

    Args:
        graph: the network.
        frozen: layers before this one run as when detecting, which any can.

    Raises:
        ConfigError: with the layer's line.
    """
    for layer in graph.layers[frozen:]:
        if layer.kind not in TRAINABLE:
            section = graph.config.layers[layer.index]
            raise section.error("cannot be trained: the layer has no backward pass")
    if not graph.heads:
        raise ConfigError(f"{graph.config.source}: cannot be trained: it has no [yolo] layer")


def forward_training(
    graph: Graph, parameters: Parameters, x: FloatArray, *, frozen: int = 0
) -> list[Trace]:
    """Run all layers, batch norm by the batch's own moments.

    Args:
        graph: of `TRAINABLE` layers, but for frozen ones.
        parameters: in the dtype of `x`.
        x: (N, C, H, W), the pictures.
        frozen: layers before this one run as when detecting: batch norm by the running moments.

    Returns:
        A trace of each layer, in order.
    """
    traces: list[Trace] = []
    for layer in graph.layers:
        inputs = tuple(x if index < 0 else traces[index].output for index in layer.inputs)
        own = parameters.get(layer.index, {})
        traces.append(forward_layer(graph, layer, own, inputs, frozen=frozen))
    return traces


def backward_training(
    graph: Graph,
    parameters: Parameters,
    traces: Sequence[Trace],
    gradients: Mapping[int, FloatArray],
    *,
    first: int = 0,
) -> dict[int, LayerParameters]:
    """Carry gradients from the heads back to all parameters.

    Args:
        graph: of `TRAINABLE` layers.
        parameters: those of the forward pass.
        traces: what `forward_training` returned.
        gradients: by each head's index, the loss's gradient by what the head read. The way back is
            linear: from minus the gradients come minus the gradients.
        first: the way back ends at this layer; layers before it get none.

    Returns:
        The gradients of the learnt parameters, by layer index and name; nothing for layers that no
        head depends on, or that are before `first`.
    """
    # Each starts anew: what a map's readers leave is only ever added to.
    waiting: dict[int, FloatArray] = {}
    found: dict[int, LayerParameters] = {}
    for layer in reversed(graph.layers[first:]):
        if isinstance(layer, specs.Yolo):
            of_inputs = [gradients[layer.index]]
        elif layer.index in waiting:
            own = parameters.get(layer.index, {})
            gradient = waiting.pop(layer.index)
            of_inputs, learnt = backward_layer(layer, own, traces[layer.index], gradient)
            if learnt:
                found[layer.index] = learnt
        else:
            continue
        for index, of_input in zip(layer.inputs, of_inputs, strict=True):
            waiting[index] = waiting[index] + of_input if index in waiting else of_input
    return found


def forward_layer(
    graph: Graph,
    layer: specs.Layer,
    own: LayerParameters,
    inputs: tuple[FloatArray, ...],
    *,
    frozen: int = 0,
) -> Trace:
    """Run one layer, as `forward_training` does.

    Args:
        graph: the layer's.
        layer: of `TRAINABLE`.
        own: its parameters.
        inputs: what it reads.
        frozen: layers before this one run as when detecting.
    """
    if layer.index < frozen:
        output = apply_layer(REFERENCE, graph.parity, layer, own, inputs)
        return Trace(inputs, output, None, output)
    moments = None
    match layer:
        case specs.Convolutional() | specs.Connected():
            raw = _multiply(layer, own, inputs[0])
            if layer.batch_normalize:
                epsilon = graph.parity.batchnorm_epsilon
                raw, moments = batchnorm_train_forward_reference(
                    raw, own["scales"], own["biases"], epsilon=epsilon
                )
        case specs.Shortcut():
            raw = shortcut_forward_reference(
                inputs[0], inputs[1:], alpha=layer.alpha, beta=layer.beta
            )
        case specs.ScaleChannels():
            factors, source = inputs
            raw = scale_channels_forward_reference(factors, source, scale_wh=layer.scale_wh)
        case _:
            output = apply_layer(REFERENCE, graph.parity, layer, own, inputs)
            return Trace(inputs, output, None, output)
    return Trace(inputs, raw, moments, activation_forward_reference(raw, layer.activation))


def backward_layer(
    layer: specs.Layer, own: LayerParameters, trace: Trace, gradient: FloatArray
) -> tuple[list[FloatArray], LayerParameters]:
    """Carry a gradient back through one layer, as `backward_training` does.

    Args:
        layer: of `TRAINABLE`, but no [yolo].
        own: its parameters.
        trace: what `forward_layer` returned.
        gradient: the loss's gradient by its output.

    Returns:
        The gradients of its inputs, and by name those of its learnt parameters, if it has any.
    """
    if isinstance(layer, specs.Convolutional | specs.Connected):
        of_input, found = _backward_weights(layer, own, trace, gradient)
        return [of_input], found
    return _backward_plain(layer, trace, gradient), {}


def _multiply(
    layer: specs.Convolutional | specs.Connected, own: LayerParameters, x: FloatArray
) -> FloatArray:
    """Take the sums of products, with the biases unless those belong to a batch norm."""
    weights, biases = own["weights"], own["biases"]
    if isinstance(layer, specs.Connected):
        return connected_forward_reference(
            x, weights, biases * 0 if layer.batch_normalize else biases
        )
    return conv_forward_reference(
        x,
        weights,
        None if layer.batch_normalize else biases,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )


def _backward_weights(
    layer: specs.Convolutional | specs.Connected,
    own: LayerParameters,
    trace: Trace,
    gradient: FloatArray,
) -> tuple[FloatArray, LayerParameters]:
    """Return the gradients of the input and, by name, of the parameters."""
    x, weights = trace.inputs[0], own["weights"]
    found: dict[str, FloatArray] = {}
    gradient = _backward_activation(layer.activation, trace, gradient)
    if trace.moments is not None:
        gradient, found["scales"], found["biases"] = batchnorm_train_backward_reference(
            gradient, trace.moments, own["scales"]
        )
    if isinstance(layer, specs.Connected):
        of_input, found["weights"], biases = connected_backward_reference(gradient, x, weights)
    else:
        of_input, found["weights"], biases = conv_backward_reference(
            gradient,
            x,
            weights,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
        )
    found.setdefault("biases", biases)
    return of_input, found


def _backward_plain(layer: specs.Layer, trace: Trace, gradient: FloatArray) -> list[FloatArray]:
    """Return the gradients of the inputs of a layer without parameters."""
    x = trace.inputs[0]
    match layer:
        case specs.Maxpool():
            return [
                maxpool_backward_reference(
                    gradient, x, size=layer.size, stride=layer.stride, padding=layer.padding
                )
            ]
        case specs.Avgpool():
            return [avgpool_backward_reference(gradient, x.shape)]
        case specs.Upsample():
            return [upsample_backward_reference(gradient, stride=layer.stride, scale=layer.scale)]
        case specs.Softmax():
            return [
                softmax_backward_reference(
                    gradient, trace.output, groups=layer.groups, temperature=layer.temperature
                )
            ]
        case specs.Route():
            channels = [each.shape[1] for each in trace.inputs]
            return route_backward_reference(
                gradient, channels, groups=layer.groups, group_id=layer.group_id
            )
        case specs.Shortcut():
            raw = _backward_activation(layer.activation, trace, gradient)
            shapes = [other.shape for other in trace.inputs[1:]]
            return shortcut_backward_reference(raw, shapes, alpha=layer.alpha, beta=layer.beta)
        case specs.ScaleChannels():
            raw = _backward_activation(layer.activation, trace, gradient)
            factors, source = trace.inputs
            return list(
                scale_channels_backward_reference(raw, factors, source, scale_wh=layer.scale_wh)
            )
    raise InputError(f"layer {layer.index} [{layer.kind}] has no backward pass")


def _backward_activation(kind: str, trace: Trace, gradient: FloatArray) -> FloatArray:
    return activation_backward_reference(gradient, trace.raw, trace.output, kind)
