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

from collections.abc import Sequence
from typing import Any

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

#: Filters in a tile: with three vectors each, 24 sums in AVX-512's 32 registers, 12 in 16 others.
OUTER_ROWS = max(4, LANES // 2)
#: Vectors in a full tile.
OUTER_VECTORS = 3
#: Bytes of one vector's sums in a tile.
TILE_VECTOR_BYTES = OUTER_ROWS * BLOCK


def emit_outer_product(vectors: int) -> Emit:
    """Return the emitter of the kernel for some vectors of X.

    ``f(g, x, c, images, g_image, x_image, rows, g_row, x_row, pixels, x_pixel, x_vector, fresh)``:
    the addresses of the first numbers; how many images, rows and pixels the sum takes, and their
    distances in bytes (G's pixels lie `BLOCK` apart); the distance of X's vectors; and 1 where C's
    memory holds nothing yet. C is ``vectors`` times `OUTER_ROWS` vectors without gaps.
    """

    def emit(builder: Any, arguments: Sequence[Any]) -> None:
        g, x, c, images, g_image, x_image, rows, g_row, x_row = arguments[:9]
        pixels, x_pixel, x_vector, fresh = arguments[9:]
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

        def row(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
            *sums, g_at, x_at = state
            *sums, _, _ = loop(builder, pixels, [*sums, g_at, x_at], pixel)
            return [*sums, builder.add(g_at, g_row), builder.add(x_at, x_row)]

        def image(_index: Any, state: Sequence[Any]) -> Sequence[Any]:
            *sums, g_at, x_at = state
            *sums, _, _ = loop(builder, rows, [*sums, g_at, x_at], row)
            return [*sums, builder.add(g_at, g_image), builder.add(x_at, x_image)]

        *sums, _, _ = loop(builder, images, [*start, g, x], image)
        for total, place in zip(sums, places, strict=True):
            store(builder, total, place)

    return emit


#: ``outer_product_3(g, x, c, …)``, for full tiles; the others for what is left.
outer_product_3 = kernel("tinyyolo3_outer_product_3", emit_outer_product(3), 13)
outer_product_2 = kernel("tinyyolo3_outer_product_2", emit_outer_product(2), 13)
outer_product_1 = kernel("tinyyolo3_outer_product_1", emit_outer_product(1), 13)
