"""Lowering of convolutions: into how many jobs, on which pixels, with which panels."""

from tinyyolo3.engine.arena import buffers_of
from tinyyolo3.engine.cpu import convolution, depthwise, first_layer, packing, winograd
from tinyyolo3.engine.cpu.algorithms import (
    SLOPES,
    Tiling,
    arithmetic_of,
    run_depth,
    tile_map,
)
from tinyyolo3.engine.cpu.arithmetic import BFLOAT16, HALF_BLOCK
from tinyyolo3.engine.cpu.depthwise_rows import has_row_kernel
from tinyyolo3.engine.cpu.lowering import Lowered, Lowering, place_fields
from tinyyolo3.engine.cpu.microkernel import PANEL, ROWS, TILE_BYTES, UNROLL
from tinyyolo3.engine.cpu.packing import PackedWeights
from tinyyolo3.engine.cpu.panels import PANEL_KERNELS
from tinyyolo3.engine.cpu.program import CodePointer
from tinyyolo3.engine.cpu.sharing import (
    PIXEL_CACHE_BYTES,
    choose_tile_rows,
    cut_product,
    panels_per_job,
)
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.cpu.vectors import BLOCK
from tinyyolo3.engine.cpu.winograd_kernels import TRANSFORMS
from tinyyolo3.engine.plan import Place, Step
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network import specs

#: A map of so many bytes has left the caches near a core when it is read. Prefetching one that has
#: not takes longer than it saves.
FAR_BYTES = 3 << 19

Fields = dict[str, float | CodePointer]


def _convolution(step: Step, low: Lowering) -> specs.Convolutional:
    assert step.weights is not None
    layer = low.graph.layers[step.weights]
    assert isinstance(layer, specs.Convolutional)
    return layer


def _pools(low: Lowering, step: Step) -> bool:
    """Return whether a convolution's step also does the pooling behind it."""
    return isinstance(low.graph.layers[step.layer], specs.Maxpool)


def _epilogue(low: Lowering, step: Step, packed: PackedWeights | None) -> Fields:
    """Return the fields that all convolutions share."""
    assert packed is not None
    assert step.output is not None
    residual = step.residual
    return {
        "weights": packed.weights.ctypes.data,
        "bias": packed.biases.ctypes.data,
        **place_fields(low, step.output, "target"),
        "residual": low.address(residual) if residual else 0,
        "residual_stride": residual.stride if residual else 0,
        "slope": SLOPES.get(_convolution(step, low).activation, 1.0),
    }


def _product(
    low: Lowering, step: Step, packed: PackedWeights | None, taps: int, pixels: int
) -> Fields:
    """Return the fields of a product with packed panels, taken for so many pixels at a time."""
    assert step.inputs[0] is not None
    assert step.output is not None
    channels, filters = step.inputs[0].shape[0], step.output.shape[0]
    depth = run_depth(channels, taps, step.algorithm)
    arithmetic = arithmetic_of(step.algorithm)
    tile_rows = choose_tile_rows(pixels, filters, arithmetic)
    kernel, half_kernel = PANEL_KERNELS[arithmetic.name, tile_rows]
    panel_floats = packing.panel_floats(channels, taps, depth, arithmetic)
    return {
        **_epilogue(low, step, packed),
        "kernel": kernel,
        "half_kernel": half_kernel,
        "tile_rows": tile_rows,
        "pixel_bytes": arithmetic.pixel_bytes,
        "steps": depth // (UNROLL * arithmetic.channels),
        "panels": packing.panels(filters),
        "half": packing.ends_in_half(filters),
        "panel_bytes": 4 * panel_floats,
    }


def lower_multiply(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    """A 1 × 1 convolution."""
    place = step.inputs[0]
    assert place is not None
    product = _product(low, step, packed, 1, _pixels(low, step))
    runs = packing.blocks(place.shape[0])
    rounded = arithmetic_of(step.algorithm) is BFLOAT16 and any(
        other.output == place and is_rounded(low, other)
        for other in low.plan.steps
        if other.algorithm == "depthwise"
    )
    fields: Fields = {
        "source": low.address(place), "run_stride": place.stride, "rounded": rounded,
    }  # fmt: skip
    return [_multiply(low, step, product, fields, runs)]


def _pixels(low: Lowering, step: Step) -> int:
    """Return the number of output pixels, of all pictures."""
    assert step.output is not None
    _, height, width = step.output.shape
    return low.images * height * width


def _multiply(low: Lowering, step: Step, product: Fields, fields: Fields, runs: int) -> Lowered:
    assert step.output is not None
    filters, pixels = step.output.shape[0], _pixels(low, step)
    panel_bytes, pixel_bytes = product["panel_bytes"], product["pixel_bytes"]
    tile_rows = product["tile_rows"]
    assert isinstance(panel_bytes, int)
    assert isinstance(pixel_bytes, int)
    assert isinstance(tile_rows, int)
    rounds = pixel_bytes == HALF_BLOCK and not fields.get("rounded", 0)
    cut = cut_product(
        pixels, runs * BLOCK, filters, panel_bytes, low.workers, low.jobs, rounds, tile_rows
    )
    record = {
        **product, **fields, "runs": runs, "pixels": pixels, "chunk": cut.chunk,
        "panels_per_job": cut.panels_per_job, "by_chunk": cut.by_chunk,
        "far": runs * pixels * pixel_bytes >= FAR_BYTES,
    }  # fmt: skip
    scratch = TILE_BYTES + runs * max(cut.chunk, ROWS) * HALF_BLOCK
    return Lowered(convolution.multiply_job, record, cut.jobs, scratch)


def _window(low: Lowering, step: Step) -> dict[str, int]:
    layer = _convolution(step, low)
    place, output = step.inputs[0], step.output
    assert place is not None
    assert output is not None
    return {
        **place_fields(low, place),
        "blocks": packing.blocks(place.shape[0]),
        "height": place.shape[1],
        "width": place.shape[2],
        "out_height": output.shape[1],
        "out_width": output.shape[2],
        "size": layer.size,
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        "dilation": layer.dilation,
        "padding": layer.padding * layer.dilation,
        "pixels": _pixels(low, step),
    }


def lower_im2col(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    """Any window, a chunk of pixels at a time."""
    window = _window(low, step)
    taps = window["size"] ** 2
    pixel_bytes = window["blocks"] * taps * arithmetic_of(step.algorithm).pixel_bytes
    chunk = max(ROWS, min(8 * ROWS, PIXEL_CACHE_BYTES // pixel_bytes // ROWS * ROWS))
    product = _product(low, step, packed, taps, chunk)
    chunks = -(-window["pixels"] // chunk)
    assert step.output is not None
    panels = packing.panels(step.output.shape[0])
    share = panels_per_job(chunks, panels, low.jobs)
    jobs = chunks * -(-panels // share)
    record = {**window, **product, "chunk": chunk, "panels_per_job": share}
    scratch = TILE_BYTES + pixel_bytes * chunk
    return [Lowered(convolution.im2col_multiply_job, record, jobs, scratch)]


def lower_im2col_shared(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    """Any window, spread out for all pixels first."""
    window = _window(low, step)
    taps = window["size"] ** 2
    columns = low.workspace(step)
    pixel_bytes = arithmetic_of(step.algorithm).pixel_bytes
    runs = window["blocks"] * taps
    spread: Fields = {**window, "pixel_bytes": pixel_bytes, "target": columns}
    stride = window["pixels"] * pixel_bytes
    fields: Fields = {"source": columns, "run_stride": stride, "rounded": 1}
    product = _product(low, step, packed, taps, window["pixels"])
    return [
        Lowered(convolution.im2col_job, spread, runs),
        _multiply(low, step, product, fields, runs),
    ]


def lower_winograd(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    """A 3 × 3 window by minimal filtering, and the pooling behind it if the step is one's."""
    layer = _convolution(step, low)
    place, output = step.inputs[0], step.output
    assert place is not None
    assert output is not None
    name = step.algorithm.split()[1]
    pools = _pools(low, step)
    filters, height, width = output.shape
    shape = (filters, 2 * height, 2 * width) if pools else output.shape
    tiling = tile_map(FILTERINGS[name], place.shape[0], *shape[1:], low.images)
    record = {
        **_epilogue(low, step, packed),
        **_tiles(tiling, place, shape),
        "pools": pools,
        **place_fields(low, place),
        "padding": layer.padding,
        "order": low.orders[name],
    }
    sums = tiling.filtering.products**2 * tiling.padded * BLOCK
    blocks, panels = packing.blocks(place.shape[0]), packing.panels(output.shape[0])
    scratch = winograd.EDGE_BYTES + PANEL * sums
    if tiling.fused:
        record["jobs"] = tiling.jobs
        scratch += blocks * sums
        return [Lowered(winograd.winograd_fused_job, record, tiling.jobs, scratch)]
    record["inputs"] = low.workspace(step)
    return [
        Lowered(winograd.winograd_input_job, record, blocks, winograd.EDGE_BYTES),
        Lowered(winograd.winograd_output_job, record, panels, scratch),
    ]


def _tiles(tiling: Tiling, place: Place, shape: Shape) -> Fields:
    """Return the fields of a Winograd convolution's shape."""
    filtering = tiling.filtering
    forward, back = TRANSFORMS[filtering.name]
    return {
        "transform": forward,
        "back": back,
        "m": filtering.m,
        "products": filtering.products,
        "extent": filtering.extent,
        "stride": filtering.stride,
        "blocks": packing.blocks(place.shape[0]),
        "height": place.shape[1],
        "width": place.shape[2],
        "out_height": shape[1],
        "out_width": shape[2],
        "tiles_x": tiling.columns,
        "image_tiles": tiling.image_tiles,
        "tiles": tiling.tiles,
        "padded_tiles": tiling.padded,
        "distinct": len(filtering.distinct_weights) ** 2,
        "panels": packing.panels(shape[0]),
        "half": packing.ends_in_half(shape[0]),
    }


def lower_first_layer(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    """A 3 × 3 window on the plain picture, and the pooling behind it if the step is one's."""
    layer = _convolution(step, low)
    channels, height, width = layer.input_shapes[0]
    filters, out_height, out_width = layer.output_shape
    stride = layer.stride[0]
    # A row is a whole number of cache lines.
    row_bytes = -(-4 * (width + 2 * layer.padding) // 64) * 64
    plane_bytes = row_bytes * first_layer.picture_lines(first_layer.JOB_ROWS, stride)
    record = {
        **_epilogue(low, step, packed),
        "channels": channels,
        "height": height,
        "width": width,
        "padding": layer.padding,
        "stride": stride,
        "row_bytes": row_bytes,
        "plane_bytes": plane_bytes,
        "out_height": out_height,
        "out_width": out_width,
        "panels": packing.panels(filters),
        "half": packing.ends_in_half(filters),
        "panel_bytes": 4 * packing.panel_floats(channels, layer.size**2, 1),
    }
    jobs, scratch = -(-out_height // first_layer.JOB_ROWS), channels * plane_bytes
    if _pools(low, step):
        scratch += 2 * PANEL * out_width * BLOCK
        return [Lowered(first_layer.first_layer_pool_job, record, jobs, scratch)]
    return [Lowered(first_layer.first_layer_job, record, jobs, scratch)]


def lower_depthwise(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    """A window for each channel of its own."""
    assert step.output is not None
    channels, out_height, _ = step.output.shape
    blocks = packing.blocks(channels)
    # A band of rows goes to the worker that has just computed them.
    bands = -(-max(low.workers, -(-low.jobs // blocks)) // low.workers) * low.workers
    bands = min(bands, out_height)
    rounded = is_rounded(low, step)
    record: Fields = {
        **_window(low, step),
        **_epilogue(low, step, packed),
        "bands": bands,
        "target_pixel": HALF_BLOCK if rounded else BLOCK,
        "whole_rows": has_row_kernel(_convolution(step, low)),
    }
    return [Lowered(depthwise.depthwise_job, record, blocks * bands)]


def is_rounded(low: Lowering, step: Step) -> bool:
    """Return whether a depthwise convolution writes bfloat16: only such products read its map."""
    assert step.output is not None
    if not has_row_kernel(_convolution(step, low)):
        return False
    buffer = step.output.buffer
    touching = [s for s in low.plan.steps if s is not step and buffer in buffers_of(s)]
    return bool(touching) and all(
        reader.algorithm == "multiply bf16"
        and reader.inputs == (step.output,)
        and (reader.residual is None or reader.residual.buffer != buffer)
        for reader in touching
    )
