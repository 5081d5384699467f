"""Weights put into the order in which the kernels read them, anew in each step.

When detecting, weights are packed once (`tinyyolo3.engine.cpu.packing`, whose orders these are);
when training they change with every update. So packing is part of the program: jobs of all
workers, right before the layer, into memory that the next layer uses again.

The way back through a convolution is a convolution of the outputs' gradients with the same weights,
*transposed*: its filters are the layer's channels and its channels the layer's filters, and
windows are turned by half a turn. Both ways read the same plain weights (F, C / groups, k, k), with
other distances.
"""

from dataclasses import dataclass
from typing import Any

from tinyyolo3.engine.cpu import packing
from tinyyolo3.engine.cpu.algorithms import run_depth
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.microkernel import PANEL
from tinyyolo3.engine.cpu.packing import WIDTH
from tinyyolo3.engine.cpu.program import CodePointer, call_input_transform, code_pointer, operation
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES, as_floats, carray, kernel
from tinyyolo3.engine.cpu.winograd_kernels import emit_transform
from tinyyolo3.network import specs
from tinyyolo3.parallel import compiled


def _kernel(name: str, symbol: str) -> Any:
    matrix = FILTERINGS[name].distinct_weights
    return kernel(f"tinyyolo3_weights_{symbol}", emit_transform(matrix), 4)


_weights_4, _weights_3 = _kernel("F(4,3)", "4"), _kernel("F(3,3)", "3")
_weights_4_2, _weights_3_2 = _kernel("F(4,3)/2", "4_2"), _kernel("F(3,3)/2", "3_2")


@code_pointer(4)
def _weight_4(source: int, row: int, target: int, product: int) -> None:
    _weights_4(source, row, target, product)


@code_pointer(4)
def _weight_3(source: int, row: int, target: int, product: int) -> None:
    _weights_3(source, row, target, product)


@code_pointer(4)
def _weight_4_2(source: int, row: int, target: int, product: int) -> None:
    _weights_4_2(source, row, target, product)


@code_pointer(4)
def _weight_3_2(source: int, row: int, target: int, product: int) -> None:
    _weights_3_2(source, row, target, product)


#: The transform of each filtering's weights, in float32: ``f(source, row_bytes, target,
#: product_bytes)`` for a block of filters. Rounding once more than `packing.pack_winograd` does, in
#: float64, is a unit or two in the last place.
WEIGHT_TRANSFORMS: dict[str, CodePointer] = {
    "F(4,3)": _weight_4,
    "F(3,3)": _weight_3,
    "F(4,3)/2": _weight_4_2,
    "F(3,3)/2": _weight_3_2,
}

#: Where filter n and channel c of the packed weights lie in the plain ones: at number ``origin +
#: n % filter_wrap * filter_step + c % channel_wrap * channel_step + tap * tap_step``, unless they
#: are of two groups: then they are zeros.
_PLAIN = (
    "source", "size", "origin", "filters", "filter_step", "filter_wrap", "filter_group", "channels",
    "channel_step", "channel_wrap", "channel_group", "taps", "tap_step", "target",
)  # fmt: skip


@compiled
def gather_filters(
    step: Any, panel: int, width: int, first: int, depth: int, target: int, channel_stride: int,
    tap_stride: int, vector_stride: int,
) -> None:  # fmt: skip
    """Copy the weights of some filters and channels, so that filters lie side by side.

    Args:
        step: the record, with the fields of `_PLAIN`.
        panel: the filters begin with this panel's first,
        width: and are so many.
        first: the first channel,
        depth: and their number; what is beyond the last becomes zero, as filters do.
        target: where to: vector v's lane l of channel c and tap t becomes number ``c *
            channel_stride + t * tap_stride + v * vector_stride + l``.
        channel_stride: see there, and so are the others.
        tap_stride: see above.
        vector_stride: see above.
    """
    weights = carray(as_floats(step.source), step.size)
    reach = (width // LANES - 1) * vector_stride + LANES
    packed = carray(
        as_floats(target), (depth - 1) * channel_stride + (step.taps - 1) * tap_stride + reach
    )
    taps, tap_step = step.taps, step.tap_step
    for n in range(width):
        filter_ = panel * WIDTH + n
        at = n // LANES * vector_stride + n % LANES
        group = filter_ // step.filter_group
        start = step.origin + filter_ % step.filter_wrap * step.filter_step
        for c in range(first, first + depth):
            own = c // step.channel_group == group
            if filter_ < step.filters and c < step.channels and own:
                plain = start + c % step.channel_wrap * step.channel_step
                for tap in range(taps):
                    packed[at + tap * tap_stride] = weights[plain + tap * tap_step]
            else:
                for tap in range(taps):
                    packed[at + tap * tap_stride] = 0
            at += channel_stride


@operation(*_PLAIN, "depth", "runs", "panels", "half")
def pack_panels_job(steps: Any, index: int, _scratch: int) -> None:
    """One block of channels of one panel, as `packing.pack_panels` has it."""
    step = carray(steps, 1)[0]
    panel = index // step.runs
    run = index - panel * step.runs
    width = LANES if step.half == 1 and panel == step.panels - 1 else WIDTH
    depth, taps = step.depth, step.taps
    # All panels but the last are full, and as far apart.
    at = panel * step.runs * taps * depth * WIDTH + run * taps * depth * width
    gather_filters(
        step, panel, width, run * depth, depth, step.target + 4 * at, width, depth * width, LANES
    )


@operation(*_PLAIN, "transform", "runs", "products")
def pack_winograd_job(steps: Any, index: int, scratch: int) -> None:
    """One block of channels of one panel, transformed, as `packing.pack_winograd` has it."""
    step = carray(steps, 1)[0]
    panel = index // step.runs
    run = index - panel * step.runs
    # A window is nine vectors of a block of filters.
    window = 9 * LANES
    gather_filters(step, panel, WIDTH, run * LANES, LANES, scratch, PANEL * window, LANES, window)
    product = step.runs * LANES * PANEL * BLOCK
    target = step.target + panel * step.products * product + run * LANES * PANEL * BLOCK
    for vector in range(LANES * PANEL):
        call_input_transform(
            step.transform, scratch + 4 * vector * window, 3 * BLOCK, target + vector * BLOCK,
            product,
        )  # fmt: skip


@operation("source", "channels", "origin", "tap_step", "taps", "target")
def pack_depthwise_job(steps: Any, index: int, _scratch: int) -> None:
    """One block of channels, as `packing.pack_depthwise` has it."""
    step = carray(steps, 1)[0]
    weights = carray(as_floats(step.source), step.channels * step.taps)
    packed = carray(as_floats(step.target + index * step.taps * BLOCK), step.taps * LANES)
    for tap in range(step.taps):
        for lane in range(LANES):
            channel = index * LANES + lane
            plain = channel * step.taps + step.origin + tap * step.tap_step
            packed[tap * LANES + lane] = weights[plain] if channel < step.channels else 0


@dataclass(frozen=True)
class WeightOrder:
    """Which plain weights a convolution reads as its filters' and channels'.

    Attributes:
        layer: the layer that has the weights, (F, C / groups, k, k).
        transposed: whether it is the way back: its filters are the layer's channels.
        parts: convolutions that the whole falls into (`algorithms.merged_parts`).
    """

    layer: specs.Convolutional
    transposed: bool
    parts: int

    @property
    def filters(self) -> int:
        """Filters of one part."""
        own = self.layer.input_shapes[0][0] if self.transposed else self.layer.filters
        return own // self.parts

    @property
    def channels(self) -> int:
        """Channels of one part."""
        own = self.layer.filters if self.transposed else self.layer.input_shapes[0][0]
        return own // self.parts

    @property
    def part_bytes(self) -> int:
        """Bytes of the plain weights of one part, which lie together either way."""
        return 4 * self._size // self.parts

    @property
    def _size(self) -> int:
        layer = self.layer
        return layer.filters * layer.input_shapes[0][0] // layer.groups * layer.size**2

    def fields(self) -> dict[str, int]:
        """Return the fields of `_PLAIN` but for the addresses."""
        taps = self.layer.size**2
        groups = self.layer.groups // self.parts
        filter_group, channel_group = self.filters // groups, self.channels // groups
        inputs = filter_group if self.transposed else channel_group
        outer, inner = inputs * taps, taps
        return {
            "size": self._size // self.parts,
            "origin": taps - 1 if self.transposed else 0,
            "filters": self.filters,
            "filter_step": inner if self.transposed else outer,
            "filter_wrap": filter_group if self.transposed else self.filters,
            "filter_group": filter_group,
            "channels": self.channels,
            "channel_step": outer if self.transposed else inner,
            "channel_wrap": self.channels if self.transposed else channel_group,
            "channel_group": channel_group,
            "taps": taps,
            "tap_step": -1 if self.transposed else 1,
        }


def lower_packing(order: WeightOrder, algorithm: str, target: int) -> Lowered:
    """Return the packing of one part's weights, whose ``source`` is still to be filled in.

    Args:
        order: which weights.
        algorithm: whose order they are packed in.
        target: the address to pack them to.
    """
    if algorithm == "depthwise":
        fields = {name: order.fields()[name] for name in ("channels", "origin", "tap_step", "taps")}
        fields["channels"] = order.layer.filters
        jobs = packing.blocks(order.layer.filters)
        return Lowered(pack_depthwise_job, {**fields, "target": target}, jobs)
    record: dict[str, float | CodePointer] = {**order.fields(), "target": target}
    panels = packing.panels(order.filters)
    if algorithm.startswith("winograd"):
        name = algorithm.split()[1]
        runs = packing.blocks(order.channels)
        record |= {
            "transform": WEIGHT_TRANSFORMS[name],
            "runs": runs,
            "products": len(FILTERINGS[name].distinct_weights) ** 2,
        }
        scratch = LANES * PANEL * 9 * BLOCK
        return Lowered(pack_winograd_job, record, panels * runs, scratch)
    depth = (
        1
        if algorithm == "first layer"
        else run_depth(order.channels, order.layer.size**2, algorithm)
    )
    runs = -(-order.channels // depth)
    half = packing.ends_in_half(order.filters)
    record |= {"depth": depth, "runs": runs, "panels": panels, "half": half}
    return Lowered(pack_panels_job, record, panels * runs)
