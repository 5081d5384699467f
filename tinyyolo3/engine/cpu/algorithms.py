"""Which algorithm computes each layer, by an estimate of the time that it takes.

The estimate counts what each algorithm does (multiply-adds, transforms, copies, bytes of weights)
and weighs it with rates measured on two processors (Zen 4, Zen 5). It only has to rank the
candidates; `tinyyolo3 profile` shows what each step really takes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinyyolo3.engine.cpu import packing
from tinyyolo3.engine.cpu.arithmetic import BFLOAT16, FLOAT32, FLOAT32_PAIRS, Arithmetic
from tinyyolo3.engine.cpu.first_layer import SIZE as FIRST_LAYER_SIZE
from tinyyolo3.engine.cpu.microkernel import PANEL, ROWS, UNROLL
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS, Filtering
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.engine.layout import Blocked
from tinyyolo3.engine.plan import INPUT, Choice, Chooser, Plan
from tinyyolo3.engine.planner import make_plan
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

#: What the matrix kernel multiplies with: max(v, slope * v).
SLOPES = {"linear": 1.0, "leaky": 0.1, "relu": 0.0}

#: Multiply-adds of one lane per second of one core; seconds to transform one vector of a Winograd
#: tile, to copy one block of channels; bytes of weights per second from main memory
#: that prefetching does not hide.
MULTIPLY_RATE = 50e9
TRANSFORM_S = 2.0e-9
COPY_S = 0.6e-9
MEMORY_RATE = 60e9
#: Convolutions from or to fewer channels stay in float32: where a whole map is squeezed through a
#: few of them, rounding shows most (from 32 to 8, an objectness was off by 0.05), the gain least.
#: With this limit no confidence of Darknet's sample pictures is off by more than 0.01.
BFLOAT16_CHANNELS = 32
#: Layers of at most so many filters may multiply two channels at once. With vectors of four numbers
#: none may: a step of the kernel would reach over a pixel's block.
PAIRED_FILTERS = FLOAT32_PAIRS.filters if UNROLL * FLOAT32_PAIRS.channels <= LANES else 0
#: How large the packed weights of a network may be: in multiples of the plain weights' size, and
#: the bytes that they may have in any case.
MEMORY = {"default": (4.0, 256 << 20), "low": (1.15, 0)}
#: What a network can be computed in; "bf16" only where `arithmetic.HAS_BFLOAT16`.
PRECISIONS = ("fp32", "bf16")
#: A Winograd job's tiles are chosen to stay in this part of the second-level cache.
TILE_CACHE_BYTES = 700 << 10
#: From so many channels on, or with so few tiles, weights weigh more than inputs.
SPLIT_CHANNELS, SPLIT_TILES = 256, 64


@dataclass(frozen=True)
class Candidate:
    """One way to compute a convolution.

    Attributes:
        algorithm: its name.
        seconds: estimated time on one core, waiting for memory included.
        weight_bytes: of its packed weights.
        workspace_bytes: memory that its jobs share.
    """

    algorithm: str
    seconds: float
    weight_bytes: int
    workspace_bytes: int = 0


@dataclass(frozen=True)
class Tiling:
    """How a Winograd convolution cuts its map.

    Attributes:
        filtering: the algorithm along each axis.
        columns: tiles side by side.
        image_tiles: tiles of one picture.
        tiles: tiles in all.
        fused: whether a job takes a block of tiles through all stages.
        jobs: how many such jobs; 1 if not fused.
    """

    filtering: Filtering
    columns: int
    image_tiles: int
    tiles: int
    fused: bool
    jobs: int

    @property
    def padded(self) -> int:
        """Tiles of a job rounded up to the matrix kernel's, and odd: no stride of a power of 2."""
        rows = -(-_tile_rows(self.tiles) // self.jobs) * ROWS
        return rows + 1 - rows % 2


def _tile_rows(tiles: int) -> int:
    """Return how many tiles of the matrix kernel hold so many tiles of the map."""
    return -(-tiles // ROWS)


def tile_map(
    filtering: Filtering, channels: int, height: int, width: int, images: int = 1
) -> Tiling:
    """Return the tiling for outputs of `height` × `width` of so many pictures."""
    columns = -(-width // filtering.m)
    image_tiles = columns * -(-height // filtering.m)
    tiles = image_tiles * images
    if channels >= SPLIT_CHANNELS or tiles <= SPLIT_TILES:
        return Tiling(filtering, columns, image_tiles, tiles, False, 1)
    vectors = filtering.products**2 * (packing.blocks(channels) + PANEL)
    fitting = TILE_CACHE_BYTES // (vectors * BLOCK)
    most = max(1, min(4, fitting // ROWS))
    # An even number of jobs, as equal as may be: a thread that has one more than the others keeps
    # all of them waiting.
    jobs = -(-_tile_rows(tiles) // most)
    return Tiling(
        filtering, columns, image_tiles, tiles, True, min(jobs + jobs % 2, _tile_rows(tiles))
    )


def arithmetic_of(algorithm: str) -> Arithmetic:
    """Return how an algorithm's matrix product multiplies."""
    named = (own for own in (BFLOAT16, FLOAT32_PAIRS) if algorithm.endswith(f" {own.name}"))
    return next(named, FLOAT32)


def run_depth(channels: int, taps: int, algorithm: str) -> int:
    """Return how many numbers a run of the sum has: a block's lanes, fewer if channels are few."""
    step = UNROLL * arithmetic_of(algorithm).channels
    if taps == 1 and channels < LANES:
        return -(-channels // step) * step
    return LANES


def merged_parts(layer: specs.Convolutional) -> int:
    """Return into how many steps a grouped convolution falls.

    Groups are merged until each step's channels and filters fill whole blocks.
    """
    channels = layer.input_shapes[0][0] // layer.groups
    filters = layer.filters // layer.groups
    for merged in range(1, layer.groups + 1):
        whole = (merged * channels) % LANES == 0 and (merged * filters) % LANES == 0
        if layer.groups % merged == 0 and whole:
            return layer.groups // merged
    return 1


def candidates(
    layer: specs.Convolutional, precision: str = "fp32", images: int = 1
) -> Iterator[Candidate]:
    """Yield the ways to compute a convolution that is neither depthwise nor the first layer.

    Args:
        layer: the convolution.
        precision: "bf16" for products in bfloat16, beside Winograd's in float32: where that saves
            more than half of the multiplications it stays the quicker. Layers of few channels stay
            in float32 (`BFLOAT16_CHANNELS`).
        images: how many pictures are computed together.
    """
    parts = merged_parts(layer)
    channels, filters = layer.input_shapes[0][0] // parts, layer.filters // parts
    if precision == "bf16" and min(channels, filters) >= BFLOAT16_CHANNELS:
        yield _product(layer, BFLOAT16, channels, filters, images)
    else:
        yield _product(layer, FLOAT32, channels, filters, images)
        if filters <= PAIRED_FILTERS:
            yield _product(layer, FLOAT32_PAIRS, channels, filters, images)
    if layer.size != 3 or layer.dilation != 1 or layer.stride[0] != layer.stride[1]:
        return
    for filtering in FILTERINGS.values():
        if filtering.stride == layer.stride[0]:
            yield _winograd(layer, filtering, channels, filters, images)


def _product(
    layer: specs.Convolutional, arithmetic: Arithmetic, channels: int, filters: int, images: int
) -> Candidate:
    _, height, width = layer.output_shape
    pixels = -(-images * height * width // ROWS) * ROWS
    taps, panels = layer.size**2, packing.panels(filters)
    depth, wide = packing.blocks(channels) * LANES, panels * packing.WIDTH
    weight_bytes = 4 * panels * packing.panel_floats(channels, taps, LANES, arithmetic)
    multiply = pixels * depth * wide * taps / (MULTIPLY_RATE * arithmetic.channels)
    seconds = multiply + weight_bytes / MEMORY_RATE
    suffix = f" {arithmetic.name}".rstrip()
    if taps == 1 and layer.stride == (1, 1) and layer.padding == 0:
        return Candidate(f"multiply{suffix}", seconds, weight_bytes)
    copies = pixels * packing.blocks(channels) * taps
    seconds += copies * COPY_S
    if filters > images * height * width:
        size = copies * arithmetic.pixel_bytes
        return Candidate(f"im2col shared{suffix}", seconds, weight_bytes, size)
    return Candidate(f"im2col{suffix}", seconds, weight_bytes)


def _winograd(
    layer: specs.Convolutional, filtering: Filtering, channels: int, filters: int, images: int
) -> Candidate:
    _, height, width = layer.output_shape
    tiling = tile_map(filtering, channels, height, width, images)
    squares = filtering.products**2
    rows = _tile_rows(tiling.tiles) * ROWS
    depth, wide = packing.blocks(channels) * LANES, packing.panels(filters) * packing.WIDTH
    transforms = rows * squares * (depth + wide) / LANES * TRANSFORM_S
    size = 4 * len(filtering.distinct_weights) ** 2 * depth * wide
    seconds = rows * squares * depth * wide / MULTIPLY_RATE + transforms + size / MEMORY_RATE
    # A job streams all weights through its cache; from main memory only the first time.
    seconds += (tiling.jobs - 1) * size / (10 * MEMORY_RATE) if tiling.fused else 0.0
    shared = 0 if tiling.fused else squares * tiling.padded * packing.blocks(channels) * BLOCK
    kind = "fused" if tiling.fused else "shared"
    return Candidate(f"winograd {filtering.name} {kind}", seconds, size, shared)


def is_depthwise(layer: specs.Convolutional) -> bool:
    """Return whether each channel has one filter of its own, and each output sees a pixel."""
    if not layer.groups == layer.filters == layer.input_shapes[0][0] > 1:
        return False
    return layer.padding < layer.size and layer.dilation == 1


def is_first_layer(layer: specs.Convolutional) -> bool:
    """Return whether `first_layer` can read the network's plain input."""
    return (
        layer.inputs == (INPUT,)
        and layer.input_shapes[0][0] <= LANES // 2
        and layer.size == FIRST_LAYER_SIZE
        and layer.groups == layer.dilation == 1
        and layer.stride in ((1, 1), (2, 2))
        and layer.output_shape[2] >= ROWS
    )


def plan_network(graph: Graph, memory: str = "default", precision: str = "fp32") -> Plan:
    """Return the plan by which this engine runs a network, batch norm folded.

    Args:
        graph: the layers.
        memory: a key of `MEMORY`.
        precision: one of `PRECISIONS`.
    """
    choose = choose_algorithms(graph, memory, precision)
    return make_plan(graph, graph.output_indices, Blocked(LANES), choose)


def choose_algorithms(graph: Graph, memory: str = "default", precision: str = "fp32") -> Chooser:
    """Return the choice of an algorithm for each layer of a network.

    Args:
        graph: the layers, batch norm folded.
        memory: a key of `MEMORY`: how large packed weights may be.
        precision: one of `PRECISIONS`.
    """
    layers = [
        layer
        for layer in graph.layers
        if isinstance(layer, specs.Convolutional)
        and not (is_depthwise(layer) or is_first_layer(layer))
    ]
    plain_bytes = sum(
        4 * layer.filters * layer.input_shapes[0][0] // layer.groups * layer.size**2
        for layer in layers
    )
    choices = {layer.index: list(candidates(layer, precision)) for layer in layers}
    factor, floor = MEMORY[memory]
    picked = pick_candidates(choices, max(factor * plain_bytes, floor))
    return lambda layer: _choice(layer, picked.get(layer.index))


def pick_candidates(
    choices: Mapping[int, Sequence[Candidate]], limit: float
) -> dict[int, Candidate]:
    """Return the quickest candidates whose weights fit into a limit.

    While they do not, the layer that loses the least time per byte it saves makes do with less;
    padding to whole blocks may leave more than the limit even so.

    Args:
        choices: each layer's candidates.
        limit: the largest sum of `weight_bytes`.
    """
    picked = {i: min(own, key=lambda c: c.seconds) for i, own in choices.items()}
    while sum(c.weight_bytes for c in picked.values()) > limit:
        swaps = [
            ((other.seconds - now.seconds) / (now.weight_bytes - other.weight_bytes), i, other)
            for i, now in picked.items()
            for other in choices[i]
            if other.weight_bytes < now.weight_bytes
        ]
        if not swaps:
            break
        _, index, smaller = min(swaps, key=lambda swap: swap[:2])
        picked[index] = smaller
    return picked


def _choice(layer: specs.Layer, candidate: Candidate | None) -> Choice:
    match layer:
        case specs.Convolutional():
            return _convolution_choice(layer, candidate)
        case specs.Maxpool() if layer.padding < layer.size:
            return Choice("maxpool")
        case specs.Avgpool():
            return Choice("avgpool")
        case specs.Upsample() if layer.scale == 1:
            return Choice("upsample")
        case specs.Shortcut() if _is_plain_sum(layer):
            return Choice("add", activation=layer.activation != "linear")
        case specs.ScaleChannels() if not layer.scale_wh:
            return Choice("scale channels", activation=layer.activation != "linear")
        case specs.Sam():
            return Choice("multiply maps", activation=layer.activation != "linear")
        case _:
            return Choice("eager")


def _convolution_choice(layer: specs.Convolutional, candidate: Candidate | None) -> Choice:
    separate = layer.activation not in SLOPES
    if candidate is not None:
        return Choice(
            candidate.algorithm,
            candidate.workspace_bytes,
            merged_parts(layer),
            activation=separate,
            residual=not separate,
            pools=not separate and makes_pairs(candidate.algorithm),
        )
    if is_depthwise(layer):
        return Choice("depthwise", activation=separate)
    return Choice("first layer", plain_input=True, activation=separate, pools=not separate)


def makes_pairs(algorithm: str) -> bool:
    """Return whether an algorithm makes whole windows of 2 × 2 pixels at a time, to be pooled."""
    name, *rest = algorithm.split()
    return name == "winograd" and FILTERINGS[rest[0]].m % 2 == 0


def _is_plain_sum(layer: specs.Shortcut) -> bool:
    shapes = set(layer.input_shapes)
    return len(shapes) == 1 and len(layer.inputs) == 2 and layer.alpha == layer.beta == 1
