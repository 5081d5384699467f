"""All convolutions of yolov3 on tensor cores, one after the other in one CUDA graph."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from hashlib import sha256
from statistics import median
from typing import Any

import numpy as np

from gpu_models import one_by_one
from gpu_timing import spans_ms, spread
from tinyyolo3.cuda.maps import DeviceMap, download_map, empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import Problem, gpu_of
from tinyyolo3.layers.convolution.cuda_mma import conv_forward_mma_cuda, pack_mma_weights
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    Precision,
    mma_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tensor import (
    TensorTile,
    tensor_product,
)
from tinyyolo3.layers.convolution.cuda_tensor_choice import choose_tensor_tile, named_tile
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.specs import Convolutional, Layer, Route, Shortcut, Yolo
from tinyyolo3.testing.architectures import yolov3_config

#: Each convolution's tiles, the quickest first.
Ranking = Mapping[Problem, Sequence[TensorTile]]


def chain_ms(
    target: Target,
    precision: Precision,
    batch: int,
    side: int,
    ranked: Ranking,
    runs: int,
    tune_s: float,
) -> dict[str, Any]:
    """Time all convolutions of yolov3 in order, each reading what the one before has written.

    [shortcut]s are part of the convolution before; joined and enlarged maps, which other kernels
    make, hold random numbers instead. Timed with each convolution's first tile; then, for `tune_s`
    seconds, with other tiles of its ranking, where the whole gets quicker by it; and at last
    without overlapping launches.
    """
    chain = Chain(target, precision, batch, side, ranked)
    found: dict[str, Any] = {"overlapping": _timed(target, chain, runs)}
    if target.name == "cuda":
        found["changes"] = _tune(target, chain, runs // 4, tune_s)
        found["tuned"] = _timed(target, chain, runs)
        with one_by_one(target):
            found["tuned, one by one"] = _timed(target, chain, runs)
    found["tiles"] = [[astuple(problem), named_tile(tile)] for problem, tile in chain.tiles.items()]
    return found


def _timed(target: Target, chain: "Chain", runs: int) -> dict[str, Any]:
    spans = spans_ms(target, target.capture(chain), runs, warm_up=min(runs, 20))
    heads = [download_map(target, head) for head in chain.heads]
    digest = sha256(b"".join(head.tobytes() for head in heads)).hexdigest()[:16]
    finite = bool(all(np.isfinite(head).all() for head in heads))
    return {**spread(spans), "finite": finite, "digest": digest}


def _tune(target: Target, chain: "Chain", runs: int, limit_s: float) -> list[Any]:
    """Try every convolution's other tiles, one after the other, and keep what makes all quicker."""
    changes: list[Any] = []
    end = time.monotonic() + limit_s
    best = _median(target, chain, runs)
    for problem, tiles in chain.ranked.items():
        for tile in tiles[1:] if time.monotonic() < end else ():
            before, chain.tiles[problem] = chain.tiles[problem], tile
            ms = _median(target, chain, runs)
            if ms < 0.998 * best:
                changes.append([astuple(problem), named_tile(tile), round(best, 4), round(ms, 4)])
                best = ms
            else:
                chain.tiles[problem] = before
    return changes


def _median(target: Target, chain: "Chain", runs: int) -> float:
    return median(spans_ms(target, target.capture(chain), runs, warm_up=5))


class Chain:
    """The network's convolutions with their arrays; a call launches them all."""

    def __init__(
        self,
        target: Target,
        precision: Precision,
        batch: int,
        side: int,
        ranked: Ranking,
    ) -> None:
        """Make random weights and the maps that only other kernels would write."""
        self.target, self.precision, self.batch = target, precision, batch
        self.ranked = ranked
        self.tiles = {problem: tiles[0] for problem, tiles in ranked.items()}
        self.random = np.random.default_rng(0)
        self.layers = build_graph(parse_config(yolov3_config(side, side))).layers
        self.maps: dict[int, DeviceMap] = {-1: self._random_map((3, side, side))}
        self.heads: list[DeviceMap] = []
        self.floats = 0
        self.launches: list[Callable[[Any], None]] = []
        for layer in self.layers:
            self._add(layer)
        self.workspace = new_workspace(target, self.floats)

    def __call__(self) -> None:
        """Launch all convolutions."""
        for launch in self.launches:
            launch(self.workspace)

    def _next(self, layer: Layer) -> Layer | None:
        following = layer.index + 1
        return self.layers[following] if following < len(self.layers) else None

    def _add(self, layer: Layer) -> None:
        if isinstance(layer, Convolutional):
            following = self._next(layer)
            residual = None
            if isinstance(following, Shortcut):
                residual = self.maps[next(i for i in following.inputs if i != layer.index)]
            self.maps[layer.index] = self._convolution(layer, residual, isinstance(following, Yolo))
        elif isinstance(layer, Shortcut):
            self.maps[layer.index] = self.maps[layer.index - 1]
        elif isinstance(layer, Route) and len(layer.inputs) == 1:
            self.maps[layer.index] = self.maps[layer.inputs[0]]
        elif not isinstance(layer, Yolo):
            self.maps[layer.index] = self._random_map(layer.output_shape)

    def _random_map(self, shape: tuple[int, int, int]) -> DeviceMap:
        x = self.random.standard_normal((self.batch, *shape), np.float32)
        pitch = -(-shape[0] // 8) * 8
        return upload_map(self.target, x.astype(self.precision.dtype), pitch)

    def _convolution(
        self, layer: Convolutional, residual: DeviceMap | None, head: bool
    ) -> DeviceMap:
        filters, height, width = layer.output_shape
        channels, size = layer.input_shapes[0][0], layer.size
        sizes = (self.batch, height, width, filters)
        dtype = np.float32 if head else self.precision.dtype
        out = empty_map(self.target, *sizes, -(-filters // 8) * 8, dtype)
        weights = self.random.standard_normal((filters, channels, size, size), np.float32)
        weights /= np.float32((channels * size * size) ** 0.5)
        packed = self.target.upload(pack_mma_weights(weights, self.precision))
        biases = self.target.upload(np.zeros(filters, np.float32))
        problem = Problem(
            *(self.batch, height, width, channels, filters, size, layer.stride, layer.dilation)
        )
        product = tensor_product(problem, self.precision)
        chosen = choose_tensor_tile(problem, self.precision, gpu_of(self.target))
        self.tiles.setdefault(problem, chosen)
        for tile in self.ranked.get(problem, (chosen,)):
            self.floats = max(self.floats, mma_workspace_floats(product, tile))
        x = self.maps[layer.inputs[0]]
        if head:
            self.heads.append(out)

        def launch(workspace: Any) -> None:
            conv_forward_mma_cuda(
                *(self.target, x, packed, biases, out),
                precision=self.precision,
                size=size,
                stride=layer.stride,
                padding=layer.padding,
                activation=layer.activation,
                residual=residual,
                tile=self.tiles[problem],
                workspace=workspace,
            )

        self.launches.append(launch)
        return out
