"""The self-test's cases of convolutions on tensor cores, in fp16 and tf32."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinyyolo3.cuda.maps import upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import Problem as DescribedProblem
from tinyyolo3.layers.convolution.cuda_mma import (
    conv_forward_mma_cuda,
    pack_mma_weights,
    round_to_tf32,
)
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    FP16,
    INSTANCES,
    PRECISIONS,
    Precision,
    mma_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tensor import (
    TensorTile,
    tensor_product,
)
from tinyyolo3.layers.convolution.cuda_tensor_choice import named_tile
from tinyyolo3.layers.convolution.cuda_wgmma_tiles import (
    STREAM_K_WGMMA_INSTANCES,
    WGMMA_INSTANCES,
    WgmmaTile,
)
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.selftest.case import Case, Expected, Prepared, normal, read_map, untouched_map
from tinyyolo3.selftest.convolutions import Problem
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.first_layers import FirstCase

#: The smallest tile, and one of several warps each way.
SMALL = min(INSTANCES, key=lambda tile: tile.pixels * tile.filters)
WIDE = next(tile for tile in INSTANCES if (tile.warps_m, tile.warps_n) == (2, 2))

#: The smallest tile of a warpgroup.
GROUP = WGMMA_INSTANCES[0]


def tensor_core_cases() -> Iterator[Case]:
    """Yield every case."""
    odd = Problem((2, 5, 9, 7), 11, stride=(2, 2))
    wide = Problem((1, 24, 9, 13), 72, kind="leaky", residual=True)
    deep = Problem((1, 136, 7, 5), 70, residual=True)
    pointwise = Problem((2, 12, 5, 6), 36, size=1, padding=0, kind="linear")
    for precision in PRECISIONS.values():
        for problem in (odd, wide, pointwise):
            yield on_tensor_cores(problem, precision, SMALL)
        yield on_tensor_cores(wide, precision, replace(WIDE, cached=True))
        yield on_tensor_cores(deep, precision, replace(SMALL, parts=3))
        yield on_tensor_cores(deep, precision, replace(SMALL, blocks=7))
        yield on_tensor_cores(pointwise, precision, SMALL, np.float32)
        sizes = [(19, 33), (40, 8)]
        yield from_pictures(
            FirstCase(sizes, (70, 24), "letterbox", 16, 1, 1, "leaky", precision, 51)
        )
        yield from_pictures(
            FirstCase([(5, 7)], (33, 17), "stretch", 40, 2, 1, "mish", precision, 52)
        )
    for problem in (odd, wide, pointwise):
        yield on_tensor_cores(problem, FP16, GROUP)
    yield on_tensor_cores(deep, FP16, replace(GROUP, parts=3, cached=True))
    yield on_tensor_cores(deep, FP16, replace(STREAM_K_WGMMA_INSTANCES[-1], blocks=5))
    yield on_tensor_cores(pointwise, FP16, GROUP, np.float32)


def from_pictures(case: FirstCase) -> Case:
    """Return the case of pictures and a network's first convolution in one kernel."""
    precision = case.precision
    width, height = case.network
    rows, columns = ((side + 2 * case.padding - 3) // case.stride + 1 for side in (height, width))
    shape = (len(case.sizes), case.filters, rows, columns)

    def prepare(target: Target) -> Prepared:
        out = untouched_map(target, shape, 0, precision.dtype)
        moved = sum(picture.nbytes for picture in case.pictures) + out.data.nbytes
        return Prepared(case.prepare(target, out), lambda: [read_map(target, out)], moved)

    pictures = " and ".join(f"{height}x{width}" for height, width in case.sizes)
    label = f"{pictures} to {width}x{height} {case.mode}, {case.filters} filters/{case.stride}"
    return Case(
        f"convolution, first, {precision.name}",
        ("convolution_first.cu",),
        label,
        prepare,
        lambda: [Expected(*case.expected())],
        architectures=(precision.least_architecture, math.inf),
    )


def on_tensor_cores(
    problem: Problem, precision: Precision, tile: TensorTile, output: DTypeLike | None = None
) -> Case:
    """Return the case of a convolution by one tile.

    Args:
        problem: the convolution; without groups.
        precision: of the maps and weights.
        tile: how to cut the work.
        output: the type of the output's map; the precision's when None.
    """
    x, weights, biases = problem.arrays()
    stored = np.dtype(precision.dtype if output is None else output)
    if precision.dtype == np.float16:
        weights = weights.astype(np.float16).astype(np.float32)
    else:
        weights = round_to_tf32(weights)
    shape = problem.output_shape
    residual = normal(34, *shape) if problem.residual else None
    window: dict[str, Any] = {
        "stride": problem.stride,
        "padding": problem.padding,
        "dilation": problem.dilation,
    }
    images, filters, height, width = shape
    sides = images, height, width, problem.shape[1], filters, problem.size
    described = DescribedProblem(*sides, problem.stride, problem.dilation)
    floats = mma_workspace_floats(tensor_product(described, precision), tile)

    def prepare(target: Target) -> Prepared:
        dtype, chunk = np.dtype(precision.dtype), precision.chunk
        here = upload_map(target, x.astype(dtype), -(-x.shape[1] // chunk) * chunk)
        arrays = [target.upload(pack_mma_weights(weights, precision)), target.upload(biases)]
        out = untouched_map(target, shape, 0, stored)
        added = None if residual is None else upload_map(target, residual.astype(dtype))
        workspace = new_workspace(target, floats)
        return Prepared(
            lambda: conv_forward_mma_cuda(
                *(target, here, *arrays, out),
                precision=precision,
                size=problem.size,
                **window,
                activation=problem.kind,
                residual=added,
                tile=tile,
                workspace=workspace,
            ),
            lambda: [read_map(target, out)],
            here.data.nbytes + arrays[0].nbytes + biases.nbytes + out.data.nbytes,
        )

    def expected() -> list[Expected]:
        double = [array.astype(np.float64) for array in (x, weights, biases)]
        sums = conv_forward_reference(*double, **window)
        values = activation_forward_reference(sums, problem.kind)
        sizes = conv_forward_reference(*map(np.abs, double), **window)
        if residual is not None:
            values = values + residual
            sizes = sizes + np.abs(residual)
        allowed = tolerances.tensor_cores(sizes, weights[0].size)
        allowed = allowed + tolerances.ELEMENTARY_FLOAT32 * np.maximum(np.abs(values), 1)
        if stored == np.float16:
            allowed = allowed + tolerances.rounded_to_half(np.abs(values) + allowed)
        return [Expected(values, allowed)]

    label = f"{problem.label} {tile.pixels}x{tile.filters}" + f" in {tile.parts}" * (tile.parts > 1)
    label += f" by {tile.blocks}" * (tile.blocks > 0)
    label += "" if output is None else f" to {stored}"
    kind = named_tile(tile)[0]
    name = f"convolution, {kind}, {precision.name}"
    own = (90, 90) if isinstance(tile, WgmmaTile) else (precision.least_architecture, math.inf)
    return Case(name, (tile.file,), label, prepare, expected, architectures=own)
