"""PyTorch on a GPU, where its convolutions are cuDNN's: the network of `torch_cpu`.

It is given every advantage: batch norm is folded, cuDNN tries its algorithms on each shape and
keeps the quickest, nothing is recorded for gradients, and a CUDA graph takes the host out of the
figure, as it does for ours.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from peers.base import FloatArray, Model
from peers.torch_cpu import Network

#: Runs before a capture: what they allocate and choose stays.
WARM_UP = 3


@dataclass(frozen=True)
class Setting:
    """How PyTorch runs a network.

    Attributes:
        label: what tables call it.
        precision: "fp32" or, where convolutions may round their factors to 11 bits, "tf32"; "fp16"
            for weights and activations in halves.
        channels_last: the order of the maps in memory; NCHW otherwise.
        graph: whether the host's part is taken out by a CUDA graph.
        compiled: whether TorchInductor compiles the network.
    """

    label: str
    precision: str
    channels_last: bool = True
    graph: bool = True
    compiled: bool = False


def settings(precision: str, *, compiled: bool) -> tuple[Setting, ...]:
    """Return the settings to compare with at one precision, the likeliest best first.

    Args:
        precision: as in `Setting`.
        compiled: what TorchInductor compiles; or everything else.
    """
    if compiled:
        return (Setting("compiled, graph", precision, compiled=True),)
    return (
        Setting("graph, channels last", precision),
        Setting("eager, channels last", precision, graph=False),
        Setting("graph, contiguous", precision, channels_last=False),
    )


class TorchNetwork:
    """A network in one setting, with an input of its own that stays where it is."""

    def __init__(self, model: Model, setting: Setting, blob: FloatArray, device: str) -> None:
        """Load the network and copy the input.

        Args:
            model: the network's files, as `export.write_plain` makes them.
            setting: how to run it.
            blob: (N, 3, side, side) float32.
            device: "cuda", or "cpu" to try this without a GPU.
        """
        self.setting, self.device = setting, device
        torch.backends.cudnn.benchmark = True
        described = json.loads(model.layers.read_text())
        with np.load(model.parameters) as arrays:
            network: Any = Network(described["layers"], described["outputs"], arrays).eval()
        dtype = torch.float16 if setting.precision == "fp16" else torch.float32
        order = torch.channels_last if setting.channels_last else torch.contiguous_format
        self._network = network.to(device=device, dtype=dtype, memory_format=order)
        self._input = torch.from_numpy(blob).to(device=device, dtype=dtype, memory_format=order)
        if setting.compiled:
            torch._inductor.config.freezing = True
            self._network = torch.compile(self._network, dynamic=False)

    def run(self) -> list[torch.Tensor]:
        """Begin a forward pass and return the logits of the heads, on the device."""
        # The flags are this process's: another setting may have changed them.
        tf32 = self.setting.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        with torch.no_grad():
            return list(self._network(self._input))

    def outputs(self) -> list[FloatArray]:
        """Return the logits of the heads as (N, C, H, W) float32 arrays."""
        return [logits.float().contiguous().cpu().numpy() for logits in self.run()]

    def launcher(self) -> Callable[[], object]:
        """Return what begins a forward pass: itself, or the replay of its graph."""
        if not self.setting.graph or self.device != "cuda":
            return self.run
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                self.run()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            # The graph writes into these; they must not be given to anyone else.
            self._kept = self.run()
        replay: Callable[[], object] = graph.replay
        return replay


def spans_ms(launch: Callable[[], object], runs: int, device: str) -> list[float]:
    """Return how long each of `runs` calls keeps the device busy; see `gpu_timing.spans_ms`."""
    if device != "cuda":
        import time

        taken = []
        for _ in range(runs):
            start = time.perf_counter()
            launch()
            taken.append((time.perf_counter() - start) * 1e3)
        return taken
    pairs = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(runs)
    ]
    for before, after in pairs:
        before.record()
        launch()
        after.record()
    torch.cuda.synchronize()
    return [float(before.elapsed_time(after)) for before, after in pairs]
