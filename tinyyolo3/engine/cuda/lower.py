"""From a plan's steps to launches: calls of the kernels' launchers with nothing left to decide."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tinyyolo3.backends.cuda import CUDA
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.engine.cuda.convolutions import convolution_algorithm, convolution_tile
from tinyyolo3.engine.cuda.weights import DeviceWeights, LayerWeights, Way
from tinyyolo3.engine.plan import Place, Step
from tinyyolo3.layers.convolution.cuda_algorithms import gpu_of
from tinyyolo3.layers.convolution.cuda_mma_tiles import Precision
from tinyyolo3.layers.pixelwise import channel_range
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

#: Launches one kernel, or the few of one layer, on a target's stream.
Launch = Callable[[], None]


@dataclass(frozen=True)
class Lowering:
    """What lowering needs to know.

    Attributes:
        target: where to run.
        graph: the layers.
        weights: the layers' parameters in the target's memory.
        map_of: finds the map of a place in the arena.
        workspace: what convolutions share that are cut along their sums, one after the other.
        precision: what tensor cores multiply; None without them.
    """

    target: Target
    graph: Graph
    weights: DeviceWeights
    map_of: Callable[[Place | None], DeviceMap]
    workspace: DeviceArray
    precision: Precision | None = None


def lower_step(low: Lowering, step: Step) -> list[Launch]:
    """Return the launches of a step."""
    if step.algorithm == "copy":
        return [_copy(low, step)]
    inputs = [low.map_of(place) for place in step.inputs]
    out = low.map_of(step.output)
    layer = low.graph.layers[step.layer if step.weights is None else step.weights]
    match layer:
        case specs.Convolutional():
            return _convolution(low, step, layer, inputs[0], out)
        case specs.Connected():
            return _connected(low, layer, inputs[0], out)
    options = _options(layer)
    launcher = CUDA.functions[layer.kind]
    match layer:
        case specs.Shortcut():
            return [partial(launcher, low.target, inputs[0], inputs[1:], out, **options)]
        case specs.Route():
            return [partial(launcher, low.target, inputs, out, **options)]
    return [partial(launcher, low.target, *inputs, out, **options)]


def _options(layer: specs.Layer) -> dict[str, Any]:
    """Return the numbers that a layer without parameters hands to its launcher."""
    match layer:
        case specs.Maxpool():
            return {"size": layer.size, "stride": layer.stride, "padding": layer.padding}
        case specs.Upsample():
            return {"stride": layer.stride, "scale": layer.scale}
        case specs.Route():
            return {"groups": layer.groups, "group_id": layer.group_id}
        case specs.Shortcut():
            return {"alpha": layer.alpha, "beta": layer.beta, "activation": layer.activation}
        case specs.ScaleChannels():
            return {"scale_wh": layer.scale_wh, "activation": layer.activation}
        case specs.Sam():
            return {"activation": layer.activation}
        case specs.Softmax():
            return {"groups": layer.groups, "temperature": layer.temperature}
        case specs.Reorg():
            return {"stride": layer.stride}
        case specs.Yolo():
            box = {"scale_x_y": layer.scale_x_y, "new_coords": layer.new_coords}
            return {"classes": layer.classes, **box}
        case specs.Region():
            return {"anchors": len(layer.anchors), "softmax": layer.softmax}
    return {}


def _copy(low: Lowering, step: Step) -> Launch:
    """Copy channels to where a route wants them, which could not be written there."""
    x, out = copied_maps(low, step)
    return partial(CUDA.functions["route"], low.target, [x], out)


def copied_maps(low: Lowering, step: Step) -> tuple[DeviceMap, DeviceMap]:
    """Return the channels that a step copies, and where to."""
    (first, channel), source = step.offset, step.inputs[0]
    assert source is not None
    count, height, width = source.shape
    # The place is that of the whole map that the channels are part of.
    whole = low.map_of(replace(source, shape=(first + count, height, width)))
    out = channel_range(low.map_of(step.output), channel, count)
    return channel_range(whole, first, count), out


def _convolution(
    low: Lowering,
    step: Step,
    layer: specs.Convolutional,
    x: DeviceMap,
    out: DeviceMap,
) -> list[Launch]:
    """Convolve, activate, and add the residual of a shortcut that is fused."""
    way: Way = None
    options: dict[str, Any] = {
        "size": layer.size,
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "activation": "linear" if layer.batch_normalize else layer.activation,
        "residual": None if step.residual is None else low.map_of(step.residual),
    }
    if step.algorithm == "convolution":
        way = convolution_algorithm(layer, x.images, gpu_of(low.target))
        options |= {"algorithm": way, "workspace": low.workspace}
    elif step.algorithm == "convolution mma" and low.precision is not None:
        way = low.precision
        tile = convolution_tile(layer, x.images, way, gpu_of(low.target))
        options |= {"precision": way, "tile": tile, "workspace": low.workspace}
    else:
        options["groups"] = layer.groups
    own = low.weights.of(layer, way)
    launcher = CUDA.functions[step.algorithm]
    convolve = partial(launcher, low.target, x, own.weights, own.biases, out, **options)
    return [convolve, *_normalization(low, layer, own, out)]


def _connected(low: Lowering, layer: specs.Connected, x: DeviceMap, out: DeviceMap) -> list[Launch]:
    """Multiply with all of the input, and activate."""
    own = low.weights.of(layer)
    activation = "linear" if layer.batch_normalize else layer.activation
    connected = partial(
        CUDA.functions["connected"],
        *(low.target, x, own.weights, own.biases, out),
        activation=activation,
    )
    return [connected, *_normalization(low, layer, own, out)]


def _normalization(
    low: Lowering,
    layer: specs.Convolutional | specs.Connected,
    weights: LayerWeights,
    out: DeviceMap,
) -> list[Launch]:
    """Return what an unfused batch norm takes: itself, and the activation that waits for it."""
    own = weights.batchnorm
    if own is None:
        return []
    normalize = partial(
        CUDA.functions["batchnorm"],
        *(low.target, out, own.mean, own.variance, own.scales, own.biases, out),
        epsilon=low.graph.parity.batchnorm_epsilon,
        epsilon_inside_root=low.graph.parity.epsilon_inside_root,
    )
    if layer.activation == "linear":
        return [normalize]
    return [
        normalize,
        partial(CUDA.functions["activation"], low.target, out, out, layer.activation),
    ]
