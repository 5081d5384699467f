"""Write a folded network in ncnn's own format: a text of layers and a binary of weights.

The text's first line is a magic number, the second counts layers and values, then comes a line
for each layer: kind, name, count of inputs, count of outputs, their names, options
``number=value``. The numbers are those of each layer's ``load_param`` in ncnn (src/layer/*.cpp); an
array's is -23300 less its number. A value has one reader: what several read goes through a Split.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from export import FoldedNetwork, pool_padding
from peers.base import Model
from tinyyolo3.activations import LEAKY_SLOPE
from tinyyolo3.network import specs

MAGIC = 7767517
INPUT = "input"
#: Before a convolution's weights: they follow as plain float32.
FLOAT32_TAG = np.uint32(0).tobytes()
#: ncnn's numbers of activations in a convolution, with the option that the activation itself has.
ACTIVATIONS: dict[str, dict[int, object]] = {
    "linear": {},
    "relu": {9: 1},
    "leaky": {9: 2, -23310: f"1,{LEAKY_SLOPE}"},
}
#: "As far as it goes", in a Crop.
REMAINDER = -233


@dataclass(frozen=True)
class Step:
    """One line of the text: an ncnn layer with one output, which is also its name."""

    kind: str
    output: str
    inputs: list[str]
    options: dict[int, object]


class NcnnWriter:
    """Steps gathered layer by layer; weights go to the binary file at once.

    Attributes:
        steps: the lines so far, without Splits.
        values: the name of each layer's output by index; a layer that passes its input on shares
            its name.
    """

    def __init__(self, network: FoldedNetwork, binary: BinaryIO) -> None:
        self.network, self.binary = network, binary
        _, height, width = network.graph.input_shape
        channels = network.graph.input_shape[0]
        self.steps = [Step("Input", INPUT, [], {0: width, 1: height, 2: channels})]
        self.values = {-1: INPUT}
        for layer in network.graph.layers:
            if not isinstance(layer, specs.Head):
                self.values[layer.index] = self._add(layer)
        for number, index in enumerate(network.graph.output_indices):
            self._step("Noop", f"output_{number}", [self.values[index]])

    def text(self) -> str:
        """Return the text, with a Split wherever a value has several readers."""
        readers = Counter(name for step in self.steps for name in step.inputs)
        taken: Counter[str] = Counter()
        lines, values = [], 0
        for step in self.steps:
            inputs = []
            for name in step.inputs:
                inputs.append(f"{name}.{taken[name]}" if readers[name] > 1 else name)
                taken[name] += 1
            lines.append(_line(step.kind, step.output, inputs, [step.output], step.options))
            values += 1
            if readers[step.output] > 1:
                copies = [f"{step.output}.{i}" for i in range(readers[step.output])]
                lines.append(_line("Split", f"{step.output}.split", [step.output], copies, {}))
                values += len(copies)
        return "\n".join([str(MAGIC), f"{len(lines)} {values}", *lines, ""])

    def _add(self, layer: specs.Layer) -> str:
        """Add a layer's steps and return the name of its output."""
        inputs, name = [self.values[i] for i in layer.inputs], f"layer_{layer.index}"
        match layer:
            case specs.Convolutional():
                return self._convolution(layer, name, inputs)
            case specs.Maxpool():
                top, left, bottom, right = pool_padding(layer)
                options: dict[int, object] = {0: 0, 1: layer.size, 5: 1}
                options |= {2: layer.stride[1], 12: layer.stride[0]}
                options |= {3: left, 13: top, 14: right, 15: bottom}
                return self._step("Pooling", name, inputs, options)
            case specs.Upsample():
                return self._step(
                    "Interp", name, inputs, {0: 1, 1: float(layer.stride), 2: float(layer.stride)}
                )
            case specs.Route():
                return self._route(layer, name, inputs)
            case specs.Shortcut():
                y = inputs[0]
                for i, other in enumerate(inputs[1:]):
                    y = self._step("BinaryOp", f"{name}_{i}", [y, other], {0: 0})
                return y
            case specs.Dropout():
                return inputs[0]
        raise TypeError(f"check_exportable let {type(layer).__name__} pass")

    def _convolution(self, layer: specs.Convolutional, name: str, inputs: list[str]) -> str:
        own = self.network.parameters[layer.index]
        self.binary.write(FLOAT32_TAG)
        for array in (own["weights"], own["biases"]):
            self.binary.write(np.ascontiguousarray(array, "<f4").tobytes())
        options: dict[int, object] = {0: layer.filters, 1: layer.size, 2: layer.dilation}
        options |= {3: layer.stride[1], 13: layer.stride[0], 4: layer.padding * layer.dilation}
        options |= {5: 1, 6: own["weights"].size, **ACTIVATIONS[layer.activation]}
        if layer.groups == 1:
            return self._step("Convolution", name, inputs, options)
        # In ncnn this is every grouped convolution, depthwise or not.
        return self._step("ConvolutionDepthWise", name, inputs, {**options, 7: layer.groups})

    def _route(self, layer: specs.Route, name: str, inputs: list[str]) -> str:
        if layer.groups > 1:
            counts = [shape[0] // layer.groups for shape in layer.input_shapes]
            inputs = [
                self._step(
                    "Crop",
                    f"{name}_part_{i}",
                    [x],
                    {2: count * layer.group_id, 3: REMAINDER, 4: REMAINDER, 5: count},
                )
                for i, (x, count) in enumerate(zip(inputs, counts, strict=True))
            ]
        return inputs[0] if len(inputs) == 1 else self._step("Concat", name, inputs, {0: 0})

    def _step(
        self, kind: str, output: str, inputs: list[str], options: dict[int, Any] | None = None
    ) -> str:
        self.steps.append(Step(kind, output, inputs, options or {}))
        return output


def _line(
    kind: str, name: str, inputs: list[str], outputs: list[str], options: dict[int, object]
) -> str:
    settings = (f"{number}={value}" for number, value in options.items())
    counts = f"{len(inputs)} {len(outputs)}"
    return " ".join([kind, name, counts, *inputs, *outputs, *settings])


def write_ncnn(network: FoldedNetwork, model: Model) -> None:
    """Write `network`, which `check_exportable` has passed, to ``model.ncnn_param`` and `_bin`."""
    with model.ncnn_bin.open("wb") as binary:
        text = NcnnWriter(network, binary).text()
    model.ncnn_param.write_text(text)
