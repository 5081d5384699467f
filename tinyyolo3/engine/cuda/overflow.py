"""Numbers too large for fp16: they become infinite, and whoever asked is told where.

Kernels on halves make nothing finite of an infinity (``kernels/half.cuh``). So it is in the
network's outputs that overflows are noticed, at no cost; which layer's map was the first to hold an
infinity is looked up when that has happened.
"""

from collections.abc import Mapping

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.engine.layout import FLOAT_BYTES
from tinyyolo3.engine.plan import Plan
from tinyyolo3.errors import BackendError
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

#: What to do about it.
ADVICE = 'use precision="tf32", whose numbers are as large as float32\'s'


def check_overflow(graph: Graph, outputs: Mapping[int, FloatArray]) -> None:
    """Refuse outputs of layers, computed in fp16, of which one overflowed.

    Args:
        graph: the layers.
        outputs: of all layers, by index.

    Raises:
        BackendError: a layer's map holds an infinity. Not where the first numbers that are none are
            NaN: these come from the weights or the input, and would do so in any precision.
    """
    for layer in graph.layers:
        if isinstance(layer, specs.Head):
            continue
        found = outputs[layer.index]
        if np.isinf(found).any():
            raise overflow_error(graph, layer)
        if np.isnan(found).any():
            return


def overflow_error(graph: Graph, layer: specs.Layer, what: str = "its numbers") -> BackendError:
    """Return the error that says of a layer that something of it overflows in fp16."""
    most = float(np.finfo(np.float16).max)
    return BackendError(
        f"{graph.config.source}:{layer.line}: layer {layer.index} [{layer.kind}]: {what} exceed "
        f"{most:.0f}, the largest of fp16: {ADVICE}"
    )


def watched_logits(graph: Graph, plan: Plan) -> tuple[int, ...]:
    """Return how many of a candidate's logits have to be looked at, for each head.

    One, if a convolution has written them as floats, made of all channels of a pixel: if one of
    these is infinite or NaN, so are all of its sums, for even zero times infinity is NaN. Otherwise
    all of them.
    """
    whole = {
        step.layer
        for step in plan.steps
        if step.algorithm == "convolution mma" and step.output is not None
        if step.output.element_bytes == FLOAT_BYTES
    }
    return tuple(1 if head.inputs[0] in whole else 5 + head.classes for head in graph.heads)
