"""From a plan's steps to the records that the operations read: addresses, sizes, jobs.

More workers get more and smaller jobs. No number depends on how a step is cut: every sum is taken
in one order, whoever takes it, so results do not depend on the number of threads.
"""

from tinyyolo3.engine.cpu import pixelwise
from tinyyolo3.engine.cpu.algorithms import arithmetic_of
from tinyyolo3.engine.cpu.lower_convolutions import (
    lower_depthwise,
    lower_first_layer,
    lower_im2col,
    lower_im2col_shared,
    lower_multiply,
    lower_winograd,
)
from tinyyolo3.engine.cpu.lower_maps import (
    Lower,
    lower_activation,
    lower_avgpool,
    lower_copy,
    lower_maxpool,
    lower_pack,
    lower_pair,
    lower_unpack,
    lower_upsample,
)
from tinyyolo3.engine.cpu.lowering import Lowered, Lowering

_LOWERINGS: dict[str, Lower] = {
    "multiply": lower_multiply,
    "im2col": lower_im2col,
    "im2col shared": lower_im2col_shared,
    "winograd": lower_winograd,
    "first layer": lower_first_layer,
    "depthwise": lower_depthwise,
    "maxpool": lower_maxpool,
    "avgpool": lower_avgpool,
    "upsample": lower_upsample,
    "add": lower_pair(pixelwise.add_job, 0, 1),
    "scale channels": lower_pair(pixelwise.multiply_maps_job, 1, 0),
    "multiply maps": lower_pair(pixelwise.multiply_maps_job, 0, 1),
    "activation": lower_activation,
    "copy": lower_copy,
    "pack": lower_pack,
    "unpack": lower_unpack,
}


def lower_step(low: Lowering, index: int) -> list[Lowered]:
    """Return the operations of a step; none for an "eager" one, which is no compiled code."""
    step = low.plan.steps[index]
    if step.algorithm == "eager":
        return []
    name = step.algorithm.removesuffix(f" {arithmetic_of(step.algorithm).name}")
    if name.startswith("winograd"):
        name = "winograd"
    return _LOWERINGS[name](low, step, low.weights.get(index))
