"""Folding leaves the function as it is: ``batchnorm(weights * x)`` computed in other numbers.

The oracle is the formula itself in float64, for the linear map that one layer is at one pixel.
"""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.engine.eager import run_graph
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.fold import fold_graph, fold_parameters
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import cast_parameters, network_slots
from tinyyolo3.network.parity import FLAVOURS
from tinyyolo3.testing.tolerances import FOLDED_FLOAT64

LAYERS = {
    "convolution": "[conv]\nfilters=6\nsize=3\npad=1",
    "groups": "[conv]\nfilters=6\nsize=3\ngroups=3\nstride=2",
    "connected": "[connected]\noutput=6",
}


def build(section: str, parity: str = "alexeyab") -> Graph:
    text = f"[net]\nwidth=5\nheight=4\n{section}\nbatch_normalize=1\nactivation=linear"
    return build_graph(parse_config(text), parity=FLAVOURS[parity])


def random_parameters(graph: Graph, seed: int, least_variance: float = 0.0):
    rng = np.random.default_rng(seed)
    own = {slot.name: rng.standard_normal(slot.shape) for slot in network_slots(graph)}
    own["variance"] = least_variance + rng.exponential(1.0, own["variance"].shape)
    return {0: own}


def divisor(variance: np.ndarray, parity: str) -> np.ndarray:
    """Each flavour's ``d``, written out once more."""
    return {
        "alexeyab": np.sqrt(variance + 1e-5),
        "pjreddie": np.sqrt(variance) + 1e-6,
        "opencv": np.sqrt(variance + 1e-6),
    }[parity]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(sorted(LAYERS)), st.sampled_from(sorted(FLAVOURS)), st.integers(0, 2**32 - 1)
)
def test_folded_network_equals_the_unfolded_in_float64(kind, parity, seed):
    graph = build(LAYERS[kind], parity)
    parameters = random_parameters(graph, seed)
    x = np.random.default_rng(seed + 1).standard_normal((2, *graph.input_shape))
    plain = run_graph(graph, parameters, REFERENCE, x, [0])[0]
    folded = run_graph(fold_graph(graph), fold_parameters(graph, parameters), REFERENCE, x, [0])[0]
    assert np.abs(folded - plain).max() <= FOLDED_FLOAT64 * np.abs(plain).max()


@pytest.mark.parametrize("parity", sorted(FLAVOURS))
def test_darknet_epsilon_of_each_flavour_at_a_small_variance(parity):
    graph = build(LAYERS["convolution"], parity)
    parameters = random_parameters(graph, 0)
    own = parameters[0]
    own["variance"] = np.array([0.0, 1e-12, 1e-8, 1e-6, 1e-5, 1.0])
    found = fold_parameters(graph, parameters)[0]
    factor = own["scales"] / divisor(own["variance"], parity)
    np.testing.assert_allclose(
        found["weights"], own["weights"] * factor[:, None, None, None], rtol=FOLDED_FLOAT64
    )
    shift = own["biases"] - own["mean"] * factor
    np.testing.assert_allclose(found["biases"], shift, rtol=FOLDED_FLOAT64)


def test_folding_rounds_once():
    graph = build(LAYERS["convolution"])
    single = cast_parameters(random_parameters(graph, 3), np.float32)
    found = fold_parameters(graph, single)[0]
    wide = fold_parameters(graph, cast_parameters(single, np.float64))[0]
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, wide[name].astype(np.float32))


@pytest.mark.parametrize("parity", sorted(FLAVOURS))
@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_folding_is_the_formula_bit_for_bit(kind, parity):
    # More weights to a filter, and in all, than NumPy casts at a time (8192).
    section = LAYERS[kind].replace("filters=6", "filters=24").replace("output=6", "output=8")
    text = f"[net]\nwidth=41\nheight=43\nchannels=1200\n{section}\nbatch_normalize=1"
    if kind == "connected":
        text = text.replace("channels=1200", "channels=5")
    graph = build_graph(parse_config(text), parity=FLAVOURS[parity])
    own = cast_parameters(random_parameters(graph, 8), np.float32)[0]
    found = fold_parameters(graph, {0: own})[0]
    factor = own["scales"] / divisor(own["variance"].astype(np.float64), parity)
    weights = own["weights"] * factor.reshape(-1, *[1] * (own["weights"].ndim - 1))
    biases = own["biases"] - factor * own["mean"]
    assert weights.dtype == biases.dtype == np.float64
    assert found["weights"].tobytes() == weights.astype(np.float32).tobytes()
    assert found["biases"].tobytes() == biases.astype(np.float32).tobytes()


def test_folding_needs_no_more_memory_than_its_result():
    graph = build_graph(
        parse_config("[net]\nwidth=64\nheight=64\n[connected]\noutput=64\nbatch_normalize=1")
    )
    given = cast_parameters(random_parameters(graph, 9), np.float32)
    tracemalloc.start()
    found = fold_parameters(graph, given)[0]["weights"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.dtype == np.float32
    assert peak < 1.25 * found.nbytes


def test_layers_are_folded_when_they_are_looked_up(tiny_cfg, seeded_weights):
    graph = build_graph(parse_config(tiny_cfg))
    parameters = seeded_weights(tiny_cfg)
    folded = fold_parameters(graph, parameters)
    assert list(folded) == list(parameters)
    assert len(folded) == len(parameters)
    assert folded[2]["weights"] is not folded[2]["weights"]
    with pytest.raises(KeyError):
        folded[1]


def test_the_parameters_given_stay_as_they_are():
    graph = build(LAYERS["convolution"])
    parameters = random_parameters(graph, 4)
    before = {name: array.copy() for name, array in parameters[0].items()}
    assert sorted(fold_parameters(graph, parameters)[0]) == ["biases", "weights"]
    for name, array in before.items():
        np.testing.assert_array_equal(parameters[0][name], array)


def test_a_folded_graph_differs_in_batch_norm_alone(tiny_cfg):
    graph = build_graph(parse_config(tiny_cfg))
    folded = fold_graph(graph)
    normalized = [layer.index for layer in graph.layers if getattr(layer, "batch_normalize", False)]
    assert normalized == [0, 2]
    assert not any(getattr(layer, "batch_normalize", False) for layer in folded.layers)
    changed = [i for i, layer in enumerate(graph.layers) if folded.layers[i] != layer]
    assert changed == normalized
    assert fold_graph(folded) == folded


def test_layers_without_batch_norm_share_their_arrays(tiny_cfg, seeded_weights):
    graph = build_graph(parse_config(tiny_cfg))
    parameters = seeded_weights(tiny_cfg)
    folded = fold_parameters(graph, parameters)
    assert folded[5] is parameters[5]


def test_a_negative_variance_folds_without_a_warning():
    graph = build(LAYERS["convolution"])
    parameters = random_parameters(graph, 5)
    parameters[0]["variance"][2] = -1
    found = fold_parameters(graph, parameters)[0]["weights"]
    assert np.isnan(found[2]).all()
    assert np.isfinite(np.delete(found, 2, axis=0)).all()
