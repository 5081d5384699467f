"""Weights in the order in which the kernels read them, each once and from front to back.

A *panel* is what one call of the matrix kernel needs: all weights of `PANEL` vectors of filters.
The numbers of those filters stand side by side, one row per number of the sum; filters and channels
beyond the last are zeros. An odd last vector makes a half panel, whose rows are one vector long.
"""

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.engine.cpu.arithmetic import FLOAT32, Arithmetic
from tinyyolo3.engine.cpu.microkernel import PANEL
from tinyyolo3.engine.cpu.toom_cook import Filtering
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.parallel import compiled, parallel_for

Floats = NDArray[np.float32]
#: Filters in a full panel.
WIDTH = PANEL * LANES


def blocks(channels: int) -> int:
    """Return how many blocks hold so many channels."""
    return -(-channels // LANES)


def panels(filters: int) -> int:
    """Return how many panels, the last perhaps half, hold so many filters."""
    return -(-blocks(filters) // PANEL)


def ends_in_half(filters: int) -> bool:
    """Return whether the last panel is of one vector."""
    return blocks(filters) % PANEL == 1


def aligned_floats(count: int) -> Floats:
    """Return float32 zeros in pages of their own, given back to the system when dropped.

    Pages begin at multiples of a vector's size, and freed arrays that stayed in the allocator would
    count against the process's memory. A forked child gets a copy of its own.
    """
    size = max(4 * count, 1)
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return np.frombuffer(mmap.mmap(-1, size), np.float32, count)
    # Large pages (madvise) make no network quicker, and loading one slower: in a virtual machine
    # YOLOv3 took 1.5 s instead of 0.7.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, np.float32, count)


@dataclass(frozen=True, eq=False)
class PackedWeights:
    """One step's weights and biases.

    Attributes:
        weights: in the kernel's order.
        biases: one per filter, then zeros up to a whole panel.
    """

    weights: Floats
    biases: Floats

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return self.weights.nbytes + self.biases.nbytes


def pack_biases(biases: Floats) -> Floats:
    """Return biases with zeros up to a whole panel."""
    padded = aligned_floats(panels(len(biases)) * WIDTH)
    padded[: len(biases)] = biases
    padded[len(biases) :] = 0
    return padded


def merge_groups(weights: Floats, groups: int) -> Floats:
    """Return (F, C, k, k) weights of one group that does what `groups` did: zeros between them."""
    filters, channels = weights.shape[0] // groups, weights.shape[1]
    dense = np.zeros((weights.shape[0], channels * groups, *weights.shape[2:]), np.float32)
    for group in range(groups):
        own = slice(group * filters, (group + 1) * filters)
        dense[own, group * channels : (group + 1) * channels] = weights[own]
    return dense


def pack_panels(weights: Floats, depth: int) -> Floats:
    """Pack (F, C, k, k) weights for `multiply_panel`, as a flat array.

    The order is: panel, block of `depth` channels, window position, channel in the block, filter.
    """
    filters, channels = weights.shape[:2]
    taps = weights[0, 0].size
    count = panels(filters)
    packed = aligned_floats(count * panel_floats(channels, taps, depth))
    flat = np.ascontiguousarray(weights).reshape(filters, channels, taps)
    half = ends_in_half(filters)
    parallel_for(_pack_panels_core, count, flat, packed, depth, count, half)
    return packed


def pair_channels(packed: Floats) -> Floats:
    """Return `pack_panels`'s result for few filters with each two channels in one row.

    Where the half panel has rows x and y one after the other, filters up to half a vector, the
    result has ``x[0] y[0] x[1] y[1] …``: what one vector of B holds for two channels.

    Args:
        packed: what `pack_panels` returned for at most ``LANES / 2`` filters, its `depth` even.
    """
    # A half panel fills half of the memory of a full one.
    rows = packed[: packed.size // PANEL].reshape(-1, 2, LANES)[:, :, : LANES // 2]
    paired = aligned_floats(rows.size)
    paired.reshape(-1, LANES // 2, 2)[:] = rows.transpose(0, 2, 1)
    return paired


def round_panels(packed: Floats, weights: Floats) -> Floats:
    """Return `pack_panels`'s result in bfloat16, two rows of numbers interleaved.

    Where a panel has rows x and y one after the other, the result has ``x[0] y[0] x[1] y[1] …``:
    what one vector of B holds for two channels. Rounded to nearest, ties to even.

    Args:
        packed: what `pack_panels` returned, with a `depth` that is even.
        weights: what it was given.

    Returns:
        Half as many float32 as `packed`, each of them two bfloat16.
    """
    rounded = aligned_floats(packed.size // 2)
    filters = len(weights)
    count = panels(filters)
    half = ends_in_half(filters)
    bits, pairs = packed.view(np.uint32), rounded.view(np.uint32)
    parallel_for(_round_panels_core, count, bits, pairs, packed.size // count, count, half)
    return rounded


@compiled
def _round_panels_core(
    start: int, stop: int, bits: Any, pairs: Any, floats: int, count: int, half: bool
) -> None:
    one, sixteen, most = np.uint32(1), np.uint32(16), np.uint32(0x7FFF)
    for panel in range(start, stop):
        width = LANES if half and panel == count - 1 else WIDTH
        source = bits[panel * floats : (panel + 1) * floats]
        target = pairs[panel * floats // 2 : (panel + 1) * floats // 2]
        for row in range(floats // WIDTH // 2):
            for n in range(width):
                x = source[2 * row * width + n]
                y = source[(2 * row + 1) * width + n]
                x = (x + most + ((x >> sixteen) & one)) >> sixteen
                y = (y + most + ((y >> sixteen) & one)) >> sixteen
                target[row * width + n] = x | (y << sixteen)


def panel_floats(channels: int, taps: int, depth: int, arithmetic: Arithmetic = FLOAT32) -> int:
    """Return the size of a full panel, or of the only one where that serves fewer filters."""
    floats = -(-channels // depth) * taps * depth * WIDTH * arithmetic.channel_bytes // 4
    return floats // PANEL // 2 if arithmetic.fold else floats


@compiled
def _pack_panels_core(
    start: int, stop: int, weights: Floats, packed: Floats, depth: int, count: int, half: bool
) -> None:
    filters, channels, taps = weights.shape
    runs = (channels + depth - 1) // depth
    for panel in range(start, stop):
        width = LANES if half and panel == count - 1 else WIDTH
        at = panel * runs * taps * depth * WIDTH
        for run in range(runs):
            for tap in range(taps):
                for c in range(run * depth, (run + 1) * depth):
                    for n in range(panel * WIDTH, panel * WIDTH + width):
                        inside = n < filters and c < channels
                        packed[at] = weights[n, c, tap] if inside else 0.0
                        at += 1


def pack_winograd(weights: Floats, filtering: Filtering) -> Floats:
    """Transform and pack (F, C, 3, 3) weights: ``G g Gᵀ``, in float64, rounded once.

    The order is: panel, distinct product, channel, filter; all panels are full.
    """
    filters, channels = weights.shape[:2]
    matrix = filtering.distinct_weights
    shape = (panels(filters), len(matrix) ** 2, blocks(channels) * LANES, WIDTH)
    packed = aligned_floats(int(np.prod(shape))).reshape(shape)
    flat = np.ascontiguousarray(weights).reshape(filters, channels, 9)
    parallel_for(_pack_winograd_core, shape[0], flat, matrix, packed)
    return packed.reshape(-1)


@compiled
def _pack_winograd_core(
    start: int, stop: int, weights: Floats, matrix: NDArray[np.float64], packed: Any
) -> None:
    filters, channels, _ = weights.shape
    size = matrix.shape[0]
    taps = np.zeros((9, WIDTH))
    half = np.zeros((size, 3, WIDTH))
    for panel in range(start, stop):
        for c in range(packed.shape[2]):
            for n in range(WIDTH):
                filter_ = panel * WIDTH + n
                inside = filter_ < filters and c < channels
                for tap in range(9):
                    taps[tap, n] = weights[filter_, c, tap] if inside else 0.0
            for i in range(size):
                x, y, z = matrix[i, 0], matrix[i, 1], matrix[i, 2]
                for q in range(3):
                    for n in range(WIDTH):
                        half[i, q, n] = x * taps[q, n] + y * taps[3 + q, n] + z * taps[6 + q, n]
            for i in range(size):
                for j in range(size):
                    x, y, z = matrix[j, 0], matrix[j, 1], matrix[j, 2]
                    target = packed[panel, i * size + j, c]
                    for n in range(WIDTH):
                        target[n] = x * half[i, 0, n] + y * half[i, 1, n] + z * half[i, 2, n]


def pack_depthwise(weights: Floats) -> Floats:
    """Pack (C, 1, k, k) weights: block, window position, channel in the block."""
    channels, taps = len(weights), weights[0, 0].size
    packed = aligned_floats(blocks(channels) * taps * LANES)
    padded = np.zeros((blocks(channels) * LANES, taps), np.float32)
    padded[:channels] = weights.reshape(channels, taps)
    packed.reshape(-1, taps, LANES)[:] = padded.reshape(-1, LANES, taps).transpose(0, 2, 1)
    return packed


def product_order(filtering: Filtering) -> NDArray[np.int64]:
    """Return the order of the products of a Winograd convolution, as `multiply_products` reads it.

    Rows of (position among the products², index among the distinct weights), positions that share
    a weight one after the other; a last row stands for what follows, the next panel's first.
    """
    size = len(filtering.distinct_weights)
    distinct = sorted(set(filtering.weight_of))
    number = [distinct.index(w) for w in filtering.weight_of]
    weight = [number[i] * size + number[j] for i in range(len(number)) for j in range(len(number))]
    rows = sorted((w, position) for position, w in enumerate(weight))
    table = [(position, w) for w, position in rows]
    return np.array([*table, (0, size * size)], np.int64)
