"""The kernel of weight gradients: sums over pixels of outer products of channels.

A convolution's weight gradient is a matrix product whose sum runs over *pixels*: for each tap of
the window,

    C[f, c] = Σ over pixels p of G[p, f] · X[p', c],

p' being the pixel that the tap sees at p. In a blocked map the channels of a pixel lie side by
side, so both factors lie as they are needed, and nothing has to be packed or transposed: X's
block is a vector, and the filters' numbers of G, neighbours in memory, are broadcast one by one.

A tile of `OUTER_ROWS` filters × up to `OUTER_VECTORS` vectors stays in registers: 24
multiply-adds for 11 reads with AVX-512. The vectors are neighbouring taps of a window row (the
same memory, one pixel on) or, for 1 × 1, blocks of channels. The sum runs over images, rows and
pixels at regular distances.

What it equals::

    C[v, i, :] += sum(G[n, y, x, i] * X[n, y, x, v, :] for n, y, x)
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from tinyyolo3.engine.cpu.arithmetic import FLOAT32
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    LANES,
    Emit,
    compiler_fence,
    integer,
    kernel,
    load,
    loop,
    multiply_add,
    shift,
    store,
    vector,
)

#: What writes a loop's turn: `tinyyolo3.engine.cpu.vectors.loop`.
Turn = Callable[[Any, Sequence[Any]], Sequence[Any]]
#: Filters in a tile: with three vectors each, 24 sums in AVX-512's 32 registers, 12 in 16 others.
OUTER_ROWS = max(4, LANES // 2)
#: Vectors in a full tile.
OUTER_VECTORS = 3
#: Channels of a picture.
PICTURE_CHANNELS = 3
#: Bytes of one vector's sums in a tile.
TILE_VECTOR_BYTES = OUTER_ROWS * BLOCK


def _sum_over_pixels(
    builder: ir.IRBuilder, arguments: Sequence[Any], start: Sequence[Any], pixel: Turn
) -> Sequence[Any]:
    """Write the loops over images, rows and pixels; return the sums after the last one.

    ``pixel(index, [*sums, g_at, x_at])`` writes one pixel and returns the same, further on.
    """
    g, x, _, images, g_image, x_image, rows, g_row, x_row, pixels = arguments[:10]

    def row(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        *sums, g_at, x_at = state
        *sums, _, _ = loop(builder, pixels, [*sums, g_at, x_at], pixel)
        return [*sums, builder.add(g_at, g_row), builder.add(x_at, x_row)]

    def image(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        *sums, g_at, x_at = state
        *sums, _, _ = loop(builder, rows, [*sums, g_at, x_at], row)
        return [*sums, builder.add(g_at, g_image), builder.add(x_at, x_image)]

    *sums, _, _ = loop(builder, images, [*start, g, x], image)
    return sums


def emit_outer_product(vectors: int) -> Emit:
    """Return the emitter of the kernel for some vectors of X.

    ``f(g, x, c, images, g_image, x_image, rows, g_row, x_row, pixels, x_pixel, x_vector, fresh)``:
    the addresses of the first numbers; how many images, rows and pixels the sum takes, and their
    distances in bytes (G's pixels lie `BLOCK` apart); the distance of X's vectors; and 1 where C's
    memory holds nothing yet. C is ``vectors`` times `OUTER_ROWS` vectors without gaps.
    """

    def emit(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
        c = arguments[2]
        x_pixel, x_vector, fresh = arguments[10:]
        offsets = [builder.mul(x_vector, integer(v)) for v in range(vectors)]
        places = [
            shift(builder, c, (v * OUTER_ROWS + i) * BLOCK)
            for i in range(OUTER_ROWS)
            for v in range(vectors)
        ]
        count = len(places)
        empty = builder.icmp_signed("==", fresh, integer(1))
        start = [builder.select(empty, vector(0.0), load(builder, place)) for place in places]

        def pixel(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
            sums, g_at, x_at = list(state[:count]), state[count], state[count + 1]
            compiler_fence(builder)
            columns = [load(builder, builder.add(x_at, offset)) for offset in offsets]
            for i in range(OUTER_ROWS):
                number = FLOAT32.broadcast(builder, shift(builder, g_at, 4 * i))
                for v in range(vectors):
                    at = i * vectors + v
                    sums[at] = multiply_add(builder, number, columns[v], sums[at])
            return [*sums, shift(builder, g_at, BLOCK), builder.add(x_at, x_pixel)]

        sums = _sum_over_pixels(builder, arguments, start, pixel)
        for total, place in zip(sums, places, strict=True):
            store(builder, total, place)

    return emit


def emit_channel_products(vectors: int) -> Emit:
    """Return the emitter of the same sums for channels that are filtered each by itself.

    Its arguments are `emit_outer_product`'s; C has no gaps::

        C[v, :] += sum(G[n, y, x, :] * X[n, y, x, v, :] for n, y, x)
    """

    def emit(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
        c = arguments[2]
        x_pixel, x_vector, fresh = arguments[10:]
        offsets = [builder.mul(x_vector, integer(v)) for v in range(vectors)]
        places = [shift(builder, c, v * BLOCK) for v in range(vectors)]
        empty = builder.icmp_signed("==", fresh, integer(1))
        start = [builder.select(empty, vector(0.0), load(builder, place)) for place in places]

        def pixel(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
            *sums, g_at, x_at = state
            number = load(builder, g_at)
            sums = [
                multiply_add(builder, number, load(builder, builder.add(x_at, offset)), total)
                for offset, total in zip(offsets, sums, strict=True)
            ]
            return [*sums, shift(builder, g_at, BLOCK), builder.add(x_at, x_pixel)]

        sums = _sum_over_pixels(builder, arguments, start, pixel)
        for total, place in zip(sums, places, strict=True):
            store(builder, total, place)

    return emit


def emit_picture_products(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """Write the same sums for a picture's few channels, with the roles exchanged.

    A vector of X would hold `PICTURE_CHANNELS` numbers and nothing else. So G's block of filters is
    the vector, and the numbers of X that three taps see are broadcast. The arguments are
    `emit_outer_product`'s, with the taps' distance for the vectors'; C has no gaps::

        C[v, i, :] += sum(G[n, y, x, :] * X[n, y, x, v, i] for n, y, x)
    """
    c = arguments[2]
    x_pixel, x_vector, fresh = arguments[10:]
    offsets = [
        shift(builder, builder.mul(x_vector, integer(v)), 4 * i)
        for v in range(OUTER_VECTORS)
        for i in range(PICTURE_CHANNELS)
    ]
    places = [shift(builder, c, i * BLOCK) for i in range(len(offsets))]
    empty = builder.icmp_signed("==", fresh, integer(1))
    start = [builder.select(empty, vector(0.0), load(builder, place)) for place in places]

    def pixel(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
        *sums, g_at, x_at = state
        compiler_fence(builder)
        filters = load(builder, g_at)
        sums = [
            multiply_add(
                builder, FLOAT32.broadcast(builder, builder.add(x_at, offset)), filters, total
            )
            for offset, total in zip(offsets, sums, strict=True)
        ]
        return [*sums, shift(builder, g_at, BLOCK), builder.add(x_at, x_pixel)]

    sums = _sum_over_pixels(builder, arguments, start, pixel)
    for total, place in zip(sums, places, strict=True):
        store(builder, total, place)


#: ``outer_product_3(g, x, c, …)``, for full tiles; the others for what is left.
outer_product_3 = kernel("tinyyolo3_outer_product_3", emit_outer_product(3), 13)
outer_product_2 = kernel("tinyyolo3_outer_product_2", emit_outer_product(2), 13)
outer_product_1 = kernel("tinyyolo3_outer_product_1", emit_outer_product(1), 13)
#: ``channel_products_3(g, x, c, …)`` for three neighbouring taps; and for one.
channel_products_3 = kernel("tinyyolo3_channel_products_3", emit_channel_products(3), 13)
channel_products_1 = kernel("tinyyolo3_channel_products_1", emit_channel_products(1), 13)
#: ``picture_products(g, x, c, …)``.
picture_products = kernel("tinyyolo3_picture_products", emit_picture_products, 13)
