"""The rows of `budget` for convolutions on tensor cores: too many instances to write out."""

from collections.abc import Iterator

#: The smallest tile and one of several warps each way, which tests run in every precision; and the
#: other tiles: pixels, filters, bytes of a row, warps each way, stages, blocks on a multiprocessor;
#: then how many blocks are resident on each of `budget.ARCHITECTURES` at the least. On those where
#: that is 0, shared memory is too small for the tile and it is never launched.
SMALL = (32, 32, 128, 2, 1, 4, 5), (1, 4, 5)
WIDE = (128, 64, 128, 2, 2, 4, 2), (0, 1, 2)
OTHERS = (
    ((192, 128, 128, 4, 2, 3, 1), (0, 1, 1)),
    ((128, 128, 128, 2, 4, 3, 2), (0, 1, 2)),
    ((64, 128, 128, 2, 4, 4, 2), (0, 1, 2)),
    ((64, 64, 128, 2, 2, 6, 2), (0, 1, 2)),
    ((64, 64, 128, 2, 2, 4, 3), (0, 2, 3)),
    ((32, 64, 128, 2, 2, 4, 4), (1, 3, 4)),
    ((64, 32, 128, 2, 1, 4, 4), (1, 3, 4)),
    ((128, 32, 64, 4, 1, 4, 4), (1, 3, 4)),
)
#: Tiles of warpgroups: pixels, filters, warpgroups that share them, stages, blocks.
GROUPS = (
    (64, 32, 1, 6, 3),
    (64, 64, 1, 6, 2),
    (64, 64, 1, 4, 3),
    (64, 128, 2, 4, 2),
    (64, 128, 2, 6, 1),
    (128, 32, 1, 5, 2),
    (128, 64, 1, 4, 2),
    (128, 128, 1, 3, 2),
    (128, 128, 2, 6, 1),
    (128, 256, 1, 4, 1),
)
#: Those with which slices are dealt out evenly; the smallest tile is one of them, too.
STREAMS = WIDE, OTHERS[4]
GROUP_STREAMS = GROUPS[2], GROUPS[3], GROUPS[7]
#: Activations beside leaky, which tests run with the smallest tile.
ACTIVATIONS = (
    *("LINEAR", "LOGISTIC", "RELU", "RELU6", "MISH", "SWISH"),
    *("HARD_MISH", "TANH", "ELU", "SELU"),
)

Tile = tuple[tuple[int, ...], tuple[int, int, int]]
Row = tuple[str, str, int, int, tuple[int, int, int], int]


def mma_rows() -> Iterator[Row]:
    """Yield the arguments of each row's `budget.Budget`."""
    for tile in (SMALL, WIDE, *OTHERS):
        yield _row("half, half", "LEAKY", tile)
    for activation in ACTIVATIONS:
        yield _row("half, half", activation, SMALL)
    for activation in ("LEAKY", "LINEAR"):
        yield _row("half, float", activation, SMALL)
        yield _row("float, float", activation, SMALL)
    for types in ("half, half", "float, float"):
        yield _row(types, "LEAKY", WIDE, cached=True)
    yield _row("float, float", "LEAKY", WIDE)
    for group in GROUPS:
        yield _group_row("half", "LEAKY", group)
    yield _group_row("float", "LINEAR", GROUPS[0])
    yield _group_row("half", "LEAKY", GROUPS[1], cached=True)
    for tile in (SMALL, *STREAMS):
        yield _stream_row(_row("half, half", "LEAKY", tile))
    yield _stream_row(_row("float, float", "LEAKY", SMALL))
    for group in GROUP_STREAMS:
        yield _stream_row(_group_row("half", "LEAKY", group))


def _stream_row(row: Row) -> Row:
    """Return the row of the kernel that deals a tile's slices out evenly: it may take no more."""
    _file, name, threads, registers, blocks, shared_bytes = row
    kernel, _, arguments = name.partition("<")
    shorter = kernel.removeprefix("convolution_")
    name = f"{shorter}_stream_k<{arguments}"
    return "convolution_stream_k.cu", name, threads, registers, blocks, shared_bytes


def _row(types: str, activation: str, tile: Tile, cached: bool = False) -> Row:
    (pixels, filters, row_bytes, warps_m, warps_n, stages, blocks_per_sm), blocks = tile
    depth = row_bytes // (2 if types.startswith("half") else 4)
    numbers = pixels, filters, depth, warps_m, warps_n, stages, blocks_per_sm
    arguments = *(types, f"ACTIVATION_{activation}"), *map(str, numbers), str(cached).lower()
    threads = 32 * warps_m * warps_n
    registers = min(255, 65536 // (threads * blocks_per_sm) // 8 * 8)
    shared_bytes = stages * row_bytes * (pixels + filters) + 8 * pixels + 4 * filters + 16
    name = f"convolution_mma<{', '.join(arguments)}>"
    return "convolution_mma.cu", name, threads, registers, blocks, shared_bytes


def _group_row(
    stored: str, activation: str, group: tuple[int, int, int, int, int], cached: bool = False
) -> Row:
    pixels, filters, groups_n, stages, blocks = group
    threads = 2 * pixels * groups_n
    registers = min(255, 65536 // (threads * blocks) // 8 * 8)
    staged = stages * 128 * (pixels + filters) + 8 * pixels + 4 * filters + 4
    arguments = stored, f"ACTIVATION_{activation}", *map(str, group), str(cached).lower()
    name = f"convolution_wgmma<{', '.join(arguments)}>"
    shared_bytes = -(-staged // 1024) * 1024
    return "convolution_wgmma.cu", name, threads, registers, (0, 0, blocks), shared_bytes
