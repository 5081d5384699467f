"""Seeded random weights for any network, so that it can be run without trained ones."""

import numpy as np

from tinyyolo3.darknet.weights import LayerWeights, Weights
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import layer_slots
from tinyyolo3.network.specs import Shortcut

#: Activations that drop about half of what they get, which the weights before them make up for.
_HALVING = frozenset({"leaky", "relu", "relu6", "swish", "mish", "hard_mish"})


def random_weights(graph: Graph, seed: int) -> dict[int, LayerWeights]:
    """Return seeded weights under which activations stay of order one through all layers.

    A filter's weights have the variance 1/fan-in, and 2/fan-in before an activation that drops
    the negative half (He et al., Delving Deep into Rectifiers, 2015, section 2.2); batch norm
    changes means and scales a little. What a shortcut adds is a tenth of that, or the sums would
    grow with every block (YOLOv3 has 23).

    Returns:
        float32 arrays by layer and name, as `tinyyolo3.darknet.weights.write_weights` takes them.
    """
    rng = np.random.default_rng(seed)
    found: dict[int, LayerWeights] = {}
    for layer in graph.layers:
        gain = 2.0 if getattr(layer, "activation", "linear") in _HALVING else 1.0
        if any(isinstance(after, Shortcut) for after in graph.layers[layer.index + 1 :][:1]):
            gain *= 0.01
        for slot in layer_slots(layer):
            array = _random_array(slot.name, slot.shape, gain, rng)
            found.setdefault(layer.index, {})[slot.name] = array
    return found


def _random_array(
    name: str, shape: tuple[int, ...], gain: float, rng: np.random.Generator
) -> Weights:
    match name:
        case "weights":
            values = rng.standard_normal(shape) * np.sqrt(gain / np.prod(shape[1:]))
        case "scales":
            values = rng.uniform(0.85, 1.15, shape)
        case "variance":
            values = rng.uniform(0.8, 1.6, shape)
        case _:  # biases, mean
            values = 0.1 * rng.standard_normal(shape)
    array: Weights = values.astype(np.float32)
    return array
