"""Convolution on tensor cores, by whichever kernel a tile belongs to."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem
from tinyyolo3.layers.convolution.cuda_halo import conv_forward_halo_cuda
from tinyyolo3.layers.convolution.cuda_halo_tiles import (
    HALO_INSTANCES,
    HaloTile,
    halo_candidates,
    halo_cycles,
    halo_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_mma import conv_forward_mma_cuda
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    INSTANCES,
    MmaTile,
    Precision,
    mma_candidates,
    mma_cycles,
    mma_terms,
    mma_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tiles import Product
from tinyyolo3.layers.convolution.cuda_wgmma_tiles import (
    WGMMA_INSTANCES,
    WgmmaTile,
    wgmma_candidates,
    wgmma_cycles,
)

#: A tile of any of the kernels.
TensorTile = MmaTile | WgmmaTile | HaloTile


def conv_forward_tensor_cuda(
    target: Target,
    x: DeviceMap,
    packed: DeviceArray,
    biases: DeviceArray,
    out: DeviceMap,
    *,
    tile: TensorTile,
    **options: Any,
) -> None:
    """Launch the kernel that has `tile`; see `conv_forward_mma_cuda` for arguments and errors."""
    launch: Any = conv_forward_halo_cuda if isinstance(tile, HaloTile) else conv_forward_mma_cuda
    launch(target, x, packed, biases, out, tile=tile, **options)


def tensor_workspace_floats(problem: Problem, precision: Precision, tile: TensorTile) -> int:
    """Return how many numbers of workspace a launch needs."""
    if isinstance(tile, HaloTile):
        return halo_workspace_floats(problem, tile)
    return mma_workspace_floats(mma_product(problem, precision), tile)


def tensor_candidates(
    problem: Problem, precision: Precision, gpu: Gpu
) -> Iterator[tuple[TensorTile, float]]:
    """Yield every tile worth trying on a GPU, with the cycles that it is thought to take."""
    product, taps = mma_product(problem, precision), problem.size**2
    multiprocessors = gpu.multiprocessors
    for tile in mma_candidates(product, precision, taps, multiprocessors):
        yield tile, mma_cycles(product, tile, precision, multiprocessors)
    for halo in halo_candidates(problem, precision, multiprocessors):
        yield halo, halo_cycles(problem, halo, precision, multiprocessors)
    if gpu.warpgroups and precision.chunk == 8:
        for group in wgmma_candidates(product, taps, multiprocessors):
            yield group, wgmma_cycles(product, group, multiprocessors)


def mma_product(problem: Problem, precision: Precision) -> Product:
    """Return the matrix product that tensor cores compute."""
    terms = mma_terms(problem.channels, problem.size, precision)
    return Product(problem.images * problem.height * problem.width, problem.filters, terms)


def tensor_instances() -> tuple[TensorTile, ...]:
    """Return the instances of all kernels."""
    return (*INSTANCES, *HALO_INSTANCES, *WGMMA_INSTANCES)


def instance_of(tile: TensorTile) -> TensorTile:
    """Return the instance that a tile asks for."""
    if isinstance(tile, HaloTile):
        return replace(tile, parts=1)
    return replace(tile, parts=1, cached=False)
