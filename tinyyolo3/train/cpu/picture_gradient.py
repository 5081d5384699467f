"""Weight gradients of 3 × 3 convolutions of pictures: three channels at the most.

The sums of `weight_gradient` with the roles exchanged (`outer_product.emit_picture_products`): 13
of 16 lanes of a picture's block are no channels, and multiplying with them would take five times
as long.

Jobs take a block of filters and some bands of rows (one *split*), each copied into scratch memory
with zeros around it; a second step adds the splits' sums in their order.

Equals: the second result of `tinyyolo3.layers.convolution.backward.conv_backward_reference`.
"""

from typing import Any

from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.outer_product import (
    OUTER_VECTORS,
    PICTURE_CHANNELS,
    picture_products,
)
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES, add_block, as_floats, carray, copy_block
from tinyyolo3.train.cpu.batch_map import BatchMap, map_fields
from tinyyolo3.train.cpu.window import Window, copy_padded

#: Pixels of dY in a band.
BAND_PIXELS = 2048
#: Taps of the window, and sums of a block of filters.
_TAPS = OUTER_VECTORS**2
_SUMS = _TAPS * PICTURE_CHANNELS


@operation(
    *map_fields("source", "gradient"), "height", "width", "out_height", "out_width", "images",
    "filter_blocks", "size", "stride_y", "stride_x", "dilation", "padding", "bands", "splits",
    "partials",
)  # fmt: skip
def picture_gradient_job(steps: Any, index: int, scratch: int) -> None:
    """The sums of one block of filters over one split of the bands of all images."""
    step = carray(steps, 1)[0]
    split = index // step.filter_blocks
    block = index - split * step.filter_blocks
    target = step.partials + index * _SUMS * BLOCK
    total = step.images * step.bands
    begin, end = split * total // step.splits, (split + 1) * total // step.splits
    reach = (step.size - 1) * step.dilation
    columns = (step.out_width - 1) * step.stride_x + reach + 1
    for chunk in range(begin, end):
        image = chunk // step.bands
        number = chunk - image * step.bands
        band = number * step.out_height // step.bands
        rows = (number + 1) * step.out_height // step.bands - band
        top = band * step.stride_y - step.padding
        plane = step.source + image * step.source_image
        copy_padded(step, plane, top, (rows - 1) * step.stride_y + reach + 1, columns, scratch)
        g = step.gradient + image * step.gradient_image + block * step.gradient_stride
        g += band * step.out_width * BLOCK
        for tap in range(step.size):
            picture_products(
                g, scratch + tap * step.dilation * columns * BLOCK,
                target + tap * OUTER_VECTORS * PICTURE_CHANNELS * BLOCK, 1, 0, 0, rows,
                step.out_width * BLOCK, step.stride_y * columns * BLOCK, step.out_width,
                step.stride_x * BLOCK, step.dilation * BLOCK, 1 if chunk == begin else 0,
            )  # fmt: skip


@operation("partials", "filter_blocks", "splits", "channels", "filters", "target")
def picture_sums_job(steps: Any, index: int, scratch: int) -> None:
    """The gradient of one block of filters in plain order: the sum of the splits' sums."""
    step = carray(steps, 1)[0]
    for number in range(_SUMS):
        at = scratch + number * BLOCK
        own = step.partials + (index * _SUMS + number) * BLOCK
        copy_block(own, at)
        for split in range(1, step.splits):
            add_block(at, own + split * step.filter_blocks * _SUMS * BLOCK, at)
    sums = carray(as_floats(scratch), _SUMS * LANES)
    size = step.channels * _TAPS
    target = carray(as_floats(step.target), step.filters * size)
    for lane in range(min(LANES, step.filters - index * LANES)):
        first = (index * LANES + lane) * size
        for channel in range(step.channels):
            for tap in range(_TAPS):
                number = tap * PICTURE_CHANNELS + channel
                target[first + channel * _TAPS + tap] = sums[number * LANES + lane]


def serves_picture(x: BatchMap, window: Window) -> bool:
    """Return whether `lower_picture_gradient` can compute a convolution."""
    return x.channels <= min(PICTURE_CHANNELS, LANES) and window.size == OUTER_VECTORS


def _cut(x: BatchMap, gradient: BatchMap, jobs: int) -> tuple[int, int]:
    """Return the bands of an image, and the splits of all bands."""
    bands = min(gradient.height, -(-gradient.pixels // BAND_PIXELS))
    return bands, min(x.images * bands, -(-jobs // gradient.blocks))


def picture_gradient_bytes(x: BatchMap, gradient: BatchMap, window: Window, jobs: int) -> int:
    """Return how much shared memory `lower_picture_gradient` needs."""
    assert window.size == OUTER_VECTORS
    return _cut(x, gradient, jobs)[1] * gradient.blocks * _SUMS * BLOCK


def lower_picture_gradient(
    x: BatchMap, gradient: BatchMap, window: Window, target: int, partials: int, jobs: int
) -> list[Lowered]:
    """Return the steps that compute the weight gradient where `serves_picture`.

    Args:
        x: what was convolved.
        gradient: ∂loss/∂y.
        window: of the convolution.
        target: the address of (F, C, 3, 3) float32.
        partials: the address of `picture_gradient_bytes` bytes, a multiple of `BLOCK`.
        jobs: into how many to cut the work, where it is large enough. The order of the sums
            depends on it.
    """
    bands, splits = _cut(x, gradient, jobs)
    shared = {"partials": partials, "filter_blocks": gradient.blocks, "splits": splits}
    record = {
        **x.fields("source"),
        **gradient.fields("gradient"),
        "height": x.height,
        "width": x.width,
        "out_height": gradient.height,
        "out_width": gradient.width,
        "images": x.images,
        **window.fields(),
        "bands": bands,
        **shared,
    }
    reach = (window.size - 1) * window.dilation
    lines = (-(-gradient.height // bands) - 1) * window.stride[0] + reach + 1
    columns = (gradient.width - 1) * window.stride[1] + reach + 1
    add = {**shared, "channels": x.channels, "filters": gradient.channels, "target": target}
    return [
        Lowered(picture_gradient_job, record, splits * gradient.blocks, lines * columns * BLOCK),
        Lowered(picture_sums_job, add, gradient.blocks, _SUMS * BLOCK),
    ]
