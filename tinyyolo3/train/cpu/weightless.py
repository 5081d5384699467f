"""Layers without weights in a training program: pooling, enlargement, joining, adding."""

from collections.abc import Callable, Iterable

from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.pixelwise import upsample_job
from tinyyolo3.network import specs
from tinyyolo3.train.cpu.activations import (
    BY_INPUT,
    lower_activation,
    lower_activation_backward,
)
from tinyyolo3.train.cpu.assembly import JOBS, Assembly
from tinyyolo3.train.cpu.batch_map import each_image
from tinyyolo3.train.cpu.maps import lower_add, lower_overlay, lower_upsample_backward, lower_zero
from tinyyolo3.train.cpu.memory import PlannedMap
from tinyyolo3.train.cpu.pooling import (
    Pooling,
    lower_avgpool,
    lower_avgpool_backward,
    lower_maxpool,
    lower_maxpool_backward,
)


def add_activation(assembly: Assembly, source: PlannedMap, kind: str) -> PlannedMap:
    """Add an activation, and return where it writes: its input itself if it is linear."""
    if kind == "linear":
        return source
    output = assembly.memory.new_map(source.shape)
    assembly.add_lowered(
        (source, output), lambda: lower_activation(source.placed(), output.placed(), kind, JOBS)
    )
    return output


def add_activation_backward(
    assembly: Assembly, gradient: PlannedMap, source: PlannedMap, output: PlannedMap, kind: str
) -> None:
    """Add an activation's way back, in place."""
    values = source if kind in BY_INPUT else output
    if kind != "linear":
        assembly.add_lowered(
            (gradient, values),
            lambda: lower_activation_backward(gradient.placed(), values.placed(), kind, JOBS),
        )


def add_maxpool(assembly: Assembly, layer: specs.Maxpool) -> None:
    """Add the maximum of each window."""
    source, output = assembly.output(layer.inputs[0]), assembly.new_output(layer)
    window = Pooling(layer.size, layer.stride, layer.padding)
    assembly.add_lowered(
        (source, output),
        lambda: lower_maxpool(source.placed(), output.placed(), window, JOBS),
    )

    def backward(gradient: PlannedMap) -> None:
        def write(target: PlannedMap, added: bool) -> None:
            assembly.add_lowered(
                (gradient, source, target),
                lambda: lower_maxpool_backward(
                    gradient.placed(), source.placed(), target.placed(), window, accumulate=added
                ),
            )

        assembly.give_gradient(layer.inputs[0], write, adds=True)

    assembly.backward[layer.index] = backward


def add_avgpool(assembly: Assembly, layer: specs.Avgpool) -> None:
    """Add the mean of each channel."""
    source, output = assembly.output(layer.inputs[0]), assembly.new_output(layer)
    assembly.add_lowered((source, output), lambda: lower_avgpool(source.placed(), output.placed()))

    def backward(gradient: PlannedMap) -> None:
        def write(target: PlannedMap, added: bool) -> None:
            assembly.add_lowered(
                (gradient, target),
                lambda: lower_avgpool_backward(
                    gradient.placed(), target.placed(), JOBS, accumulate=added
                ),
            )

        assembly.give_gradient(layer.inputs[0], write, adds=True)

    assembly.backward[layer.index] = backward


def add_upsample(assembly: Assembly, layer: specs.Upsample) -> None:
    """Add nearest-neighbour enlargement."""
    source, output = assembly.output(layer.inputs[0]), assembly.new_output(layer)

    def lower() -> Iterable[Lowered]:
        for x, y in each_image(source.placed(), output.placed()):
            record = {
                "source": x.address,
                "source_stride": x.block_stride,
                "height": x.height,
                "width": x.width,
                "factor": layer.stride,
                "bands": 1,
                "target": y.address,
                "target_stride": y.block_stride,
            }
            yield Lowered(upsample_job, record, x.images * x.blocks)

    assembly.add_lowered((source, output), lower)

    def backward(gradient: PlannedMap) -> None:
        def write(target: PlannedMap, added: bool) -> None:
            assembly.add_lowered(
                (gradient, target),
                lambda: lower_upsample_backward(
                    gradient.placed(),
                    target.placed(),
                    JOBS,
                    factor=layer.stride,
                    scale=layer.scale,
                    accumulate=added,
                ),
            )

        assembly.give_gradient(layer.inputs[0], write, adds=True)

    assembly.backward[layer.index] = backward


def is_plain_sum(layer: specs.Shortcut) -> bool:
    """Return whether a shortcut adds whole maps of one shape."""
    return len(set(layer.input_shapes)) == 1 and layer.alpha == layer.beta == 1


def add_shortcut(assembly: Assembly, layer: specs.Shortcut) -> None:
    """Add a sum of maps, and its activation."""
    inputs = [assembly.output(index) for index in layer.inputs]
    total = assembly.memory.new_map(layer.output_shape)

    def lower() -> Iterable[Lowered]:
        yield from lower_overlay(inputs[0].placed(), total.placed(), JOBS)
        for other in inputs[1:]:
            yield from lower_add(other.placed(), total.placed(), JOBS)

    assembly.add_lowered((*inputs, total), lower)
    output = add_activation(assembly, total, layer.activation)
    assembly.outputs[layer.index] = output

    def backward(gradient: PlannedMap) -> None:
        add_activation_backward(assembly, gradient, total, output, layer.activation)

        def write(target: PlannedMap, added: bool) -> None:
            assembly.add_lowered(
                (gradient, target),
                lambda: lower_overlay(gradient.placed(), target.placed(), JOBS, accumulate=added),
            )

        for index in reversed(layer.inputs[1:]):
            assembly.give_gradient(index, write, adds=True)
        # Nobody reads this gradient any more: the main input may have it as it is.
        assembly.pass_gradient(layer.inputs[0], gradient, write)

    assembly.backward[layer.index] = backward


def add_route(assembly: Assembly, layer: specs.Route) -> None:
    """Add the joining of maps, or of a part of each."""
    inputs, output = [assembly.output(index) for index in layer.inputs], assembly.new_output(layer)
    own = [shape[0] // layer.groups for shape in layer.input_shapes]
    firsts = [channels * layer.group_id for channels in own]
    offsets = [sum(own[:position]) for position in range(len(own))]

    def lower() -> Iterable[Lowered]:
        for x, first, offset, channels in zip(inputs, firsts, offsets, own, strict=True):
            yield from lower_overlay(
                x.placed(), output.placed(), JOBS, first=first, offset=offset, channels=channels
            )

    assembly.add_lowered((*inputs, output), lower)

    def backward(gradient: PlannedMap) -> None:
        for index, first, offset, channels in zip(layer.inputs, firsts, offsets, own, strict=True):
            assembly.give_gradient(index, give_back(gradient, first, offset, channels), adds=True)

    def give_back(
        gradient: PlannedMap, first: int, offset: int, channels: int
    ) -> Callable[[PlannedMap, bool], None]:
        def write(target: PlannedMap, added: bool) -> None:
            def lower() -> Iterable[Lowered]:
                if layer.groups > 1 and not added:
                    yield from lower_zero(target.placed(), JOBS)
                yield from lower_overlay(
                    gradient.placed(),
                    target.placed(),
                    JOBS,
                    first=offset,
                    offset=first,
                    channels=channels,
                    accumulate=added,
                )

            assembly.add_lowered((gradient, target), lower)

        return write

    assembly.backward[layer.index] = backward
