"""Weight gradients of depthwise convolutions on blocked mini-batches.

    dW[c, u, v] = Σ over images n and output pixels (y, x) of
                  dY[n, c, y, x] · X[n, c, y·stride + u·dilation − p, x·stride + v·dilation − p]

with p zeros around each map. Each channel is multiplied with itself alone, so a block's products
are one instruction for each pixel and tap, and memory is what limits. Jobs are bands of an
image's rows of one block; with padding they copy their rows of X into scratch memory, where zeros
surround them. Each job has sums of its own, and a second step adds them in their order.

Equals: the second result of `tinyyolo3.layers.convolution.backward.conv_backward_reference` with
as many groups as channels. Lanes beyond the last channel are dropped.

The gradient of the input is `tinyyolo3.engine.cpu.depthwise` again, with flipped weights; for
strides after `maps.lower_insert_zeros`.
"""

from typing import Any

from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.outer_product import channel_products_1, channel_products_3
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES, add_block, as_floats, carray, copy_block
from tinyyolo3.train.cpu.batch_map import BatchMap, map_fields
from tinyyolo3.train.cpu.window import Window, copy_padded

#: Pixels of dY in a job, of which block and rows of X fit into a second-level cache.
_JOB_PIXELS = 2048


@operation(
    *map_fields("source", "gradient"), "height", "width", "out_height", "out_width", "images",
    "size", "stride_y", "stride_x", "dilation", "padding", "bands", "partials",
)  # fmt: skip
def depthwise_gradient_job(steps: Any, index: int, scratch: int) -> None:
    """The sums of a band of rows of one block of one image; a block's jobs follow each other."""
    step = carray(steps, 1)[0]
    block = index // (step.images * step.bands)
    image = index // step.bands % step.images
    number = index % step.bands
    band = number * step.out_height // step.bands
    rows = (number + 1) * step.out_height // step.bands - band
    top = band * step.stride_y - step.padding
    x = step.source + image * step.source_image + block * step.source_stride
    g = step.gradient + image * step.gradient_image + block * step.gradient_stride
    g += band * step.out_width * BLOCK
    x_row = step.width * BLOCK
    if step.padding == 0:
        x += top * x_row
    else:
        reach = (step.size - 1) * step.dilation
        columns = (step.out_width - 1) * step.stride_x + reach + 1
        copy_padded(step, x, top, (rows - 1) * step.stride_y + reach + 1, columns, scratch)
        x, x_row = scratch, columns * BLOCK
    target = step.partials + index * step.size * step.size * BLOCK
    for tap_y in range(step.size):
        line = x + tap_y * step.dilation * x_row
        tap = 0
        while tap < step.size:
            at = line + tap * step.dilation * BLOCK
            own = target + (tap_y * step.size + tap) * BLOCK
            if tap + 3 <= step.size:
                channel_products_3(
                    g, at, own, 1, 0, 0, rows, step.out_width * BLOCK, step.stride_y * x_row,
                    step.out_width, step.stride_x * BLOCK, step.dilation * BLOCK, 1,
                )  # fmt: skip
                tap += 3
            else:
                channel_products_1(
                    g, at, own, 1, 0, 0, rows, step.out_width * BLOCK, step.stride_y * x_row,
                    step.out_width, step.stride_x * BLOCK, step.dilation * BLOCK, 1,
                )  # fmt: skip
                tap += 1


@operation("partials", "jobs", "channels", "taps", "target")
def depthwise_sums_job(steps: Any, index: int, scratch: int) -> None:
    """One block's gradient in plain order: the sum of its jobs' sums."""
    step = carray(steps, 1)[0]
    bytes_each = step.taps * BLOCK
    own = step.partials + index * step.jobs * bytes_each
    for tap in range(step.taps):
        at = scratch + tap * BLOCK
        copy_block(own + tap * BLOCK, at)
        for job in range(1, step.jobs):
            add_block(at, own + job * bytes_each + tap * BLOCK, at)
    sums = carray(as_floats(scratch), step.taps * LANES)
    lanes = min(LANES, step.channels - index * LANES)
    plain = carray(as_floats(step.target + 4 * index * LANES * step.taps), lanes * step.taps)
    for lane in range(lanes):
        for tap in range(step.taps):
            plain[lane * step.taps + tap] = sums[tap * LANES + lane]


def _bands(gradient: BatchMap) -> int:
    return min(gradient.height, -(-gradient.pixels // _JOB_PIXELS))


def depthwise_gradient_bytes(gradient: BatchMap, window: Window) -> int:
    """Return how much shared memory `lower_depthwise_gradient` needs."""
    return gradient.images * gradient.blocks * _bands(gradient) * window.size**2 * BLOCK


def lower_depthwise_gradient(
    x: BatchMap, gradient: BatchMap, window: Window, target: int, partials: int
) -> list[Lowered]:
    """Return the steps that compute a depthwise convolution's weight gradient.

    Args:
        x: what was convolved.
        gradient: ∂loss/∂y, with as many channels.
        window: of the convolution.
        target: the address of (C, 1, size, size) float32.
        partials: the address of `depthwise_gradient_bytes` bytes, a multiple of `BLOCK`.
    """
    bands = _bands(gradient)
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
        "partials": partials,
    }
    reach = (window.size - 1) * window.dilation
    lines = (-(-gradient.height // bands) - 1) * window.stride[0] + reach + 1
    columns = (gradient.width - 1) * window.stride[1] + reach + 1
    add = {
        "partials": partials,
        "jobs": x.images * bands,
        "channels": x.channels,
        "taps": window.size**2,
        "target": target,
    }
    count = x.images * x.blocks * bands
    return [
        Lowered(depthwise_gradient_job, record, count, lines * columns * BLOCK),
        Lowered(depthwise_sums_job, add, x.blocks, window.size**2 * BLOCK),
    ]
