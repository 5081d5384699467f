"""The self-test's cases of the convolutions: every rung of the ladder, and every tile."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import activation_forward_numba, activation_forward_reference
from tinyyolo3.layers.convolution.cuda import (
    conv_forward_blocked_cuda,
    new_workspace,
    pack_weights,
    workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_depthwise import conv_forward_depthwise_cuda
from tinyyolo3.layers.convolution.cuda_direct import conv_forward_direct_cuda
from tinyyolo3.layers.convolution.cuda_tiled import conv_forward_tiled_cuda
from tinyyolo3.layers.convolution.cuda_tiles import INSTANCES, Product, Tile
from tinyyolo3.layers.convolution.depthwise import conv_forward_depthwise
from tinyyolo3.layers.convolution.im2col import conv_forward_im2col
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.layers.shapes import Stride, convolution_shape
from tinyyolo3.selftest.case import (
    Array,
    Case,
    Expected,
    Prepared,
    Size,
    normal,
    read_map,
    untouched_map,
)
from tinyyolo3.testing import tolerances


@dataclass(frozen=True)
class Problem:
    """A convolution with bias, activation and, if wanted, a residual that is added after it.

    Attributes:
        shape: the input's (N, C, H, W).
        filters: output channels.
        size: side of the window.
        stride: vertical and horizontal step.
        padding: zeros on each side, in dilated pixels.
        dilation: distance of the window's taps.
        groups: independent parts of the channels.
        kind: the activation.
        residual: whether something is added.
        margin: how many numbers follow each pixel of each map that belong to others.
    """

    shape: Size
    filters: int
    size: int = 3
    stride: Stride = (1, 1)
    padding: int = 1
    dilation: int = 1
    groups: int = 1
    kind: str = "leaky"
    residual: bool = False
    margin: int = 0

    @property
    def output_shape(self) -> Size:
        """(N, F, out_H, out_W)."""
        options = {"padding": self.padding, "dilation": self.dilation, "groups": self.groups}
        out = convolution_shape(
            self.shape[1:], filters=self.filters, size=self.size, stride=self.stride, **options
        )
        return (self.shape[0], *out)

    @property
    def label(self) -> str:
        """What the table says of it."""
        shape = "x".join(map(str, self.shape))
        text = f"{shape} to {self.filters} size={self.size} stride={self.stride[0]}"
        return text + (f" groups={self.groups}" if self.groups > 1 else "")

    def arrays(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the input, the weights (F, C / groups, K, K) and the biases."""
        inputs = self.shape[1] // self.groups
        terms = inputs * self.size**2
        weights = normal(32, self.filters, inputs, self.size, self.size) / np.float32(terms**0.5)
        return normal(31, *self.shape), weights, normal(33, self.filters)


def convolution_cases() -> Iterator[Case]:
    """Yield every case."""
    odd = Problem((2, 5, 9, 7), 11, stride=(2, 2), margin=3)
    wide = Problem((1, 16, 9, 13), 40, kind="mish", residual=True)
    pointwise = Problem((2, 12, 5, 6), 36, size=1, padding=0, margin=4)
    grouped = Problem((1, 12, 7, 8), 6, dilation=2, padding=2, groups=3)
    for problem in (odd, wide, grouped):
        yield direct(problem)
        yield tiled(problem)
    for tile in INSTANCES:
        yield blocked(wide, tile)
    smallest = min(INSTANCES, key=lambda tile: tile.pixels * tile.filters)
    yield blocked(odd, smallest)
    yield blocked(pointwise, smallest)
    yield blocked(Problem((1, 64, 7, 5), 70, residual=True), replace(smallest, parts=3))
    for size, step in ((3, 1), (3, 2), (5, 1), (5, 2)):
        shape = (2, 8, 9, 10)
        yield depthwise(Problem(shape, 8, size, (step, step), size // 2, groups=8, kind="relu6"))
    yield depthwise(Problem((1, 5, 8, 7), 5, 3, (2, 1), 1, groups=5, residual=True, margin=1))


def direct(problem: Problem) -> Case:
    """The first rung: a thread for each output."""
    return _case("direct", problem, conv_forward_direct_cuda, groups=problem.groups)


def tiled(problem: Problem) -> Case:
    """The second rung: tiles in shared memory."""
    return _case("tiled", problem, conv_forward_tiled_cuda, groups=problem.groups)


def blocked(problem: Problem, tile: Tile) -> Case:
    """The rung that networks run on, with a tile of its own; `problem` has one group."""
    _, filters, height, width = problem.output_shape
    terms = problem.size**2 * problem.shape[1]
    floats = workspace_floats(Product(problem.shape[0] * height * width, filters, terms), tile)

    def launch(target: Target, *arguments: Any, **options: Any) -> None:
        conv_forward_blocked_cuda(target, *arguments, **options, tile=tile)

    label = f"{tile.pixels}x{tile.filters}x{tile.depth}" + f" in {tile.parts}" * (tile.parts > 1)
    return _case("blocked", problem, launch, label=label, workspace=floats)


def depthwise(problem: Problem) -> Case:
    """A filter for each channel."""
    return _case("depthwise", problem, conv_forward_depthwise_cuda, groups=problem.groups)


def _case(
    rung: str,
    problem: Problem,
    launcher: Callable[..., None],
    *,
    label: str = "",
    workspace: int | None = None,
    **options: Any,
) -> Case:
    """Return the case of one kernel.

    Args:
        rung: the last word of the kernel's file.
        problem: the convolution.
        launcher: its launcher.
        label: what there is to say besides the problem's.
        workspace: how many numbers of workspace to give it; None for none.
        options: further keyword arguments of the launcher.
    """
    x, weights, biases = problem.arrays()
    shape = problem.output_shape
    residual = normal(34, *shape) if problem.residual else None
    window = {"stride": problem.stride, "padding": problem.padding, "dilation": problem.dilation}

    def prepare(target: Target) -> Prepared:
        here = upload_map(target, x, x.shape[1] + problem.margin)
        added = (
            None if residual is None else upload_map(target, residual, shape[1] + problem.margin)
        )
        packed, shifts = target.upload(pack_weights(weights)), target.upload(biases)
        out = untouched_map(target, shape, problem.margin)
        every = {**window, **options, "activation": problem.kind, "residual": added}
        if workspace is not None:
            every["workspace"] = new_workspace(target, workspace)
        return Prepared(
            lambda: launcher(target, here, packed, shifts, out, size=problem.size, **every),
            lambda: [read_map(target, out)],
            x.nbytes + weights.nbytes + biases.nbytes + 4 * int(np.prod(shape)),
        )

    def expected() -> list[Expected]:
        wide = [array.astype(np.float64) for array in (x, weights, biases)]
        sums = conv_forward_reference(*wide, **window, groups=problem.groups)
        sizes = conv_forward_reference(*map(np.abs, wide), **window, groups=problem.groups)
        values = activation_forward_reference(sums, problem.kind)
        slack = tolerances.ELEMENTARY_FLOAT32 * np.maximum(np.abs(values), 1)
        if residual is not None:
            values, sizes = values + residual, sizes + np.abs(residual)
        return [Expected(values, tolerances.summation(sizes, weights[0].size + 3) + slack)]

    def on_cpu() -> list[Array]:
        forward = conv_forward_depthwise if rung == "depthwise" else conv_forward_im2col
        sums = forward(x, weights, biases, **window, groups=problem.groups)
        values = activation_forward_numba(sums, problem.kind)
        return [values if residual is None else values + residual]

    name, file = f"convolution, {rung}", f"convolution_{rung}.cu"
    # The CPU runs one algorithm where the kernels are a ladder of three.
    own = on_cpu if rung in ("blocked", "depthwise") else None
    return Case(name, (file,), f"{problem.label} {label}".rstrip(), prepare, expected, own)
