"""Write a folded network as an ONNX file (operator set 13), for ONNX Runtime and OpenVINO."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export import FoldedNetwork, pool_padding
from peers.base import Model
from tinyyolo3.activations import LEAKY_SLOPE
from tinyyolo3.network import specs

OPERATOR_SET, FORMAT_VERSION = 13, 8
INPUT = "input"


class OnnxWriter:
    """Nodes and constants gathered layer by layer.

    Attributes:
        nodes: the ONNX nodes so far.
        constants: the tensors they read.
        values: the name of each layer's output by index; a layer that passes its input on shares
            its name.
    """

    def __init__(self, network: FoldedNetwork) -> None:
        self.network = network
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.values = {-1: INPUT}
        for layer in network.graph.layers:
            if not isinstance(layer, specs.Head):
                self.values[layer.index] = self._add(layer)

    def model(self) -> onnx.ModelProto:
        """Return the checked model, whose outputs are the heads' logits in order."""
        graph = self.network.graph
        layers, outputs = graph.layers, graph.output_indices
        described = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, *graph.input_shape])],
            [
                helper.make_tensor_value_info(
                    self.values[i], TensorProto.FLOAT, [1, *layers[i].output_shape]
                )
                for i in outputs
            ],
            self.constants,
        )
        versions = [helper.make_opsetid("", OPERATOR_SET)]
        model = helper.make_model(described, opset_imports=versions, ir_version=FORMAT_VERSION)
        onnx.checker.check_model(model)
        return model

    def _add(self, layer: specs.Layer) -> str:
        """Add a layer's nodes and return the name of its output."""
        inputs = [self.values[i] for i in layer.inputs]
        match layer:
            case specs.Convolutional():
                return self._convolution(layer, inputs[0])
            case specs.Maxpool():
                return self._node(
                    "MaxPool",
                    inputs,
                    f"layer_{layer.index}",
                    kernel_shape=[layer.size] * 2,
                    strides=layer.stride,
                    pads=pool_padding(layer),
                )
            case specs.Upsample():
                return self._upsample(layer, inputs[0])
            case specs.Route():
                return self._route(layer, inputs)
            case specs.Shortcut():
                return self._sum(layer, inputs)
            case specs.Dropout():
                return inputs[0]
        raise TypeError(f"check_exportable let {type(layer).__name__} pass")

    def _convolution(self, layer: specs.Convolutional, x: str) -> str:
        own, name = self.network.parameters[layer.index], f"layer_{layer.index}"
        y = self._node(
            "Conv",
            [x, *(self._constant(f"{name}_{key}", own[key]) for key in ("weights", "biases"))],
            name if layer.activation == "linear" else f"{name}_sum",
            kernel_shape=[layer.size] * 2,
            strides=layer.stride,
            pads=[layer.padding * layer.dilation] * 4,
            dilations=[layer.dilation] * 2,
            group=layer.groups,
        )
        match layer.activation:
            case "leaky":
                return self._node("LeakyRelu", [y], name, alpha=LEAKY_SLOPE)
            case "relu":
                return self._node("Relu", [y], name)
        return y

    def _upsample(self, layer: specs.Upsample, x: str) -> str:
        name = f"layer_{layer.index}"
        scales = np.array([1, 1, layer.stride, layer.stride], np.float32)
        return self._node(
            "Resize",
            [x, "", self._constant(f"{name}_scales", scales)],
            name,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _route(self, layer: specs.Route, inputs: list[str]) -> str:
        name = f"layer_{layer.index}"
        if layer.groups > 1:
            shapes = layer.input_shapes
            inputs = [
                self._part(f"{name}_part_{i}", x, shapes[i][0] // layer.groups, layer.group_id)
                for i, x in enumerate(inputs)
            ]
        return inputs[0] if len(inputs) == 1 else self._node("Concat", inputs, name, axis=1)

    def _part(self, name: str, x: str, channels: int, part: int) -> str:
        """Add a slice of the channels: the `part`-th run of as many as `channels`."""
        limits = {"start": channels * part, "end": channels * (part + 1), "axis": 1}
        constants = [
            self._constant(f"{name}_{key}", np.array([value], np.int64))
            for key, value in limits.items()
        ]
        return self._node("Slice", [x, *constants], name)

    def _sum(self, layer: specs.Shortcut, inputs: list[str]) -> str:
        y = inputs[0]
        for i, other in enumerate(inputs[1:]):
            y = self._node("Add", [y, other], f"layer_{layer.index}_{i}")
        return y

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def write_onnx(network: FoldedNetwork, model: Model) -> None:
    """Write `network`, which `check_exportable` has passed, to ``model.onnx``."""
    onnx.save(OnnxWriter(network).model(), model.onnx)
