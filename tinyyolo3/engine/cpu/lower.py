"""From a plan's steps to the records that the operations read: addresses, sizes, jobs.

Each algorithm of `algorithms` has one function here. How a step is cut into jobs depends on its
shape alone, never on who computes what, so the result does not depend on the number of threads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinyyolo3.engine.cpu import (
    convolution,
    depthwise,
    first_layer,
    layout,
    packing,
    pixelwise,
    pooling,
    winograd,
)
from tinyyolo3.engine.cpu.algorithms import SLOPES, Tiling, picture_layout, tile_map
from tinyyolo3.engine.cpu.microkernel import PANEL, ROWS, TILE_BYTES, UNROLL
from tinyyolo3.engine.cpu.packing import PackedWeights
from tinyyolo3.engine.cpu.program import CodePointer, Operation
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.engine.cpu.winograd_kernels import TRANSFORMS
from tinyyolo3.engine.plan import Place, Plan, Step
from tinyyolo3.layers.activation import ACTIVATIONS
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

#: Inputs of a job's pixels are chosen to stay in this part of the second-level cache.
PIXEL_CACHE_BYTES = 384 << 10
#: Weights up to this size may be read once by every chunk of pixels.
SMALL_WEIGHTS = 600 << 10
#: A step is cut into this many jobs at least, where it is large enough.
JOBS = 8
#: Pixels below which a job is not worth handing out.
MIN_PIXELS = 64


@dataclass(frozen=True)
class Lowered:
    """One operation of a step: its record's fields, its jobs, and the scratch that one needs.

    A function in a field stands for its address, so that nothing has to be compiled yet.
    """

    operation: Operation
    record: Mapping[str, float | CodePointer]
    jobs: int
    scratch: int = 0


@dataclass(frozen=True)
class Lowering:
    """What the functions below need to know.

    Attributes:
        graph: the layers.
        plan: the steps.
        arena: the arena's address.
        weights: the packed weights of each step, by its index.
        orders: addresses of the tables of Winograd products, by the algorithm's name.
    """

    graph: Graph
    plan: Plan
    arena: int
    weights: Mapping[int, PackedWeights]
    orders: Mapping[str, int]

    def address(self, place: Place) -> int:
        """Return the address of a map."""
        return self.arena + self.plan.buffers[place.buffer].offset + place.offset

    def workspace(self, step: Step) -> int:
        """Return the address of a step's shared memory."""
        assert step.workspace is not None
        return self.arena + self.plan.buffers[step.workspace].offset


def lower_step(low: Lowering, index: int) -> list[Lowered]:
    """Return the operations of a step; none for an "eager" one, which is no compiled code."""
    step = low.plan.steps[index]
    name = step.algorithm.split()[0] if step.algorithm.startswith("winograd") else step.algorithm
    return _LOWERINGS[name](low, step, low.weights.get(index))


def parts_of(pixels: int, blocks: int) -> int:
    """Return into how many parts to cut each block of a map that is only passed over."""
    return max(1, min(-(-JOBS // blocks), pixels // MIN_PIXELS))


def _source(low: Lowering, place: Place | None, prefix: str = "source") -> dict[str, int]:
    assert place is not None
    return {prefix: low.address(place), f"{prefix}_stride": place.stride}


def _convolution(step: Step, low: Lowering) -> specs.Convolutional:
    assert step.weights is not None
    layer = low.graph.layers[step.weights]
    assert isinstance(layer, specs.Convolutional)
    return layer


def _epilogue(low: Lowering, step: Step, packed: PackedWeights | None) -> dict[str, float]:
    """Return the fields that all convolutions share."""
    assert packed is not None
    assert step.output is not None
    residual = step.residual
    return {
        "weights": packed.weights.ctypes.data,
        "bias": packed.biases.ctypes.data,
        **_source(low, step.output, "target"),
        "residual": low.address(residual) if residual else 0,
        "residual_stride": residual.stride if residual else 0,
        "slope": SLOPES.get(_convolution(step, low).activation, 1.0),
    }


def _product(
    low: Lowering, step: Step, packed: PackedWeights | None, taps: int
) -> dict[str, float]:
    """Return the fields of a product with packed panels."""
    assert step.inputs[0] is not None
    assert step.output is not None
    channels, filters = step.inputs[0].shape[0], step.output.shape[0]
    depth = run_depth(channels, taps)
    return {
        **_epilogue(low, step, packed),
        "steps": depth // UNROLL,
        "panels": packing.panels(filters),
        "half": packing.ends_in_half(filters),
        "panel_bytes": 4 * packing.panel_floats(channels, taps, depth),
    }


def run_depth(channels: int, taps: int) -> int:
    """Return how many numbers a run of the sum has: a block's lanes, fewer if channels are few."""
    if taps == 1 and channels < LANES:
        return -(-channels // UNROLL) * UNROLL
    return LANES


def _chunk(pixels: int, pixel_bytes: int, weight_bytes: float, cache: int) -> int:
    """Return how many pixels a job takes: as many as the cache holds, in equal shares."""
    chunk = max(4 * ROWS, min(512, cache // pixel_bytes))
    chunks = -(-pixels // chunk)
    if weight_bytes < SMALL_WEIGHTS and pixels >= JOBS * 4 * ROWS:
        chunks = -(-chunks // JOBS) * JOBS
    chunk = -(-pixels // chunks)
    return -(-chunk // ROWS) * ROWS if chunk > ROWS else pixels


def _panels_per_job(chunks: int, panels: int) -> int:
    """Return how many panels a job takes, so that there are enough jobs."""
    share = panels
    while chunks * -(-panels // share) < JOBS and share > 1:
        share = -(-share // 2)
    return share


def _lower_multiply(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    place = step.inputs[0]
    assert place is not None
    product = _product(low, step, packed, taps=1)
    runs = packing.blocks(place.shape[0])
    fields = {"source": low.address(place), "run_stride": place.stride, "runs": runs}
    return [_multiply(step, product, fields)]


def _multiply(step: Step, product: Mapping[str, float], fields: Mapping[str, float]) -> Lowered:
    assert step.output is not None
    pixels = step.output.shape[1] * step.output.shape[2]
    panels = int(product["panels"])
    weight_bytes = panels * product["panel_bytes"]
    chunk = _chunk(pixels, int(fields["runs"]) * BLOCK, weight_bytes, PIXEL_CACHE_BYTES)
    chunks = -(-pixels // chunk)
    share = _panels_per_job(chunks, panels)
    record = {**product, **fields, "pixels": pixels, "chunk": chunk, "panels_per_job": share}
    jobs = chunks * -(-panels // share)
    return Lowered(convolution.multiply_job, record, jobs, TILE_BYTES)


def _window(low: Lowering, step: Step) -> dict[str, int]:
    layer = _convolution(step, low)
    place, output = step.inputs[0], step.output
    assert place is not None
    assert output is not None
    return {
        **_source(low, place),
        "blocks": packing.blocks(place.shape[0]),
        "height": place.shape[1],
        "width": place.shape[2],
        "out_width": output.shape[2],
        "size": layer.size,
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        "dilation": layer.dilation,
        "padding": layer.padding * layer.dilation,
        "pixels": output.shape[1] * output.shape[2],
    }


def _lower_im2col(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    window = _window(low, step)
    taps = window["size"] ** 2
    product = _product(low, step, packed, taps)
    pixel_bytes = window["blocks"] * taps * BLOCK
    chunk = max(ROWS, min(8 * ROWS, PIXEL_CACHE_BYTES // pixel_bytes // ROWS * ROWS))
    chunks = -(-window["pixels"] // chunk)
    share = _panels_per_job(chunks, int(product["panels"]))
    jobs = chunks * -(-int(product["panels"]) // share)
    record = {**window, **product, "chunk": chunk, "panels_per_job": share}
    scratch = TILE_BYTES + pixel_bytes * chunk
    return [Lowered(convolution.im2col_multiply_job, record, jobs, scratch)]


def _lower_im2col_shared(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    window = _window(low, step)
    taps = window["size"] ** 2
    columns = low.workspace(step)
    spread = {**window, "chunk": 0, "target": columns}
    fields = {
        "source": columns,
        "run_stride": window["pixels"] * BLOCK,
        "runs": window["blocks"] * taps,
    }
    product = _product(low, step, packed, taps)
    return [
        Lowered(convolution.im2col_job, spread, window["blocks"] * taps),
        _multiply(step, product, fields),
    ]


def _lower_winograd(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    layer = _convolution(step, low)
    place, output = step.inputs[0], step.output
    assert place is not None
    assert output is not None
    name = step.algorithm.split()[1]
    tiling = tile_map(FILTERINGS[name], place.shape[0], *output.shape[1:])
    record = {
        **_epilogue(low, step, packed),
        **_tiles(tiling, place, output),
        **_source(low, place),
        "padding": layer.padding,
        "order": low.orders[name],
    }
    sums = tiling.filtering.products**2 * tiling.padded * BLOCK
    blocks, panels = packing.blocks(place.shape[0]), packing.panels(output.shape[0])
    scratch = winograd.EDGE_BYTES + PANEL * sums
    if tiling.fused:
        jobs = -(-tiling.tiles // tiling.per_job)
        record["tiles_per_job"] = tiling.per_job
        return [Lowered(winograd.winograd_fused_job, record, jobs, scratch + blocks * sums)]
    record["inputs"] = low.workspace(step)
    return [
        Lowered(winograd.winograd_input_job, record, blocks, winograd.EDGE_BYTES),
        Lowered(winograd.winograd_output_job, record, panels, scratch),
    ]


def _tiles(tiling: Tiling, place: Place, output: Place) -> dict[str, float | CodePointer]:
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
        "out_height": output.shape[1],
        "out_width": output.shape[2],
        "tiles_x": tiling.columns,
        "tiles": tiling.tiles,
        "padded_tiles": tiling.padded,
        "distinct": len(filtering.distinct_weights) ** 2,
        "panels": packing.panels(output.shape[0]),
        "half": packing.ends_in_half(output.shape[0]),
    }


def _lower_first_layer(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    layer = _convolution(step, low)
    channels, height, width = layer.input_shapes[0]
    filters, out_height, out_width = layer.output_shape
    row, plane = picture_layout(layer)
    picture = low.workspace(step)
    shared = {"row_bytes": row, "plane_bytes": plane}
    pad = {
        **shared, "height": height, "width": width, "padding": layer.padding, "target": picture,
    }  # fmt: skip
    record = {
        **_epilogue(low, step, packed),
        **shared,
        "source": picture,
        "channels": channels,
        "out_width": out_width,
        "panels": packing.panels(filters),
        "half": packing.ends_in_half(filters),
        "panel_bytes": 4 * packing.panel_floats(channels, layer.size**2, 1),
    }
    operation = {
        (1, 1): first_layer.first_layer_job,
        (2, 2): first_layer.first_layer_stride_2_job,
    }[layer.stride]
    rows = channels * (height + 2 * layer.padding)
    return [
        Lowered(first_layer.pad_picture_job, pad, rows),
        Lowered(operation, record, out_height),
    ]


def _lower_depthwise(low: Lowering, step: Step, packed: PackedWeights | None) -> list[Lowered]:
    assert step.output is not None
    blocks = packing.blocks(step.output.shape[0])
    out_height = step.output.shape[1]
    bands = max(1, min(-(-JOBS // blocks), out_height))
    record = {
        **_window(low, step),
        **_epilogue(low, step, packed),
        "out_height": out_height,
        "bands": bands,
    }
    return [Lowered(depthwise.depthwise_job, record, blocks * bands)]


def _lower_maxpool(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    layer = low.graph.layers[step.layer]
    assert isinstance(layer, specs.Maxpool)
    channels, height, width = layer.input_shapes[0]
    _, out_height, out_width = layer.output_shape
    blocks = packing.blocks(channels)
    # A band's rows, taken together across the window, should stay in the first-level cache.
    bands = max(1, min(out_height, max(-(-JOBS // blocks), out_height * out_width // 512)))
    if layer.size > 3 * layer.stride[0]:
        bands = 1
    record = {
        **_source(low, step.inputs[0]),
        **_source(low, step.output, "target"),
        "height": height,
        "width": width,
        "out_height": out_height,
        "out_width": out_width,
        "size": layer.size,
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        # DARKNET: of an odd padding, the smaller half is on the left and above.
        "offset": layer.padding // 2,
        "bands": bands,
    }
    rows = -(-out_height // bands) * layer.stride[0] + layer.size
    return [Lowered(pooling.maxpool_job, record, blocks * bands, rows * out_width * BLOCK)]


def _lower_avgpool(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    place = step.inputs[0]
    assert place is not None
    record = {
        **_source(low, place),
        **_source(low, step.output, "target"),
        "pixels": place.shape[1] * place.shape[2],
    }
    return [Lowered(pooling.avgpool_job, record, packing.blocks(place.shape[0]))]


def _lower_upsample(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    layer = low.graph.layers[step.layer]
    assert isinstance(layer, specs.Upsample)
    channels, height, width = layer.input_shapes[0]
    blocks = packing.blocks(channels)
    bands = max(1, min(-(-JOBS // blocks), height))
    record = {
        **_source(low, step.inputs[0]),
        **_source(low, step.output, "target"),
        "height": height,
        "width": width,
        "factor": layer.stride,
        "bands": bands,
    }
    return [Lowered(pixelwise.upsample_job, record, blocks * bands)]


def _lower_pair(operation: Operation, source: int, other: int) -> "_Lower":
    """Return the lowering of an operation on two of the layer's inputs."""

    def lower(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
        assert step.output is not None
        channels, height, width = step.output.shape
        parts = parts_of(height * width, packing.blocks(channels))
        record = {
            **_source(low, step.inputs[source]),
            **_source(low, step.inputs[other], "other"),
            **_source(low, step.output, "target"),
            "pixels": height * width,
            "parts": parts,
        }
        return [Lowered(operation, record, packing.blocks(channels) * parts)]

    return lower


def _lower_activation(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    assert step.output is not None
    channels, height, width = step.output.shape
    parts = parts_of(height * width, packing.blocks(channels))
    layer: Any = low.graph.layers[step.layer]
    record = {
        **_source(low, step.output, "target"),
        "kind": ACTIVATIONS.index(layer.activation),
        "pixels": height * width,
        "parts": parts,
    }
    return [Lowered(pixelwise.activation_job, record, packing.blocks(channels) * parts)]


def _lower_copy(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    place, output = step.inputs[0], step.output
    assert place is not None
    assert output is not None
    channels, height, width = place.shape
    first, offset = step.offset
    end = offset + channels
    record = {
        **_source(low, place),
        **_source(low, output, "target"),
        "first": first,
        "channels": channels,
        "pixels": height * width,
        "offset": offset,
        "last": end == output.shape[0],
    }
    jobs = -(-end // LANES) - offset // LANES
    return [Lowered(layout.copy_channels_job, record, jobs)]


def _lower_pack(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    assert step.output is not None
    channels, height, width = step.output.shape
    parts = parts_of(height * width, packing.blocks(channels))
    record = {
        **_source(low, step.output, "target"),
        "channels": channels,
        "pixels": height * width,
        "parts": parts,
    }
    return [Lowered(layout.pack_map_job, record, packing.blocks(channels) * parts)]


def _lower_unpack(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    place = step.inputs[0]
    assert place is not None
    channels, height, width = place.shape
    parts = parts_of(height * width, channels)
    record = {**_source(low, place), "pixels": height * width, "parts": parts}
    return [Lowered(layout.unpack_map_job, record, channels * parts)]


def _lower_eager(_low: Lowering, _step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    return []


_Lower = Callable[[Lowering, Step, PackedWeights | None], list[Lowered]]

_LOWERINGS: dict[str, _Lower] = {
    "multiply": _lower_multiply,
    "im2col": _lower_im2col,
    "im2col shared": _lower_im2col_shared,
    "winograd": _lower_winograd,
    "first layer": _lower_first_layer,
    "depthwise": _lower_depthwise,
    "maxpool": _lower_maxpool,
    "avgpool": _lower_avgpool,
    "upsample": _lower_upsample,
    "add": _lower_pair(pixelwise.add_job, 0, 1),
    "scale channels": _lower_pair(pixelwise.scale_channels_job, 1, 0),
    "multiply maps": _lower_pair(pixelwise.multiply_maps_job, 0, 1),
    "activation": _lower_activation,
    "copy": _lower_copy,
    "pack": _lower_pack,
    "unpack": _lower_unpack,
    "eager": _lower_eager,
}
