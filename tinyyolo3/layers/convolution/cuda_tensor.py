"""The tiles of convolutions on tensor cores, of either kernel, and what they cost."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    FP16,
    INSTANCES,
    MmaTile,
    Precision,
    mma_cycles,
    mma_terms,
)
from tinyyolo3.layers.convolution.cuda_tiles import PARTS, SPLIT_TILES, Product
from tinyyolo3.layers.convolution.cuda_wgmma_tiles import (
    WGMMA_INSTANCES,
    WgmmaTile,
    wgmma_cycles,
)

#: A tile of either kernel.
TensorTile = MmaTile | WgmmaTile
Tile = TypeVar("Tile", MmaTile, WgmmaTile)

#: The fewest slices of a part: its pipeline must fill.
LEAST_SLICES = 2


def tensor_product(problem: Problem, precision: Precision) -> Product:
    """Return the matrix product that tensor cores compute."""
    terms = mma_terms(problem.channels, problem.size, precision)
    return Product(problem.images * problem.height * problem.width, problem.filters, terms)


def tensor_candidates(
    problem: Problem, precision: Precision, gpu: Gpu
) -> Iterator[tuple[TensorTile, float]]:
    """Yield every tile worth trying on a GPU, with the cycles that it is thought to take."""
    product, count = tensor_product(problem, precision), gpu.multiprocessors
    for tile in _candidates(INSTANCES, problem, precision, count):
        yield tile, mma_cycles(product, tile, precision, count)
    if gpu.warpgroups and precision is FP16:
        for group in _candidates(WGMMA_INSTANCES, problem, precision, count):
            yield group, wgmma_cycles(product, group, count)


def _candidates(
    instances: Sequence[Tile], problem: Problem, precision: Precision, multiprocessors: int
) -> Iterator[Tile]:
    """Yield each instance, and its terms in parts up to full occupancy.

    Where a window has several taps, with and without the L1 cache.
    """
    product = tensor_product(problem, precision)
    for instance in instances:
        if instance.filters >= 2 * max(product.filters, 32):
            continue
        tiles, slices = instance.tiles(product), -(-product.terms // instance.depth(precision))
        # More blocks than are resident at a time would only add partial sums.
        most = min(-(-multiprocessors * instance.blocks_per_sm // tiles), slices // LEAST_SLICES)
        for parts in (1, *PARTS):
            if parts == 1 or (parts <= most and tiles <= SPLIT_TILES):
                yield replace(instance, parts=parts)
                if problem.size > 1:
                    yield replace(instance, parts=parts, cached=True)


def tensor_instances(precision: Precision) -> tuple[TensorTile, ...]:
    """Return the instances of both kernels for a precision."""
    return (*INSTANCES, *WGMMA_INSTANCES) if precision is FP16 else (*INSTANCES,)


def instance_of(tile: TensorTile) -> TensorTile:
    """Return the instance that a tile asks for."""
    return replace(tile, parts=1, cached=False)
