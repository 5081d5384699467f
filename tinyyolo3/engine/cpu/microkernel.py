"""The matrix kernel: a tile of sums that stays in registers while the inputs stream past.

Nearly all of a network's time goes into sums of products: each output channel of each pixel sums
over the input channels (and, spread out by im2col or Winograd, over the window). Seen as a matrix
product, ``C = A @ B``, A has a row per pixel and B a column per output channel.

One number of A and one of B give one multiply-add, but reading them takes as long as two. So a tile
of ``rows`` × (2 vectors) of C is kept in registers; each step along the sum reads two vectors of B
and ``rows`` single numbers of A, each broadcast to a vector, and does ``2 * rows`` multiply-adds
with them: 26 with 15 reads for AVX-512. That reaches 91 to 95 % of what the processor can multiply
at all, where OpenBLAS reaches about half on a Zen 5.

Layouts. A's rows are *pixels of a blocked map*: one block of `LANES` channels after the other, in
each block pixel after pixel, so a tile's row lies `BLOCK` bytes after the last. The sum runs over
``outer × inner`` runs at regular distances (channel blocks; window rows), each of ``steps ×
UNROLL`` numbers. B is packed (`packing`) in panels of two vectors, in the order in which it is
read. C is again a blocked map: its second vector lies ``c_stride`` bytes after the first.

What it equals::

    C[i, n] = sum(A[i, k] * B[k, n] for k)                                     (raw)
    C[i, n] = max(v, slope * v) + R[i, n]   with  v = bias[n] + sum(...)       (with epilogue)
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from tinyyolo3.engine.cpu.arithmetic import FLOAT32, Arithmetic
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    TARGET,
    compiler_fence,
    integer,
    kernel,
    leaky,
    load,
    loop,
    prefetch,
    shift,
    splat,
    store,
    vector,
)

#: Pixels in a tile, and in a lower one.
ROWS, SHORT_ROWS = TARGET.rows, TARGET.short_rows
#: Vectors of output channels in a full panel.
PANEL = 2
#: Steps along the sum that are written out one after the other.
UNROLL = 4
#: While a panel of at most so many bytes is multiplied, the next one is prefetched: a quarter with
#: each of the first four tiles.
AHEAD_BYTES, AHEAD_TILES = 256 << 10, 4
#: Bytes of scratch that `convolution.multiply_rows` needs for a map smaller than a tile.
TILE_BYTES = ROWS * PANEL * BLOCK


def tile_sums(
    builder: ir.IRBuilder,
    arguments: Sequence[Any],
    start: Sequence[Any],
    *,
    vectors: int,
    height: int = ROWS,
    unroll: int = UNROLL,
    pixel_bytes: int = BLOCK,
    arithmetic: Arithmetic = FLOAT32,
    ahead: Any = None,
    slower: int = 2,
    each_run: Callable[[Any, Any, Any], None] | None = None,
) -> Sequence[Any]:
    """Write the loop over the sum; return ``height * vectors`` values, those of a row together.

    Args:
        builder: where to write.
        arguments: A's address; number and distance of outer and of inner runs; steps in a run;
            B's address.
        start: the sums to begin with.
        vectors: of B's panel.
        height: rows of a tile.
        unroll: numbers of A (or pairs) in a step.
        pixel_bytes: from one row of A to the next.
        arithmetic: how they are multiplied.
        ahead: an address from which to prefetch as B is read,
        slower: and how many times slower.
        each_run: writes what else there is to do at the beginning of a run, told the outer and the
            inner run's index and the run's address.
    """
    a, outer, outer_stride, inner, inner_stride, steps, b = arguments
    count = height * vectors

    prefetched = 0 if ahead is None else unroll * vectors // slower

    def step(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        *sums, a_at, b_at, ahead_at = state
        for k in range(unroll):
            compiler_fence(builder)
            columns = [
                arithmetic.column(builder, shift(builder, b_at, (k * vectors + n) * BLOCK))
                for n in range(vectors)
            ]
            if k < prefetched:
                prefetch(builder, shift(builder, ahead_at, k * BLOCK))
            for i in range(height):
                address = shift(builder, a_at, i * pixel_bytes + k * arithmetic.step_bytes)
                number = arithmetic.broadcast(builder, address)
                for n in range(vectors):
                    at = i * vectors + n
                    sums[at] = arithmetic.multiply_add(builder, number, columns[n], sums[at])
        a_at = shift(builder, a_at, unroll * arithmetic.step_bytes)
        b_at = shift(builder, b_at, unroll * vectors * BLOCK)
        return [*sums, a_at, b_at, shift(builder, ahead_at, prefetched * BLOCK)]

    def outer_run(outer_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        def inner_run(index: Any, state: Sequence[Any]) -> Sequence[Any]:
            a_at = state[count]
            if each_run is not None:
                each_run(outer_index, index, a_at)
            *sums, _, b_at, ahead_at = loop(builder, steps, state, step)
            return [*sums, builder.add(a_at, inner_stride), b_at, ahead_at]

        *sums, _, b_at, ahead_at = loop(builder, inner, state, inner_run)
        return [*sums, builder.add(state[count], outer_stride), b_at, ahead_at]

    start = [*start, a, b, b if ahead is None else ahead]
    return loop(builder, outer, start, outer_run)[:count]


def store_tile(
    builder: ir.IRBuilder,
    values: Sequence[Any],
    c: Any,
    c_stride: Any,
    vectors: int,
    height: int = ROWS,
) -> None:
    """Write a tile to C."""
    for n in range(vectors):
        base = builder.add(c, builder.mul(c_stride, integer(n)))
        for i in range(height):
            store(builder, values[i * vectors + n], shift(builder, base, i * BLOCK))


def each_tile(
    builder: ir.IRBuilder, rows: Any, tile: Callable[[Any, Any], None], height: int = ROWS
) -> None:
    """Write ``tile(index, first row)`` for all tiles of so many rows of A, `height` or more.

    The last one overlaps the one before it rather than the end.
    """
    last = builder.sub(rows, integer(height))
    tiles = builder.sdiv(builder.add(rows, integer(height - 1)), integer(height))

    def turn(index: Any, _state: Sequence[Any]) -> Sequence[Any]:
        first = builder.mul(index, integer(height))
        first = builder.select(builder.icmp_signed(">", first, last), last, first)
        tile(index, first)
        return []

    loop(builder, tiles, [], turn)


def _share_of_next_panel(
    builder: ir.IRBuilder, product: Sequence[Any], turn_bytes: int, tile: Any
) -> Any:
    """Return from where a tile is to prefetch a share of the panel that follows B's in memory.

    A small map's weights are read by few tiles, the first of which would wait for them: they come
    from far away, since the whole network's do not fit into the caches near a core. Where there is
    nothing to prefetch, or a panel too large to lie there beside this one, it is B's own address.
    """
    _, outer, _, inner, _, steps, b = product
    size = builder.mul(builder.mul(outer, inner), builder.mul(steps, integer(turn_bytes)))
    share = builder.mul(builder.udiv(size, integer(AHEAD_TILES)), tile)
    fits = builder.icmp_signed("<=", size, integer(AHEAD_BYTES))
    early = builder.icmp_signed("<", tile, integer(AHEAD_TILES))
    ahead = builder.add(size, share)
    return builder.add(b, builder.select(builder.and_(fits, early), ahead, integer(0)))


def emit_raw(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write the kernel that only sums up."""
    *product, c, c_stride, ahead = arguments
    zeros = [vector(0.0)] * (ROWS * PANEL)
    sums = tile_sums(builder, product, zeros, vectors=PANEL, ahead=ahead)
    store_tile(builder, sums, c, c_stride, PANEL)


def with_epilogue(vectors: int, arithmetic: Arithmetic = FLOAT32, height: int = ROWS) -> Any:
    """Return the emitter of a kernel with bias, leaky slope and an optional residual.

    Its arguments are `tile_sums`'s seven, then C's address and stride, the bias's address, the
    residual's address (0 for none) and stride, the number of A's rows, whether these come from
    beyond the second-level cache (1, else 0), so that the next tile's are to be prefetched, and the
    slope. All tiles of these rows are computed one after the other; a call for each took a fifth of
    the time of short sums.

    Args:
        vectors: of B's panel.
        arithmetic: how to multiply.
        height: rows of a tile.
    """
    distance, fold = arithmetic.pixel_bytes, arithmetic.fold

    def emit(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
        a, *rest, c, c_stride, bias, residual, residual_stride, rows, far, slope = arguments
        biases = [load(builder, shift(builder, bias, n * BLOCK)) for n in range(vectors)]
        slopes = splat(builder, slope)
        none = builder.icmp_signed("==", residual, integer(0))
        prefetches = builder.icmp_signed("!=", far, integer(0))

        def prefetch_next_tile(_outer: Any, _inner: Any, a_at: Any) -> None:
            with builder.if_then(prefetches):
                for i in range(height):
                    prefetch(builder, shift(builder, a_at, (height + i) * distance), near=3)

        def tile(index: Any, first: Any) -> None:
            product = [builder.add(a, builder.mul(first, integer(distance))), *rest]
            ahead = _share_of_next_panel(builder, product, UNROLL * vectors * BLOCK, index)
            start = biases * height if fold is None else [vector(0.0)] * (vectors * height)
            sums = tile_sums(
                builder, product, start, vectors=vectors, height=height, pixel_bytes=distance,
                arithmetic=arithmetic, ahead=ahead, slower=AHEAD_TILES,
                each_run=prefetch_next_tile,
            )  # fmt: skip
            if fold is not None:
                folded = [fold(builder, value) for value in sums]
                sums = list(map(builder.fadd, folded, biases * height))
            values = [leaky(builder, value, slopes) for value in sums]
            place = builder.mul(first, integer(BLOCK))
            target = builder.add(c, place)
            with builder.if_else(none) as (plain, added):
                with plain:
                    store_tile(builder, values, target, c_stride, vectors, height)
                with added:
                    for n in range(vectors):
                        offset = builder.add(residual, builder.mul(residual_stride, integer(n)))
                        offset = builder.add(offset, place)
                        for i in range(height):
                            other = load(builder, shift(builder, offset, i * BLOCK))
                            at = i * vectors + n
                            values[at] = builder.fadd(values[at], other)
                    store_tile(builder, values, target, c_stride, vectors, height)

        each_tile(builder, rows, tile, height)

    return emit


#: ``multiply_raw(a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, ahead)``.
multiply_raw = kernel("tinyyolo3_multiply_raw", emit_raw, 10)
