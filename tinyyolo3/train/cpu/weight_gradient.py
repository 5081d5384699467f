"""Weight gradients of convolutions on blocked mini-batches.

    dW[f, c, u, v] = Σ over images n and output pixels (y, x) of
                     dY[n, f, y, x] · X[n, c, y·stride + u·dilation − p, x·stride + v·dilation − p]

with p zeros around each map. `outer_product` does the sums. Here pixels are cut into *chunks*,
bands of rows of an image or several small images, of which X's block and dY's stay in the
second-level cache while they are multiplied with each other. With padding a chunk of X is first
copied into scratch memory, where zeros surround it.

A job takes some blocks of channels, some blocks of filters and some chunks (one *split*). With
many weights and few pixels there is one split, and the jobs share out the weights. With many
pixels and few weights there are several; each has sums of its own, which `weight_sums_job` adds
up in their order, so that the result depends on the cut, not on which thread was first.

Pictures, of whose blocks nearly nothing is channels, have operations of their own
(`picture_gradient`).

Equals: `tinyyolo3.layers.convolution.backward.conv_backward_reference`, its second and third
result. Lanes of dY and X beyond the last channel are summed up on their own and dropped.
"""

from dataclasses import dataclass
from typing import Any

from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.outer_product import (
    OUTER_ROWS,
    OUTER_VECTORS,
    TILE_VECTOR_BYTES,
    outer_product_1,
    outer_product_2,
    outer_product_3,
)
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    LANES,
    add_block,
    as_floats,
    carray,
)
from tinyyolo3.parallel import compiled
from tinyyolo3.train.cpu.batch_map import BatchMap, map_fields
from tinyyolo3.train.cpu.picture_gradient import (
    lower_picture_gradient,
    picture_gradient_bytes,
    serves_picture,
)
from tinyyolo3.train.cpu.window import Window, copy_padded

#: Pixels of a chunk: X's and dY's blocks of so many fill half of a second-level cache of 512 KB.
CHUNK_PIXELS = 2048
#: Blocks of channels of a 1 × 1 convolution that a job takes, multiplying each of dY's numbers
#: that it reads so many times; their chunk of X must stay in the cache too.
GROUP = 2 * OUTER_VECTORS
#: Tiles that make up a block of filters.
TILES = LANES // OUTER_ROWS

_FIELDS = (
    *map_fields("source", "gradient"), "height", "width", "out_height", "out_width", "images",
    "filters", "channel_blocks", "size", "stride_y", "stride_x", "dilation", "padding", "group",
    "filter_parts", "chunk_images", "bands", "splits", "partials", "partial_bytes",
)  # fmt: skip


@compiled
def _multiply(
    count: int, g: int, x: int, c: int, images: int, g_image: int, x_image: int, rows: int,
    g_row: int, x_row: int, pixels: int, x_pixel: int, x_vector: int, fresh: int,
) -> None:  # fmt: skip
    """Sum up for some vectors of X, as many at a time as a tile has."""
    done = 0
    while done < count:
        left = count - done
        at, tile = x + done * x_vector, c + done * TILE_VECTOR_BYTES
        if left == 3 or left > 4:
            outer_product_3(
                g, at, tile, images, g_image, x_image, rows, g_row, x_row, pixels, x_pixel,
                x_vector, fresh,
            )  # fmt: skip
            done += 3
        elif left == 1:
            outer_product_1(
                g, at, tile, images, g_image, x_image, rows, g_row, x_row, pixels, x_pixel,
                x_vector, fresh,
            )  # fmt: skip
            done += 1
        else:
            outer_product_2(
                g, at, tile, images, g_image, x_image, rows, g_row, x_row, pixels, x_pixel,
                x_vector, fresh,
            )  # fmt: skip
            done += 2


@compiled
def _chunk_sums(
    step: Any, x: int, x_image: int, x_row: int, x_block: int, chunk: tuple[int, int, int, int],
    blocks: tuple[int, int], filters: tuple[int, int], partial: int, fresh: int,
) -> None:  # fmt: skip
    """Add one chunk's products to the sums of some blocks of filters and of channels."""
    image, images, band, rows = chunk
    first_block, end_block = blocks
    taps = step.size * step.size
    pixels, g_row, x_pixel = step.out_width, step.out_width * BLOCK, step.stride_x * BLOCK
    x_line = x_row * step.stride_y
    if x_line == pixels * x_pixel:  # one row goes on where the other ended
        pixels, rows = pixels * rows, 1
    start = step.gradient + image * step.gradient_image + band * step.out_width * BLOCK
    for tile in range(filters[0], filters[1]):
        block = tile // TILES
        g = start + block * step.gradient_stride + (tile - block * TILES) * OUTER_ROWS * 4
        c = partial + (tile * step.channel_blocks + first_block) * taps * TILE_VECTOR_BYTES
        if step.size == 1:
            _multiply(
                end_block - first_block, g, x, c, images, step.gradient_image, x_image, rows,
                g_row, x_line, pixels, x_pixel, x_block, fresh,
            )  # fmt: skip
        else:
            for at in range(end_block - first_block):
                for tap in range(step.size):
                    line = x + at * x_block + tap * step.dilation * x_row
                    tap_sums = c + (at * step.size + tap) * step.size * TILE_VECTOR_BYTES
                    _multiply(
                        step.size, g, line, tap_sums, images, step.gradient_image, x_image, rows,
                        g_row, x_line, pixels, x_pixel, step.dilation * BLOCK, fresh,
                    )  # fmt: skip


@operation(*_FIELDS)
def weight_gradient_job(steps: Any, index: int, scratch: int) -> None:
    """The sums of some blocks of channels and of filters over one split of the chunks."""
    step = carray(steps, 1)[0]
    groups = (step.channel_blocks + step.group - 1) // step.group
    split = index // (groups * step.filter_parts)
    part = (index // groups) % step.filter_parts
    first_block = (index % groups) * step.group
    end_block = min(step.channel_blocks, first_block + step.group)
    tiles = (step.filters + OUTER_ROWS - 1) // OUTER_ROWS
    filters = (
        part * tiles // step.filter_parts,
        (part + 1) * tiles // step.filter_parts,
    )
    partial = step.partials + split * step.partial_bytes
    chunks = (step.images + step.chunk_images - 1) // step.chunk_images * step.bands
    begin, end = split * chunks // step.splits, (split + 1) * chunks // step.splits
    reach = (step.size - 1) * step.dilation
    for chunk in range(begin, end):
        image = chunk // step.bands * step.chunk_images
        images = min(step.chunk_images, step.images - image)
        band = chunk % step.bands * step.out_height // step.bands
        rows = (chunk % step.bands + 1) * step.out_height // step.bands - band
        top = band * step.stride_y - step.padding
        source = step.source + image * step.source_image + first_block * step.source_stride
        if step.padding == 0:
            x = source + top * step.width * BLOCK
            x_image, x_row, x_block = step.source_image, step.width * BLOCK, step.source_stride
        else:
            lines = (rows - 1) * step.stride_y + reach + 1
            columns = (step.out_width - 1) * step.stride_x + reach + 1
            x, x_row = scratch, columns * BLOCK
            x_image = lines * x_row
            x_block = images * x_image
            for block in range(end_block - first_block):
                for n in range(images):
                    plane = source + n * step.source_image + block * step.source_stride
                    target = x + block * x_block + n * x_image
                    copy_padded(step, plane, top, lines, columns, target)
        _chunk_sums(
            step, x, x_image, x_row, x_block, (image, images, band, rows),
            (first_block, end_block), filters, partial, 1 if chunk == begin else 0,
        )  # fmt: skip


@operation(
    "partials", "partial_bytes", "splits", "filters", "channels", "channel_blocks", "taps",
    "target",
)  # fmt: skip
def weight_sums_job(steps: Any, index: int, scratch: int) -> None:
    """One tile of filters' gradients in plain order: the sum of the splits' sums.

    A tile's sums lie together, so they are read from the first to the last.
    """
    step = carray(steps, 1)[0]
    vectors = step.taps * OUTER_ROWS
    size = step.channels * step.taps
    filters = min(OUTER_ROWS, step.filters - index * OUTER_ROWS)
    for block in range(step.channel_blocks):
        at = step.partials + (index * step.channel_blocks + block) * vectors * BLOCK
        if step.splits > 1:
            for i in range(vectors):
                add_block(at + i * BLOCK, at + step.partial_bytes + i * BLOCK, scratch + i * BLOCK)
            for split in range(2, step.splits):
                other = at + split * step.partial_bytes
                for i in range(vectors):
                    total = scratch + i * BLOCK
                    add_block(total, other + i * BLOCK, total)
            at = scratch
        sums = carray(as_floats(at), vectors * LANES)
        lanes = min(LANES, step.channels - block * LANES)
        for row in range(filters):
            first = (index * OUTER_ROWS + row) * size + block * LANES * step.taps
            plain = carray(as_floats(step.target + 4 * first), lanes * step.taps)
            for lane in range(lanes):
                for tap in range(step.taps):
                    plain[lane * step.taps + tap] = sums[(tap * OUTER_ROWS + row) * LANES + lane]


@dataclass(frozen=True)
class Cut:
    """How the work is cut.

    Attributes:
        group: blocks of channels in a job.
        filter_parts: into how many parts the filters are cut.
        chunk_images: images in a chunk,
        bands: or chunks in an image.
        splits: how many sums of their own the pixels have.
    """

    group: int
    filter_parts: int
    chunk_images: int
    bands: int
    splits: int


def choose_cut(x: BatchMap, gradient: BatchMap, window: Window, jobs: int) -> Cut:
    """Choose how to cut the work; the same for the same sizes and `jobs`."""
    pixels = gradient.pixels
    few = -(-x.images * pixels // CHUNK_PIXELS) < jobs and x.blocks < jobs * GROUP
    group = (OUTER_VECTORS if few else GROUP) if window.size == 1 else 1
    group = min(group, x.blocks)
    chunk = max(1, CHUNK_PIXELS // 2 if window.size == 1 else CHUNK_PIXELS)
    bands = min(gradient.height, -(-pixels // chunk))
    chunk_images = max(1, min(x.images, chunk // pixels)) if bands == 1 else 1
    chunks = -(-x.images // chunk_images) * bands
    groups = -(-x.blocks // group)
    splits = min(chunks, -(-jobs // groups))
    tiles = -(-gradient.channels // OUTER_ROWS)
    filter_parts = min(tiles, -(-jobs // (groups * splits)))
    return Cut(group, filter_parts, chunk_images, bands, splits)


def _partial_bytes(x: BatchMap, gradient: BatchMap, window: Window) -> int:
    tiles = -(-gradient.channels // OUTER_ROWS)
    return tiles * x.blocks * window.size**2 * TILE_VECTOR_BYTES


def weight_gradient_bytes(x: BatchMap, gradient: BatchMap, window: Window, jobs: int) -> int:
    """Return how much shared memory `lower_weight_gradient` needs."""
    if serves_picture(x, window):
        return picture_gradient_bytes(x, gradient, window, jobs)
    return _partial_bytes(x, gradient, window) * choose_cut(x, gradient, window, jobs).splits


def lower_weight_gradient(
    x: BatchMap, gradient: BatchMap, window: Window, target: int, partials: int, jobs: int
) -> list[Lowered]:
    """Return the steps that compute a convolution's weight gradient, of one group.

    Args:
        x: what was convolved.
        gradient: ∂loss/∂y.
        window: of the convolution.
        target: the address of (F, C, size, size) float32.
        partials: the address of `weight_gradient_bytes` bytes, a multiple of `BLOCK`.
        jobs: into how many to cut the work, where it is large enough. The order of the sums
            depends on it.
    """
    if serves_picture(x, window):
        return lower_picture_gradient(x, gradient, window, target, partials, jobs)
    cut = choose_cut(x, gradient, window, jobs)
    partial_bytes = _partial_bytes(x, gradient, window)
    sums = {"partials": partials, "partial_bytes": partial_bytes, "splits": cut.splits}
    record = {
        **x.fields("source"),
        **gradient.fields("gradient"),
        "height": x.height,
        "width": x.width,
        "out_height": gradient.height,
        "out_width": gradient.width,
        "images": x.images,
        "filters": gradient.channels,
        "channel_blocks": x.blocks,
        **window.fields(),
        "group": cut.group,
        "filter_parts": cut.filter_parts,
        "chunk_images": cut.chunk_images,
        "bands": cut.bands,
        **sums,
    }
    reach = (window.size - 1) * window.dilation
    lines = (-(-gradient.height // cut.bands) - 1) * window.stride[0] + reach + 1
    columns = (gradient.width - 1) * window.stride[1] + reach + 1
    padded = cut.group * cut.chunk_images * lines * columns * BLOCK if window.padding else 0
    add = {
        **sums,
        "filters": gradient.channels,
        "channels": x.channels,
        "channel_blocks": x.blocks,
        "taps": window.size**2,
        "target": target,
    }
    tiles = -(-gradient.channels // OUTER_ROWS)
    count = -(-x.blocks // cut.group) * cut.filter_parts * cut.splits
    return [
        Lowered(weight_gradient_job, record, count, padded),
        Lowered(weight_sums_job, add, tiles, window.size**2 * TILE_VECTOR_BYTES),
    ]
