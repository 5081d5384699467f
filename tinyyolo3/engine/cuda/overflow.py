"""Numbers too large for fp16: they become infinite, and whoever asked is told where.

Kernels on halves make nothing finite of an infinity (``kernels/half.cuh``). So it is in the
network's outputs that overflows are noticed, at no cost; which layer's map was the first to hold an
infinity is looked up when that has happened.
"""

from collections.abc import Mapping

import numpy as np

from tinyyolo3.arrays import FloatArray
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


def watched_logits(graph: Graph) -> tuple[int, ...]:
    """Return how many of a candidate's logits have to be looked at, for each head.

    One, if a convolution has made them of all channels of a pixel: if one of these is infinite, or
    NaN, so are all of its sums (or NaN: even zero times infinity is). Otherwise all of them.
    """
    sources = (graph.layers[head.inputs[0]] for head in graph.heads)
    dense = (isinstance(source, specs.Convolutional) and source.groups == 1 for source in sources)
    entries = (5 + head.classes for head in graph.heads)
    return tuple(1 if one else all_of_them for one, all_of_them in zip(dense, entries, strict=True))
