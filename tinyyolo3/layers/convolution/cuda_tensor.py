"""The tiles of convolutions on tensor cores, of either kernel, and what they cost."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    FP16,
    INSTANCES,
    STREAM_K_INSTANCES,
    MmaTile,
    Precision,
    mma_cycles,
    mma_terms,
)
from tinyyolo3.layers.convolution.cuda_tiles import PARTS, SPLIT_TILES, Product
from tinyyolo3.layers.convolution.cuda_wgmma_tiles import (
    STREAM_K_WGMMA_INSTANCES,
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
    problem: Problem, precision: Precision, gpu: Gpu, *, stream_k: bool = False
) -> Iterator[tuple[TensorTile, float]]:
    """Yield every tile worth trying on a GPU, with the cycles that it is thought to take.

    Args:
        problem: the convolution.
        precision: what tensor cores multiply.
        gpu: where to.
        stream_k: whether all tiles' slices may be dealt out evenly, too.
    """
    product, count = tensor_product(problem, precision), gpu.multiprocessors
    tiles = [*_candidates(INSTANCES, problem, precision, count)]
    if stream_k:
        tiles += _stream_k_candidates(STREAM_K_INSTANCES, problem, precision, count)
    for tile in tiles:
        yield tile, mma_cycles(product, tile, precision, count)
    if not gpu.warpgroups or precision is not FP16:
        return
    groups = [*_candidates(WGMMA_INSTANCES, problem, precision, count)]
    if stream_k:
        groups += _stream_k_candidates(STREAM_K_WGMMA_INSTANCES, problem, precision, count)
    for group in groups:
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


def _stream_k_candidates(
    instances: Sequence[Tile], problem: Problem, precision: Precision, multiprocessors: int
) -> Iterator[Tile]:
    """Yield each instance with as many blocks as may be resident: 1 on a multiprocessor, 2, ...

    Where tiles come out even, a tile for each block is the same.
    """
    product = tensor_product(problem, precision)
    for instance in instances:
        if instance.filters >= 2 * max(product.filters, 32):
            continue
        tiles, slices = instance.tiles(product), -(-product.terms // instance.depth(precision))
        for resident in range(1, instance.blocks_per_sm + 1):
            blocks = resident * multiprocessors
            enough = blocks <= min(SPLIT_TILES, tiles * slices // LEAST_SLICES)
            if enough and tiles % blocks:
                yield replace(instance, blocks=blocks)
                if problem.size > 1:
                    yield replace(instance, blocks=blocks, cached=True)


def tensor_instances(precision: Precision) -> tuple[TensorTile, ...]:
    """Return the instances of all kernels for a precision; those of stream-K have a block."""
    streams = [replace(tile, blocks=1) for tile in STREAM_K_INSTANCES]
    if precision is not FP16:
        return (*INSTANCES, *streams)
    group_streams = [replace(tile, blocks=1) for tile in STREAM_K_WGMMA_INSTANCES]
    return (*INSTANCES, *WGMMA_INSTANCES, *streams, *group_streams)


def instance_of(tile: TensorTile) -> TensorTile:
    """Return the instance that a tile asks for."""
    return replace(tile, parts=1, cached=False, blocks=min(tile.blocks, 1))
