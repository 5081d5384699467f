"""Whether every instance of the tensor cores' convolution is right, on random data."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.maps import DeviceMap, download_map, empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import Problem
from tinyyolo3.layers.convolution.cuda_mma import (
    conv_forward_mma_cuda,
    pack_mma_weights,
    round_to_tf32,
)
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    FP16,
    Precision,
    mma_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tensor import (
    TensorTile,
    tensor_instances,
    tensor_product,
)
from tinyyolo3.layers.convolution.cuda_tensor_choice import named_tile
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.testing import tolerances


def variants(instance: TensorTile) -> Iterator[TensorTile]:
    """Yield an instance as it is used: with a tile's terms in one and in parts; cached or not."""
    if instance.blocks:
        yield replace(instance, blocks=3)
        yield replace(instance, blocks=7, cached=True)
        return
    for parts, cached in ((1, False), (3, False), (1, True)):
        yield replace(instance, parts=parts, cached=cached)


@dataclass(frozen=True)
class Shape:
    """A convolution that is checked.

    Attributes:
        images: pictures.
        sides: height and width of the input.
        channels: of the input.
        filters: of the output.
        size: side of the window.
        stride: of both axes.
        head: a last layer: linear, float32.
        residual: a map is added.
    """

    images: int
    sides: tuple[int, int]
    channels: int
    filters: int
    size: int
    stride: int = 1
    head: bool = False
    residual: bool = False


#: Small ones of every kind that networks have: the first layer, steps, 1 × 1, heads, odd channels.
SHAPES = (
    Shape(1, (26, 30), 3, 32, 3),
    Shape(2, (17, 15), 32, 64, 3, stride=2),
    Shape(1, (13, 13), 256, 128, 1),
    Shape(3, (13, 13), 64, 128, 3, residual=True),
    Shape(1, (13, 13), 192, 255, 1, head=True),
    Shape(2, (9, 11), 20, 70, 3, residual=True),
    Shape(1, (40, 40), 136, 264, 3),
)


def check_instances(target: Target, precision: Precision, tiny: bool) -> dict[str, Any]:
    """Return each instance's largest error as a share of what is allowed, and who exceeds it.

    Those are under ``wrong``, with the convolution and the share, and once each, as tuples, under
    ``wrong_instances``.
    """
    shapes = SHAPES[3:6] if tiny else SHAPES
    instances = tensor_instances(precision)[-4:] if tiny else tensor_instances(precision)
    cases = [_Case(target, precision, shape) for shape in shapes]
    shares: dict[str, float] = {}
    wrong: list[tuple[str, str, float]] = []
    instances_wrong: list[list[Any]] = []
    for instance in instances:
        name = str(named_tile(instance))
        for case in cases:
            for tile in variants(instance):
                share = case.share(tile)
                shares[name] = max(shares.get(name, 0.0), share)
                if not share <= 1:
                    wrong.append((str(tile), str(case.shape), share))
                    if named_tile(instance) not in instances_wrong:
                        instances_wrong.append(named_tile(instance))
    return {
        "shares": {name: round(share, 3) for name, share in shares.items()},
        "wrong": wrong,
        "wrong_instances": [
            tile for i, tile in enumerate(instances_wrong) if tile not in instances_wrong[:i]
        ],
    }


class _Case:
    """A convolution's arrays on a target, and what it must give."""

    def __init__(self, target: Target, precision: Precision, shape: Shape) -> None:
        self.target, self.precision, self.shape = target, precision, shape
        self.random = np.random.default_rng(0)
        x = self._rounded((shape.images, shape.channels, *shape.sides))
        spread = (shape.channels * shape.size**2) ** -0.5
        sizes = (shape.filters, shape.channels, shape.size, shape.size)
        weights = self._rounded(sizes, spread)
        biases = self.random.standard_normal(shape.filters, np.float32)
        wide = [a.astype(np.float64) for a in (x, weights, biases)]
        self.options: dict[str, Any] = {
            "stride": (shape.stride, shape.stride),
            "padding": shape.size // 2,
        }
        sums = conv_forward_reference(*wide, **self.options)
        magnitude = conv_forward_reference(*map(np.abs, wide), **self.options)
        self.expected = sums if shape.head else np.where(sums > 0, sums, 0.1 * sums)
        residual = self._rounded(sums.shape)
        if shape.residual:
            self.expected = self.expected + residual
        self.bound = tolerances.tensor_cores(magnitude, weights[0].size)
        self.dtype = np.float32 if shape.head else precision.dtype
        if self.dtype == np.float16:
            self.bound = self.bound + tolerances.rounded_to_half(self.expected)
        self.x = self._upload(x)
        self.residual = self._upload(residual) if shape.residual else None
        self.packed = target.upload(pack_mma_weights(weights.astype(np.float32), precision))
        self.biases = target.upload(biases)
        images, _, height, width = sums.shape
        sides = (images, height, width, shape.channels, shape.filters, shape.size)
        self.problem = Problem(*sides, (shape.stride, shape.stride))
        self.sizes = (images, height, width, shape.filters)

    def _rounded(self, shape: tuple[int, ...], spread: float = 1.0) -> NDArray[Any]:
        values = self.random.standard_normal(shape, np.float32) * np.float32(spread)
        return values.astype(np.float16) if self.precision is FP16 else round_to_tf32(values)

    def _upload(self, x: NDArray[Any]) -> DeviceMap:
        return upload_map(self.target, x, -(-x.shape[1] // 8) * 8)

    def share(self, tile: TensorTile) -> float:
        """Return the largest error as a share of its bound."""
        out = empty_map(self.target, *self.sizes, -(-self.shape.filters // 8) * 8, self.dtype)
        nan = np.full(out.data.size, np.nan, self.dtype)  # what is not written is found
        out = replace(out, data=self.target.upload(nan))
        conv_forward_mma_cuda(
            *(self.target, self.x, self.packed, self.biases, out),
            precision=self.precision,
            size=self.shape.size,
            **self.options,
            activation="linear" if self.shape.head else "leaky",
            residual=self.residual,
            tile=tile,
            workspace=new_workspace(
                self.target,
                mma_workspace_floats(tensor_product(self.problem, self.precision), tile),
            ),
        )
        error = np.abs(download_map(self.target, out) - self.expected)
        return float(np.max(error / self.bound))
