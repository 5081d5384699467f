"""Convolutions on tensor cores as tests have them: numbers that are rounded already, and bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.cuda.maps import DeviceMap, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import Problem
from tinyyolo3.layers.convolution.cuda_mma import (
    conv_forward_mma_cuda,
    pack_mma_weights,
    round_to_tf32,
)
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16, Precision, mma_workspace_floats
from tinyyolo3.layers.convolution.cuda_tensor import TensorTile, tensor_product
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.kernels import run_on_maps
from tinyyolo3.testing.strategies import normal_map, seeds


@dataclass(frozen=True, eq=False)
class Case:
    """A convolution with bias, activation and, perhaps, a map to add; all numbers are rounded."""

    x: NDArray[Any]
    weights: NDArray[Any]
    biases: NDArray[Any]
    residual: NDArray[Any] | None
    options: dict[str, Any]
    activation: str
    precision: Precision
    output: DTypeLike

    def expected(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the result in float64 and a bound of the error of tensor cores."""
        wide = [a.astype(np.float64) for a in (self.x, self.weights, self.biases)]
        sums = conv_forward_reference(*wide, **self.options)
        magnitude = conv_forward_reference(*map(np.abs, wide), **self.options)
        bound = tolerances.ACTIVATION_SLOPE * tolerances.tensor_cores(
            magnitude, self.weights[0].size
        )
        result = activation_forward_reference(sums, self.activation)
        bound = bound + tolerances.ELEMENTARY_FLOAT32 * np.maximum(1, np.abs(result))
        if self.residual is not None:
            result = result + self.residual
            bound = bound + np.finfo(np.float32).eps * np.abs(result)
        if self.output == np.float16:
            bound = bound + tolerances.rounded_to_half(np.abs(result) + bound)
        return result, bound

    @property
    def problem(self) -> Problem:
        """The convolution in numbers."""
        filters, channels, size, _ = self.weights.shape
        dilation, stride = self.options.get("dilation", 1), self.options["stride"]
        padding = self.options["padding"] * dilation
        height, width = (
            (side + 2 * padding - dilation * (size - 1) - 1) // step + 1
            for side, step in zip(self.x.shape[2:], stride, strict=True)
        )
        sides = (len(self.x), height, width, channels, filters, size)
        return Problem(*sides, stride, dilation)

    def launch(self, target: Target, tile: TensorTile, out: DeviceMap, margin: int) -> None:
        """Launch the tile's kernel; NaN follow the channels of the maps."""
        channels, size = self.weights.shape[1:3]
        residual = None
        if self.residual is not None:
            residual = upload_map(target, self.residual, out.channels + margin)
        chunk = self.precision.chunk
        pitch = -(-(channels + margin) // chunk) * chunk
        conv_forward_mma_cuda(
            *(target, upload_map(target, self.x, pitch)),
            target.upload(pack_mma_weights(self.weights.astype(np.float32), self.precision)),
            *(target.upload(self.biases), out),
            precision=self.precision,
            size=size,
            **self.options,
            activation=self.activation,
            residual=residual,
            tile=tile,
            workspace=new_workspace(
                target, mma_workspace_floats(tensor_product(self.problem, self.precision), tile)
            ),
        )


def rounded(shape: tuple[int, ...], precision: Precision, seed: int) -> NDArray[np.generic]:
    """Return normally distributed numbers as the precision has them."""
    values = normal_map(shape, np.float32, seed)
    return values.astype(np.float16) if precision is FP16 else round_to_tf32(values)


@st.composite
def cases(
    draw: st.DrawFn, precision: Precision, sizes: Sequence[int], channels: Sequence[int]
) -> Case:
    """Draw a convolution of one of the sizes, and of few channels or of a number of `channels`."""
    size = draw(st.sampled_from(sizes))
    dilation = draw(st.integers(1, 2)) if size > 1 else 1
    padding = draw(st.integers(0, size // 2 + 1))
    least = max(1, dilation * (size - 1) + 1 - 2 * padding * dilation)
    side = st.integers(least, 12)
    depth = draw(st.one_of(st.integers(1, 9), st.sampled_from(channels)))
    filters = draw(st.one_of(st.integers(1, 9), st.sampled_from([31, 64, 72, 129])))
    seed = draw(seeds())
    case = Case(
        x=rounded((draw(st.integers(1, 3)), depth, draw(side), draw(side)), precision, seed),
        weights=rounded((filters, depth, size, size), precision, seed + 1),
        biases=normal_map((filters,), np.float32, seed + 2),
        residual=None,
        options={
            "stride": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
            "padding": padding,
            "dilation": dilation,
        },
        activation=draw(st.sampled_from(["linear", "leaky"])),
        precision=precision,
        output=draw(st.sampled_from([precision.dtype, np.float32])),
    )
    if draw(st.booleans()):
        shape = case.expected()[0].shape
        return replace(case, residual=rounded(shape, precision, seed + 3))
    return case


def check_tile(target: Target, case: Case, tile: TensorTile, margin: int = 0) -> None:
    """Check a tile's result against the bound, and that nothing else was written."""
    expected, bound = case.expected()
    actual = run_on_maps(
        target,
        lambda out: case.launch(target, tile, out, margin),
        *([], expected.shape, margin, case.output),
    )
    assert np.all(np.abs(actual - expected) <= bound)


def example(precision: Precision, channels: int, filters: int, activation: str = "leaky") -> Case:
    """Return a 3 × 3 convolution of two small maps, with a residual."""
    return Case(
        x=rounded((2, channels, 9, 11), precision, 1),
        weights=rounded((filters, channels, 3, 3), precision, 2),
        biases=normal_map((filters,), np.float32, 3),
        residual=rounded((2, filters, 9, 11), precision, 4),
        options={"stride": (1, 1), "padding": 1},
        activation=activation,
        precision=precision,
        output=precision.dtype,
    )
