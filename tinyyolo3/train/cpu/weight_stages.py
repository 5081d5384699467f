"""The weight gradient of a convolutional layer in a training program: by which kernels, of what."""

from collections.abc import Callable, Iterable
from typing import Any

from tinyyolo3.engine.cpu.algorithms import is_depthwise, merged_parts
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.program import operation
from tinyyolo3.engine.cpu.vectors import as_floats, carray
from tinyyolo3.network import specs
from tinyyolo3.train.cpu.assembly import JOBS, Assembly
from tinyyolo3.train.cpu.batch_map import BatchMap
from tinyyolo3.train.cpu.depthwise import depthwise_gradient_bytes, lower_depthwise_gradient
from tinyyolo3.train.cpu.memory import PlannedMap, Stretch
from tinyyolo3.train.cpu.picture_gradient import (
    lower_picture_gradient,
    picture_gradient_bytes,
    serves_picture,
)
from tinyyolo3.train.cpu.stages import Row
from tinyyolo3.train.cpu.weight_gradient import lower_weight_gradient, weight_gradient_bytes
from tinyyolo3.train.cpu.window import Window

#: Lowers the sums over x and ∂loss/∂y.
Lower = Callable[[BatchMap, BatchMap], Iterable[Lowered]]


def add_weight_gradient(
    assembly: Assembly, layer: specs.Convolutional, gradient: PlannedMap
) -> None:
    """Add the stage that sums up a layer's weight gradient.

    Args:
        assembly: what it is added to.
        layer: which.
        gradient: ∂loss/∂y.
    """
    source = assembly.output(layer.inputs[0])
    channels = layer.input_shapes[0][0] // layer.groups
    shape = (layer.filters, channels, layer.size, layer.size)
    target = assembly.parameter_gradient(layer, "weights", shape).ctypes.data
    window = Window(layer.size, layer.stride, layer.padding * layer.dilation, layer.dilation)
    work, lower = _choose(assembly, layer, source.placed(), gradient.placed(), window, target)
    assembly.add(
        (source.stretch, gradient.stretch, *work),
        lambda: map(Row, lower(source.placed(), gradient.placed())),
    )


def _choose(
    assembly: Assembly,
    layer: specs.Convolutional,
    x: BatchMap,
    gradient: BatchMap,
    window: Window,
    target: int,
) -> tuple[list[Stretch], Lower]:
    """Return the memory and the lowering of the kernels that serve a layer."""
    if is_depthwise(layer):
        work = assembly.memory.reserve(depthwise_gradient_bytes(gradient, window))
        return [work], lambda x, g: lower_depthwise_gradient(x, g, window, target, work.address)
    if serves_picture(x, window) and layer.groups == 1:
        work = assembly.memory.reserve(picture_gradient_bytes(x, gradient, window, JOBS))
        return [work], lambda x, g: lower_picture_gradient(x, g, window, target, work.address, JOBS)
    return _by_parts(assembly, layer, x, gradient, window, target)


def _by_parts(
    assembly: Assembly,
    layer: specs.Convolutional,
    x: BatchMap,
    gradient: BatchMap,
    window: Window,
    target: int,
) -> tuple[list[Stretch], Lower]:
    """Return the memory and the lowering of a layer of one group, or of parts that hold several.

    Groups that do not fill whole blocks are summed up with those beside them, as if they were one.
    """
    parts = merged_parts(layer)
    own_x, own_g = _part(x, 0, parts), _part(gradient, 0, parts)
    work = [assembly.memory.reserve(weight_gradient_bytes(own_x, own_g, window, JOBS))]
    taps = layer.size**2
    merged = layer.groups > parts
    if merged:
        work.append(assembly.memory.reserve(4 * own_g.channels * own_x.channels * taps))
    part_bytes = 4 * own_g.channels * layer.input_shapes[0][0] // layer.groups * taps

    def lower(x: BatchMap, g: BatchMap) -> Iterable[Lowered]:
        for part in range(parts):
            own_x, own_g = _part(x, part, parts), _part(g, part, parts)
            own = target + part * part_bytes
            sums = work[1].address if merged else own
            yield from lower_weight_gradient(own_x, own_g, window, sums, work[0].address, JOBS)
            if merged:
                yield lower_own_channels(layer, own_x, own_g, sums, own)

    return work, lower


def _part(batch: BatchMap, part: int, parts: int) -> BatchMap:
    """Return the channels of one of a grouped layer's parts."""
    own = batch.channels // parts
    return batch if parts == 1 else batch.slice(part * own, own)


@operation("source", "channels", "filters", "own", "taps", "target")
def own_channels_job(steps: Any, index: int, _scratch: int) -> None:
    """The weights that one filter has of its group's channels, out of those of all."""
    step = carray(steps, 1)[0]
    group = index // step.filters
    count = step.own * step.taps
    first = (index * step.channels + group * step.own) * step.taps
    source = carray(as_floats(step.source + 4 * first), count)
    target = carray(as_floats(step.target + 4 * index * count), count)
    for i in range(count):
        target[i] = source[i]


def lower_own_channels(
    layer: specs.Convolutional, x: BatchMap, gradient: BatchMap, source: int, target: int
) -> Lowered:
    """Return the step that takes groups' weight gradients out of those of one group of all.

    Args:
        layer: the grouped layer.
        x: what was convolved: the channels of whole groups.
        gradient: ∂loss/∂y, the filters of the same groups.
        source: the address of (filters, channels, k, k) float32.
        target: the address of (filters, C / groups, k, k) float32.
    """
    record = {
        "source": source,
        "channels": x.channels,
        "filters": layer.filters // layer.groups,
        "own": layer.input_shapes[0][0] // layer.groups,
        "taps": layer.size**2,
        "target": target,
    }
    return Lowered(own_channels_job, record, gradient.channels)
