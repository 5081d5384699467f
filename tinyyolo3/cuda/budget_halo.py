"""The rows of `budget` for ``convolution_halo.cu``: its instances, as those of `budget_mma`."""

from collections.abc import Iterator

#: A tile of each number of chunks of a pixel, which tests run in every precision; and the others:
#: pixels, filters, chunks, halo, warps each way, stages, blocks on a multiprocessor; then how many
#: blocks are resident on each of `budget.ARCHITECTURES` at the least, 0 where shared memory is too
#: small.
DEEP = (64, 64, 8, 112, 2, 2, 4, 3), (0, 2, 3)
SHALLOW = (128, 64, 4, 184, 4, 2, 4, 2), (1, 2, 2)
FIRST = (128, 32, 1, 184, 4, 1, 2, 4), (4, 4, 4)
OTHERS = (
    ((192, 64, 8, 256, 4, 2, 4, 2), (0, 1, 2)),
    ((96, 64, 8, 160, 2, 2, 4, 2), (0, 1, 2)),
    ((128, 64, 8, 184, 4, 2, 4, 2), (0, 1, 2)),
    ((128, 128, 8, 184, 2, 4, 4, 1), (0, 1, 1)),
    ((192, 128, 8, 256, 4, 2, 3, 1), (0, 1, 1)),
    ((192, 32, 8, 256, 4, 1, 4, 2), (0, 1, 2)),
    ((256, 128, 8, 336, 4, 2, 3, 1), (0, 1, 1)),
    ((256, 64, 4, 336, 8, 1, 4, 2), (0, 2, 2)),
    ((256, 32, 1, 336, 8, 1, 2, 2), (2, 2, 2)),
    ((64, 64, 8, 320, 2, 2, 4, 1), (0, 1, 1)),
    ((128, 64, 8, 592, 4, 2, 3, 1), (0, 0, 1)),
    ((128, 64, 4, 592, 4, 2, 4, 2), (0, 1, 2)),
)
#: Of a slice and of the taps, as the kernel has them.
SLICE_CHUNKS, TAPS = 8, 9

Tile = tuple[tuple[int, ...], tuple[int, int, int]]
Row = tuple[str, str, int, int, tuple[int, int, int], int]


def halo_rows() -> Iterator[Row]:
    """Yield the arguments of each row's `budget.Budget`."""
    for tile in (DEEP, SHALLOW, FIRST, *OTHERS):
        yield _row("half, half", tile)
    for tile in (DEEP, SHALLOW, FIRST):
        yield _row("float, float", tile)


def _row(types: str, tile: Tile) -> Row:
    (pixels, filters, chunks, halo, warps_m, warps_n, stages, blocks_per_sm), blocks = tile
    numbers = map(str, (pixels, filters, chunks, halo, warps_m, warps_n, stages, blocks_per_sm))
    threads = 32 * warps_m * warps_n
    registers = min(255, 65536 // (threads * blocks_per_sm) // 8 * 8)
    buffers = 2 if chunks == SLICE_CHUNKS else 1
    staged = stages * filters * (SLICE_CHUNKS + 1) * 16 + buffers * halo * (chunks | 1) * 16
    tables = 4 * (2 * TAPS * SLICE_CHUNKS + halo + 2 * pixels + filters + 1)
    shared_bytes = -(-(staged + tables) // 16) * 16
    name = f"convolution_halo<{types}, ACTIVATION_LEAKY, {', '.join(numbers)}>"
    return "convolution_halo.cu", name, threads, registers, blocks, shared_bytes
