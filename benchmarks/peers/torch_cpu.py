"""PyTorch on the processor: the network as a module over the plain list of its layers.

It is given every advantage that needs no other file format: batch norm folded, channels last, no
autograd, and for the compiled one frozen weights, which the compiler lays out and fuses.
"""

import json
import shutil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from peers.base import Engine, FloatArray, Model, UnavailableError


class Network(nn.Module):
    """A folded network. Its layers are dictionaries as `export.write_plain` writes them."""

    def __init__(self, layers: list[dict[str, Any]], outputs: list[int], arrays: Any) -> None:
        super().__init__()
        self.layers, self.outputs = layers, outputs
        self.weights, self.biases = nn.ParameterDict(), nn.ParameterDict()
        for layer in layers:
            if layer["kind"] == "convolutional":
                index = str(layer["index"])
                weights = torch.from_numpy(arrays[f"weights.{index}"])
                weights = weights.contiguous(memory_format=torch.channels_last)
                self.weights[index] = nn.Parameter(weights, requires_grad=False)
                biases = torch.from_numpy(arrays[f"biases.{index}"])
                self.biases[index] = nn.Parameter(biases, requires_grad=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits of the heads."""
        values = {-1: x}
        for layer in self.layers:
            if layer["kind"] != "yolo":
                values[layer["index"]] = self.apply_layer(
                    layer, [values[i] for i in layer["inputs"]]
                )
        return [values[i] for i in self.outputs]

    def apply_layer(self, layer: dict[str, Any], inputs: list[Tensor]) -> Tensor:
        """Return one layer's output."""
        match layer["kind"]:
            case "convolutional":
                return self.convolve(layer, inputs[0])
            case "maxpool":
                return pool(layer, inputs[0])
            case "upsample":
                return functional.interpolate(inputs[0], scale_factor=layer["stride"])
            case "route":
                return join(layer, inputs)
            case "shortcut":
                return sum(inputs[1:], inputs[0])
            case "dropout":
                return inputs[0]
        raise UnavailableError(f"[{layer['kind']}] is not written for torch")

    def convolve(self, layer: dict[str, Any], x: Tensor) -> Tensor:
        """Return a convolution's output, activated in place."""
        index = str(layer["index"])
        y = functional.conv2d(
            x,
            self.weights[index],
            self.biases[index],
            layer["stride"],
            layer["padding"],
            layer["dilation"],
            layer["groups"],
        )
        match layer["activation"]:
            case "leaky":
                return functional.leaky_relu(y, 0.1, inplace=True)
            case "relu":
                return functional.relu(y, inplace=True)
        return y


def pool(layer: dict[str, Any], x: Tensor) -> Tensor:
    """Return a pooling's output; only unequal padding needs a padded copy."""
    top, left, bottom, right = layer["pads"]
    size, stride = layer["size"], layer["stride"]
    if top == bottom and left == right:
        return functional.max_pool2d(x, size, stride, (top, left))
    lowest = torch.finfo(x.dtype).min
    return functional.max_pool2d(
        functional.pad(x, (left, right, top, bottom), value=lowest), size, stride
    )


def join(layer: dict[str, Any], inputs: list[Tensor]) -> Tensor:
    """Return a route's output: the inputs' channels, or one group of each, joined."""
    parts = [x.chunk(layer["groups"], 1)[layer["group_id"]] for x in inputs]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def load(model: Model, threads: int, *, compiled: bool = False) -> Engine:
    """Build the network, eager or compiled by TorchInductor.

    Raises:
        UnavailableError: TorchInductor has no C++ compiler to hand its code to.
    """
    torch.set_num_threads(threads)
    described = json.loads(model.layers.read_text())
    with np.load(model.parameters) as arrays:
        network: Any = Network(described["layers"], described["outputs"], arrays).eval()
    if compiled:
        if not any(map(shutil.which, ("g++", "clang++", "c++"))):
            raise UnavailableError("torch.compile needs a C++ compiler, and there is none")
        torch._inductor.config.freezing = True
        network = torch.compile(network)

    def forward(blob: FloatArray) -> list[FloatArray]:
        # Not inference_mode: with it the compiler does not freeze.
        with torch.no_grad():
            x = torch.from_numpy(blob).contiguous(memory_format=torch.channels_last)
            return [logits.numpy() for logits in network(x)]

    return Engine(torch.__version__, "float32", forward)
