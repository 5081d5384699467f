"""A network's first convolution straight from pictures, where the plan and the layer allow it."""

from collections.abc import Callable
from functools import partial

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray
from tinyyolo3.engine.cuda.lower import Lowering
from tinyyolo3.engine.plan import INPUT, Plan, Step
from tinyyolo3.layers.convolution.cuda_first import (
    FirstLayer,
    conv_forward_first_cuda,
    suits_first_layer,
)
from tinyyolo3.network import specs

#: Launches a kernel with the pictures' bytes and the table of their frames.
FromPictures = Callable[[DeviceArray, DeviceArray], None]


def lower_first(low: Lowering, plan: Plan, x: DeviceMap) -> FromPictures | None:
    """Return what takes the place of resizing and of the plan's first step.

    Args:
        low: as for the plan's steps.
        plan: the network.
        x: the map of its input.

    Returns:
        None where the input itself is needed: no tensor cores, another first layer than a
        convolution that the kernel is made for, another layer that reads the input too, or an
        output that is not of the precision's type.
    """
    precision = low.precision
    step = _only_reader(plan)
    layer = None if step is None or step.weights is None else low.graph.layers[step.weights]
    if precision is None or step is None or not isinstance(layer, specs.Convolutional):
        return None
    plain = step.algorithm == "convolution mma" and not layer.batch_normalize
    if not plain or not suits_first_layer(x.channels, layer.size, layer.stride, layer.dilation):
        return None
    out = low.map_of(step.output)
    if out.element != precision.element:
        return None
    own = low.weights.of(layer, FirstLayer(precision))
    convolve = partial(
        conv_forward_first_cuda,
        precision=precision,
        stride=layer.stride,
        padding=layer.padding,
        activation=layer.activation,
    )
    return lambda pixels, frames: convolve(
        low.target, pixels, frames, x, own.weights, own.biases, out
    )


def _only_reader(plan: Plan) -> Step | None:
    """Return the step that reads the network's input, if it is the first and no other does."""
    pack, first = plan.steps[:2]
    if pack.layer != INPUT or pack.output is None or first.residual is not None:
        return None
    buffer = pack.output.buffer
    readers = [s for s in plan.steps if any(p and p.buffer == buffer for p in s.inputs)]
    return first if readers == [first] else None
