"""The tiles of convolutions on tensor cores, of either kernel, and what they cost."""

from collections.abc import Iterator
from dataclasses import replace

from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    FP16,
    INSTANCES,
    MmaTile,
    Precision,
    mma_candidates,
    mma_cycles,
    mma_terms,
)
from tinyyolo3.layers.convolution.cuda_tiles import Product
from tinyyolo3.layers.convolution.cuda_wgmma_tiles import (
    WGMMA_INSTANCES,
    WgmmaTile,
    wgmma_candidates,
    wgmma_cycles,
)

#: A tile of either kernel.
TensorTile = MmaTile | WgmmaTile


def tensor_product(problem: Problem, precision: Precision) -> Product:
    """Return the matrix product that tensor cores compute."""
    terms = mma_terms(problem.channels, problem.size, precision)
    return Product(problem.images * problem.height * problem.width, problem.filters, terms)


def tensor_candidates(
    problem: Problem, precision: Precision, gpu: Gpu
) -> Iterator[tuple[TensorTile, float]]:
    """Yield every tile worth trying on a GPU, with the cycles that it is thought to take."""
    product, taps = tensor_product(problem, precision), problem.size**2
    for tile in mma_candidates(product, precision, taps, gpu.multiprocessors):
        yield tile, mma_cycles(product, tile, precision, gpu.multiprocessors)
    if gpu.warpgroups and precision is FP16:
        for group in wgmma_candidates(product, taps, gpu.multiprocessors):
            yield group, wgmma_cycles(product, group, gpu.multiprocessors)


def tensor_instances(precision: Precision) -> tuple[TensorTile, ...]:
    """Return the instances of both kernels for a precision."""
    return (*INSTANCES, *WGMMA_INSTANCES) if precision is FP16 else (*INSTANCES,)


def instance_of(tile: TensorTile) -> TensorTile:
    """Return the instance that a tile asks for."""
    return replace(tile, parts=1, cached=False)
