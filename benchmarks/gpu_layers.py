"""Stage 8: single layers: which convolution tile is quickest where, and the others' bandwidth."""

from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np

from gpu_context import Context, Record
from gpu_first import first_cases
from gpu_timing import launch_ms, spans_ms
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import TinyYoloError
from tinyyolo3.selftest import pixelwise, sums
from tinyyolo3.selftest.case import Case

#: Copies of a case's arrays lie side by side, so that together they are larger than the cache.
COLD_BYTES = 256 << 20
#: Bytes of the copy that bandwidths are compared with.
COPY_BYTES = 1 << 30
#: The most copies of one case.
MOST_COPIES = 64


def measure(context: Context, part: str, record: Record) -> None:
    """Measure the convolutions at one batch size, or the other layers."""
    if part == "others":
        measure_others(context, record)
    else:
        from gpu_convolutions import convolution_table

        batch = int(part.removeprefix("convolutions-"))
        convolution_table(context, batch, record)


def measure_others(context: Context, record: Record) -> None:
    """Time each layer's kernel on a shape of the published networks, out of the cache."""
    target = context.open_target()
    ceiling = copy_gb_per_s(target) if context.target == "cuda" else None
    record("copy_gb_per_s", ceiling)
    for name, case in typical_cases(context.tiny):
        try:
            ms, moved = case_ms(target, case, context.tiny)
        except TinyYoloError as problem:
            record(name, {"shapes": case.label, "problem": str(problem)})
            continue
        rate = moved / ms / 1e6
        figures = {"shapes": case.label, "us": round(1e3 * ms, 3), "bytes": moved}
        figures["gb_per_s"] = round(rate, 1)
        figures["share_of_copy"] = None if ceiling is None else round(rate / ceiling, 3)
        record(name, figures)


def case_ms(target: Target, case: Case, tiny: bool) -> tuple[float, int]:
    """Return the time of one launch, and the bytes that it has to move."""
    first = case.prepare(target)
    copies = 1 if tiny else min(MOST_COPIES, -(-COLD_BYTES // first.bytes))
    prepared = [first, *(case.prepare(target) for _ in range(copies - 1))]
    launches = [one.launch for one in prepared]
    if tiny:
        return launch_ms(target, launches, repeats=1, runs=1), first.bytes
    return launch_ms(target, launches, repeats=1 + 32 // copies, runs=20), first.bytes


def copy_gb_per_s(target: Any) -> float:
    """Return the bandwidth of the driver's own copy inside the GPU's memory, read and written."""
    import cupy

    source, copy = target.empty(COPY_BYTES, np.uint8), target.empty(COPY_BYTES, np.uint8)
    runtime = cupy.cuda.runtime
    kind = runtime.memcpyDeviceToDevice
    runtime.memsetAsync(source.data.ptr, 0xA5, COPY_BYTES, target.stream.ptr)

    def launch() -> None:
        runtime.memcpyAsync(copy.data.ptr, source.data.ptr, COPY_BYTES, kind, target.stream.ptr)

    ms = median(spans_ms(target, launch, runs=20, warm_up=5))
    return round(2 * COPY_BYTES / ms / 1e6, 1)


def typical_cases(tiny: bool) -> Iterator[tuple[str, Case]]:
    """Yield a name and a case for each layer: shapes as they come in yolov3 and its relatives."""
    n = 16 if tiny else 1
    yield from first_cases(416 // n)
    yield "layout in, 416", pixelwise.layout_in((1, 3, 416 // n, 416 // n))
    yield "layout out, 52", pixelwise.layout_out((1, 255, 52 // n, 52 // n))
    for shape in ((1, 64, 208 // n, 208 // n), (8, 1024, 13, max(13 // n, 1))):
        yield f"shortcut, {shape[2]}", pixelwise.shortcut(shape, shape, "linear")
    yield "route, 26", pixelwise.route([(1, 256, 26, 26 // n), (1, 512, 26, 26 // n)])
    yield "upsample, 13 to 26", pixelwise.upsample((1, 256, 13, max(13 // n, 1)), 2)
    yield "maxpool 2, 416", pixelwise.maxpool((1, 16, 416 // n, 416 // n), 2, (2, 2), 1)
    yield "maxpool 13, 19", pixelwise.maxpool((1, 512, 19 // n + 6, 19 // n + 6), 13, (1, 1), 12)
    yield "avgpool, 8", sums.avgpool((1, 1024, 8, 8))
    yield "activation mish, 208", pixelwise.activation((1, 64, 208 // n, 208 // n), "mish")
    yield "batchnorm, 208", sums.batchnorm((1, 64, 208 // n, 208 // n))
    yield "batchnorm statistics", sums.batchnorm_statistics((8, 64, 104 // n, 104 // n))
    yield "scale_channels, 28", pixelwise.scale_channels((8, 240, 28, 28 // n), scale_wh=False)
    yield "reorg, 26", pixelwise.reorg((1, 64, 26, 26), 2)
    yield "connected, 1000", sums.connected((1, 1024, 1, 1), 1000, "linear")
    yield "softmax, 1000", sums.softmax((8, 1000, 1, 1), 1)
