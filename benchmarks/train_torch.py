"""PyTorch's training step, eager: its own modules, autograd and optimizer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from peers.base import FloatArray, Model
from peers.torch_cpu import join, pool
from train_base import DECAY, MOMENTUM, RATE, Trainer, read_gradients, read_pictures


class Convolution(nn.Module):
    """A convolutional layer, its batch norm apart, its activation in place."""

    def __init__(self, layer: dict[str, Any], arrays: Any) -> None:
        super().__init__()
        index, normalized = layer["index"], layer["batch_normalize"]
        self.convolution = nn.Conv2d(
            layer["input_shapes"][0][0],
            layer["filters"],
            layer["size"],
            layer["stride"],
            layer["padding"],
            bias=not normalized,
        )
        self.norm = nn.BatchNorm2d(layer["filters"]) if normalized else nn.Identity()
        self.leaky = layer["activation"] == "leaky"
        with torch.no_grad():
            self.convolution.weight.copy_(torch.from_numpy(arrays[f"weights.{index}"]))
            if isinstance(self.norm, nn.BatchNorm2d):
                self.norm.weight.copy_(torch.from_numpy(arrays[f"scales.{index}"]))
            offset = self.norm.bias if normalized else self.convolution.bias
            assert isinstance(offset, Tensor)
            offset.copy_(torch.from_numpy(arrays[f"biases.{index}"]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        y = self.norm(self.convolution(x))
        return functional.leaky_relu(y, 0.1, inplace=True) if self.leaky else y


class Network(nn.Module):
    """A network of the layers that `export.write_plain` has written."""

    def __init__(self, layers: list[dict[str, Any]], outputs: list[int], arrays: Any) -> None:
        super().__init__()
        self.layers, self.outputs = layers, outputs
        self.convolutions = nn.ModuleDict(
            {
                str(layer["index"]): Convolution(layer, arrays)
                for layer in layers
                if layer["kind"] == "convolutional"
            }
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the heads' logits."""
        values = {-1: x}
        for layer in self.layers:
            inputs = [values[i] for i in layer["inputs"]]
            match layer["kind"]:
                case "convolutional":
                    values[layer["index"]] = self.convolutions[str(layer["index"])](inputs[0])
                case "maxpool":
                    values[layer["index"]] = pool(layer, inputs[0])
                case "upsample":
                    enlarged = functional.interpolate(inputs[0], scale_factor=layer["stride"])
                    values[layer["index"]] = enlarged
                case "route":
                    values[layer["index"]] = join(layer, inputs)
        return [values[i] for i in self.outputs]


def load(folder: Path, threads: int, *, channels_last: bool) -> Trainer:
    """Build the network, and the step whose loss has the given gradient."""
    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = Model(folder, 0)
    described = json.loads(model.layers.read_text())
    with np.load(model.parameters) as arrays:
        network = Network(described["layers"], described["outputs"], arrays)
    network.to(memory_format=layout)
    pictures = torch.from_numpy(read_pictures(folder)).contiguous(memory_format=layout)
    gradients = {
        index: torch.from_numpy(array).contiguous(memory_format=layout)
        for index, array in read_gradients(folder).items()
    }
    convolutions = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    others = [p for p in network.parameters() if not any(p is w for w in convolutions)]
    batch = len(pictures)
    optimizer = torch.optim.SGD(
        [{"params": convolutions, "weight_decay": DECAY * batch}, {"params": others}],
        lr=RATE / batch,
        momentum=MOMENTUM,
    )

    def carry() -> list[Tensor]:
        outputs: list[Tensor] = network(pictures)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(outputs, [gradients[i] for i in network.outputs])
        return outputs

    def step() -> None:
        carry()
        optimizer.step()

    def results() -> dict[str, FloatArray]:
        outputs = carry()
        found = {
            f"weights.{index}": module.convolution.weight.grad.numpy()
            for index, module in network.convolutions.items()
        }
        pairs = zip(network.outputs, outputs, strict=True)
        return found | {f"logits.{index}": x.detach().numpy() for index, x in pairs}

    return Trainer(torch.__version__, step, results)
