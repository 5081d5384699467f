"""Lowering of the layers without weights, and of what moves maps about."""

from collections.abc import Callable
from typing import Any

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.engine.cpu import layout, packing, pixelwise, pooling
from tinyyolo3.engine.cpu.lowering import Lowered, Lowering, parts_of, place_fields
from tinyyolo3.engine.cpu.packing import PackedWeights
from tinyyolo3.engine.cpu.program import Operation
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.engine.plan import Step
from tinyyolo3.network import specs

#: The lowering of one algorithm.
Lower = Callable[[Lowering, Step, PackedWeights | None], list[Lowered]]


def lower_maxpool(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    """The maximum of each window."""
    layer = low.graph.layers[step.layer]
    assert isinstance(layer, specs.Maxpool)
    channels, height, width = layer.input_shapes[0]
    _, out_height, out_width = layer.output_shape
    blocks = packing.blocks(channels)
    # A band's rows, taken together across the window, should stay in the first-level cache.
    bands = max(1, min(out_height, max(-(-low.jobs // blocks), out_height * out_width // 512)))
    if layer.size > 3 * layer.stride[0]:
        bands = 1
    record = {
        **place_fields(low, step.inputs[0]),
        **place_fields(low, step.output, "target"),
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


def lower_avgpool(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    """The mean of each channel."""
    place = step.inputs[0]
    assert place is not None
    record = {
        **place_fields(low, place),
        **place_fields(low, step.output, "target"),
        "pixels": place.shape[1] * place.shape[2],
    }
    return [Lowered(pooling.avgpool_job, record, packing.blocks(place.shape[0]))]


def lower_upsample(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    """Nearest-neighbour enlargement."""
    layer = low.graph.layers[step.layer]
    assert isinstance(layer, specs.Upsample)
    channels, height, width = layer.input_shapes[0]
    blocks = packing.blocks(channels)
    bands = max(1, min(-(-low.jobs // blocks), height))
    record = {
        **place_fields(low, step.inputs[0]),
        **place_fields(low, step.output, "target"),
        "height": height,
        "width": width,
        "factor": layer.stride,
        "bands": bands,
    }
    return [Lowered(pixelwise.upsample_job, record, blocks * bands)]


def lower_pair(operation: Operation, source: int, other: int) -> Lower:
    """Return the lowering of an operation on two of the layer's inputs."""

    def lower(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
        assert step.output is not None
        channels, height, width = step.output.shape
        parts = parts_of(low, height * width, packing.blocks(channels))
        second = step.inputs[other]
        assert second is not None
        record = {
            **place_fields(low, step.inputs[source]),
            **place_fields(low, second, "other"),
            "other_pixel": BLOCK if second.shape == step.output.shape else 0,
            **place_fields(low, step.output, "target"),
            "pixels": height * width,
            "parts": parts,
        }
        return [Lowered(operation, record, packing.blocks(channels) * parts)]

    return lower


def lower_activation(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    """An activation in place."""
    assert step.output is not None
    channels, height, width = step.output.shape
    parts = parts_of(low, height * width, packing.blocks(channels))
    layer: Any = low.graph.layers[step.layer]
    record = {
        **place_fields(low, step.output, "target"),
        "kind": ACTIVATIONS.index(layer.activation),
        "pixels": height * width,
        "parts": parts,
    }
    return [Lowered(pixelwise.activation_job, record, packing.blocks(channels) * parts)]


def lower_copy(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    """Channels copied where blocks do not coincide."""
    place, output = step.inputs[0], step.output
    assert place is not None
    assert output is not None
    channels, height, width = place.shape
    first, offset = step.offset
    end = offset + channels
    record = {
        **place_fields(low, place),
        **place_fields(low, output, "target"),
        "first": first,
        "channels": channels,
        "pixels": height * width,
        "offset": offset,
        "last": end == output.shape[0],
    }
    jobs = -(-end // LANES) - offset // LANES
    return [Lowered(layout.copy_channels_job, record, jobs)]


def lower_pack(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    """Plain to blocked."""
    assert step.output is not None
    channels, height, width = step.output.shape
    parts = parts_of(low, height * width, packing.blocks(channels))
    record = {
        **place_fields(low, step.output, "target"),
        "channels": channels,
        "pixels": height * width,
        "parts": parts,
    }
    return [Lowered(layout.pack_map_job, record, packing.blocks(channels) * parts)]


def lower_unpack(low: Lowering, step: Step, _packed: PackedWeights | None) -> list[Lowered]:
    """Blocked to plain."""
    place = step.inputs[0]
    assert place is not None
    channels, height, width = place.shape
    blocks = packing.blocks(channels)
    parts = parts_of(low, height * width, blocks)
    record = {
        **place_fields(low, place), "channels": channels, "pixels": height * width, "parts": parts,
    }  # fmt: skip
    return [Lowered(layout.unpack_map_job, record, blocks * parts)]
