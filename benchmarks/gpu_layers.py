"""Stage 5: single layers: which convolution tile is quickest where, and the others' bandwidth."""

from collections.abc import Iterator

from gpu_context import Context, Record
from gpu_timing import launch_ms
from tinyyolo3.errors import TinyYoloError
from tinyyolo3.selftest import layers
from tinyyolo3.selftest.case import Case

#: Copies of a case's arrays lie side by side, so that together they are larger than the cache.
COLD_BYTES = 256 << 20
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
    for name, case in typical_cases(context.tiny):
        first = case.prepare(target)
        copies = 1 if context.tiny else min(MOST_COPIES, -(-COLD_BYTES // first.bytes))
        prepared = [first, *(case.prepare(target) for _ in range(copies - 1))]
        try:
            ms = launch_ms(target, [one.launch for one in prepared], 1 + 32 // copies, runs=20)
        except TinyYoloError as problem:
            record(name, {"shapes": case.label, "error": str(problem)})
            continue
        figures = {"shapes": case.label, "us": round(1e3 * ms, 3), "bytes": first.bytes}
        record(name, {**figures, "gb_per_s": round(first.bytes / ms / 1e6, 1)})


def typical_cases(tiny: bool) -> Iterator[tuple[str, Case]]:
    """Yield a name and a case for each layer: shapes as they come in yolov3 and its relatives."""
    n = 16 if tiny else 1
    yield "layout in, 416", layers.layout_in((1, 3, 416 // n, 416 // n))
    yield "layout out, 52", layers.layout_out((1, 255, 52 // n, 52 // n))
    for shape in ((1, 64, 208 // n, 208 // n), (8, 1024, 13, max(13 // n, 1))):
        yield f"shortcut, {shape[2]}", layers.shortcut(shape, shape, "linear")
    yield "route, 26", layers.route([(1, 256, 26, 26 // n), (1, 512, 26, 26 // n)])
    yield "upsample, 13 to 26", layers.upsample((1, 256, 13, max(13 // n, 1)), 2)
    yield "maxpool 2, 416", layers.maxpool((1, 16, 416 // n, 416 // n), 2, (2, 2), 1)
    yield "maxpool 13, 19", layers.maxpool((1, 512, 19 // n + 6, 19 // n + 6), 13, (1, 1), 12)
    yield "avgpool, 8", layers.avgpool((1, 1024, 8, 8))
    yield "activation mish, 208", layers.activation((1, 64, 208 // n, 208 // n), "mish")
    yield "batchnorm, 208", layers.batchnorm((1, 64, 208 // n, 208 // n))
    yield "batchnorm statistics", layers.batchnorm_statistics((8, 64, 104 // n, 104 // n))
    yield "scale_channels, 28", layers.scale_channels((8, 240, 28, 28 // n), scale_wh=False)
    yield "reorg, 26", layers.reorg((1, 64, 26, 26), 2)
    yield "connected, 1000", layers.connected((1, 1024, 1, 1), 1000, "linear")
    yield "softmax, 1000", layers.softmax((8, 1000, 1, 1), 1)
