"""The self-test's cases of the convolutions: every rung of the ladder, and every tile."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import activation_forward_numba, activation_forward_reference
from tinyyolo3.layers.convolution import cuda_algorithms
from tinyyolo3.layers.convolution.cuda import new_workspace, pack_weights
from tinyyolo3.layers.convolution.cuda_algorithms import (
    Algorithm,
    algorithm_workspace_floats,
    conv_forward_cuda,
    pack_algorithm,
)
from tinyyolo3.layers.convolution.cuda_depthwise import conv_forward_depthwise_cuda
from tinyyolo3.layers.convolution.cuda_direct import conv_forward_direct_cuda
from tinyyolo3.layers.convolution.cuda_tiled import conv_forward_tiled_cuda
from tinyyolo3.layers.convolution.cuda_tiles import INSTANCES
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
    case_in_halves,
    normal,
    read_map,
    untouched_map,
)
from tinyyolo3.testing import tolerances

#: How much more rounding error Winograd's filtering with patches of this side makes than a plain
#: sum, at the worst (`tinyyolo3.engine.cpu.toom_cook.Filtering.amplification`); 0: it is one.
AMPLIFICATION = {0: 1.0, 2: 8.0, 4: 256.0}


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
    deep = Problem((1, 64, 7, 5), 70, residual=True)
    pointwise = Problem((2, 12, 5, 6), 36, size=1, padding=0, margin=4)
    grouped = Problem((1, 12, 7, 8), 6, dilation=2, padding=2, groups=3)
    for problem in (odd, wide, grouped):
        yield direct(problem)
        yield tiled(problem)
    smallest = min(INSTANCES, key=lambda tile: tile.pixels * tile.filters)
    for tile in INSTANCES:
        yield by_algorithm(wide, Algorithm(tile))
    yield by_algorithm(deep, Algorithm(replace(smallest, parts=3)))
    for problem in (odd, pointwise):
        yield by_algorithm(problem, Algorithm(smallest))
    for outputs in (2, 4):
        yield by_algorithm(deep, Algorithm(smallest, outputs))
        yield by_algorithm(Problem((2, 5, 9, 6), 11, margin=1), Algorithm(smallest, outputs))
    for size, step in ((3, 1), (3, 2), (5, 1), (5, 2)):
        shape = (2, 8, 9, 10)
        yield depthwise(Problem(shape, 8, size, (step, step), size // 2, groups=8, kind="relu6"))
    yield depthwise(Problem((1, 5, 8, 7), 5, 3, (2, 1), 1, groups=5, residual=True, margin=1))


def direct(problem: Problem) -> Case:
    """The first rung: a thread for each output."""
    launch = partial(conv_forward_direct_cuda, groups=problem.groups)
    return _case("direct", problem, launch, halves=True)


def tiled(problem: Problem) -> Case:
    """The second rung: tiles in shared memory."""
    return _case("tiled", problem, partial(conv_forward_tiled_cuda, groups=problem.groups))


def depthwise(problem: Problem) -> Case:
    """A filter for each channel."""
    launch = partial(conv_forward_depthwise_cuda, groups=problem.groups)
    return _case("depthwise", problem, launch, on_cpu=conv_forward_depthwise, halves=True)


def by_algorithm(problem: Problem, algorithm: Algorithm) -> Case:
    """A rung that networks run on: blocked tiles, or Winograd's filtering; without groups."""
    images, filters, height, width = problem.output_shape
    window = (problem.size, problem.stride, problem.dilation)
    described = cuda_algorithms.Problem(images, height, width, problem.shape[1], filters, *window)
    tile = algorithm.tile
    label = f"{tile.pixels}x{tile.filters}x{tile.depth}" + f" in {tile.parts}" * (tile.parts > 1)
    return _case(
        "winograd" if algorithm.outputs else "blocked",
        problem,
        partial(conv_forward_cuda, algorithm=algorithm),
        label=f"patches of {algorithm.outputs}" if algorithm.outputs else label,
        pack=partial(pack_algorithm, algorithm=algorithm),
        workspace=algorithm_workspace_floats(described, algorithm),
        amplification=AMPLIFICATION[algorithm.outputs],
        on_cpu=None if algorithm.outputs else conv_forward_im2col,
    )


def _case(
    rung: str,
    problem: Problem,
    launch: Callable[..., None],
    *,
    label: str = "",
    pack: Callable[[FloatArray], FloatArray] = pack_weights,
    workspace: int | None = None,
    amplification: float = 1.0,
    on_cpu: Callable[..., FloatArray] | None = None,
    halves: bool = False,
) -> Case:
    """Return the case of one kernel.

    Args:
        rung: the last word of the kernel's file.
        problem: the convolution.
        launch: its launcher.
        label: what there is to say besides the problem's.
        pack: puts the weights into the order that the kernel reads.
        workspace: how many numbers of workspace to give it; None for none.
        amplification: of rounding errors, by something else than a plain sum.
        on_cpu: computes the sums on the CPU, where that has an algorithm of its own for it.
        halves: whether the kernel has a form for maps of halves.
    """
    x, weights, biases = problem.arrays()
    shape = problem.output_shape
    residual = normal(34, *shape) if problem.residual else None
    names = ("stride", "padding", "dilation")
    window: dict[str, Any] = {name: getattr(problem, name) for name in names}

    def prepare(target: Target, dtype: DTypeLike = np.float32) -> Prepared:
        here = upload_map(target, x.astype(dtype), x.shape[1] + problem.margin)
        arrays = [target.upload(pack(weights)), target.upload(biases)]
        out = untouched_map(target, shape, problem.margin, dtype)
        options = {**window, "size": problem.size, "activation": problem.kind}
        if residual is not None:
            added = residual.astype(dtype)
            options["residual"] = upload_map(target, added, shape[1] + problem.margin)
        if workspace is not None:
            options["workspace"] = new_workspace(target, workspace)
        return Prepared(
            lambda: launch(target, here, *arrays, out, **options),
            lambda: [read_map(target, out)],
            here.data.nbytes + weights.nbytes + biases.nbytes + out.data.nbytes,
        )

    def activated(sums: FloatArray, activate: Callable[..., FloatArray]) -> FloatArray:
        values = activate(sums, problem.kind)
        return values if residual is None else values + residual

    def expected() -> list[Expected]:
        wide = [array.astype(np.float64) for array in (x, weights, biases)]
        sums = conv_forward_reference(*wide, **window, groups=problem.groups)
        values = activated(sums, activation_forward_reference)
        sizes = conv_forward_reference(*map(np.abs, wide), **window, groups=problem.groups)
        sizes = sizes + (0 if residual is None else np.abs(residual))
        if amplification > 1:  # the errors of a patch spread over all of it
            sizes = np.full_like(sizes, amplification * sizes.max())
        slack = tolerances.ELEMENTARY_FLOAT32 * np.maximum(np.abs(values), 1)
        return [Expected(values, tolerances.summation(sizes, weights[0].size + 3) + slack)]

    def run_on_cpu() -> list[Array]:
        assert on_cpu is not None
        sums = on_cpu(x, weights, biases, **window, groups=problem.groups)
        return [activated(sums, activation_forward_numba)]

    case = Case(
        f"convolution, {rung}",
        (f"convolution_{rung}.cu",),
        f"{problem.label} {label}".rstrip(),
        prepare,
        expected,
        None if on_cpu is None else run_on_cpu,
    )
    if not halves:
        return case
    return replace(case, in_halves=lambda: case_in_halves(case, partial(prepare, dtype=np.float16)))
