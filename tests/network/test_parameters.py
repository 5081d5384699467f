"""Which arrays a network has, what stands in for missing ones, and which numbers are broken."""

import tracemalloc
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import Slot, open_weights
from tinyyolo3.errors import ConfigError, WeightsError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import (
    LayerParameters,
    StoredParameters,
    cast_parameters,
    check_same_slots,
    find_bad_values,
    layer_slots,
    materialize,
    network_slots,
    neutral_parameters,
)


def build(*sections: str, **size: int) -> Graph:
    text = "\n".join(["[net]\nwidth=8\nheight=6", *sections])
    return build_graph(parse_config(text, "x.cfg"), **size)


def test_convolution_weights_have_the_channels_of_one_group():
    (layer,) = build("[conv]\nfilters=6\nsize=3\ngroups=3").layers
    assert layer_slots(layer) == (
        Slot(0, "convolutional", "biases", (6,)),
        Slot(0, "convolutional", "weights", (6, 1, 3, 3)),
    )


def test_connected_weights_read_the_whole_input():
    (layer,) = build("[connected]\noutput=5").layers
    assert [slot.shape for slot in layer_slots(layer)] == [(5,), (5, 3 * 6 * 8)]


def test_other_layers_have_none():
    graph = build("[conv]", "[maxpool]", "[route]\nlayers=-1", "[upsample]", "[avgpool]")
    assert {slot.layer for slot in network_slots(graph)} == {0}


@pytest.mark.parametrize("section", ["[conv]\nfilters=4", "[connected]\noutput=4"])
def test_neutral_parameters_are_zero_with_a_batch_norm_that_does_nothing(section):
    (layer,) = build(f"{section}\nbatch_normalize=1").layers
    neutral = neutral_parameters(layer)
    assert {name: array.shape for name, array in neutral.items()} == {
        slot.name: slot.shape for slot in layer_slots(layer)
    }
    for name, array in neutral.items():
        assert array.dtype == np.float32
        assert (array == (1 if name in ("scales", "variance") else 0)).all()


class TestStoredParameters:
    @pytest.fixture
    def graph(self, tiny_cfg) -> Graph:
        return build_graph(parse_config(tiny_cfg))

    def stored(self, graph: Graph, weights: Path, **options) -> StoredParameters:
        return StoredParameters(graph, open_weights(weights, network_slots(graph), **options))

    def test_every_layer_has_its_arrays_of_the_file(
        self, graph, tiny_model, tiny_cfg, seeded_weights
    ):
        stored = self.stored(graph, tiny_model.weights)
        given = seeded_weights(tiny_cfg)
        assert list(stored) == [layer.index for layer in graph.layers]
        assert len(stored) == len(graph.layers)
        for index, own in stored.items():
            assert own.keys() == given.get(index, {}).keys()
            for name, array in own.items():
                np.testing.assert_array_equal(array, given[index][name])

    def test_layers_that_the_file_does_not_hold_are_neutral(self, graph, tiny_model):
        stored = self.stored(graph, tiny_model.weights, cutoff=2)
        assert (stored[0]["weights"] != 0).all()
        assert stored[2].keys() == {"biases", "scales", "mean", "variance", "weights"}
        assert (stored[2]["variance"] == 1).all()
        assert (stored[10]["weights"] == 0).all()
        assert stored[1] == {}

    @pytest.mark.parametrize("index", [-1, 12, "0"])
    def test_what_is_no_layer_is_not_there(self, graph, tiny_model, index):
        stored = self.stored(graph, tiny_model.weights)
        assert index not in stored
        assert stored.get(index) is None

    def test_nothing_is_kept_from_one_look_to_the_next(self, graph, tiny_model):
        stored = self.stored(graph, tiny_model.weights)
        first = stored[0]["weights"]
        assert stored[0]["weights"] is not first
        tiny_model.weights.unlink()
        with pytest.raises(WeightsError, match=r"layer 0 \[convolutional\] cannot be read"):
            stored[0]

    def test_materialized_ones_need_the_file_no_more(self, graph, tiny_model):
        stored = self.stored(graph, tiny_model.weights)
        before = stored[5]["weights"]
        kept = materialize(stored)
        tiny_model.weights.unlink()
        assert list(kept) == list(stored)
        np.testing.assert_array_equal(kept[5]["weights"], before)
        assert kept[5]["weights"] is kept[5]["weights"]


def test_cast_changes_the_type_alone():
    given = {3: {"biases": np.float32([0.1, 2])}}
    cast = cast_parameters(given, np.float64)
    assert cast[3]["biases"].dtype == np.float64
    np.testing.assert_array_equal(cast[3]["biases"], given[3]["biases"])
    assert given[3]["biases"].dtype == np.float32


class TestBadValues:
    def find(self, name: str, values: list[float]) -> list[tuple[int, str, str]]:
        return find_bad_values({1: {"biases": np.zeros(2)}, 7: {name: np.float32(values)}})

    @pytest.mark.parametrize(
        ("values", "count"),
        [([np.nan, 1, 2], 1), ([np.inf, 1, 2], 1), ([np.inf, -np.inf, np.nan, 3], 3)],
    )
    def test_nan_and_infinity_are_counted(self, values, count):
        expected = f"{count} of {len(values)} values are NaN or infinite"
        assert self.find("weights", values) == [(7, "weights", expected)]

    def test_large_values_are_no_infinity(self):
        assert self.find("weights", [3e38] * 9) == []

    def test_negative_variance(self):
        assert self.find("variance", [1, -1e-6]) == [(7, "variance", "some values are negative")]
        assert self.find("mean", [1, -1e-6]) == []
        assert self.find("variance", [0, -0.0]) == []

    def test_negative_variance_beside_a_sum_that_overflows(self):
        expected = [(7, "variance", "some values are negative")]
        assert self.find("variance", [3e38] * 9 + [-1]) == expected

    def test_layers_are_looked_up_once_and_let_go(self):
        layers = OnDemand(count=6, size=2**16)
        tracemalloc.start()
        assert [index for index, _, _ in find_bad_values(layers)] == [0, 1, 2, 3, 4, 5]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert layers.looked_up == Counter(range(6))
        assert peak < 1.5 * 4 * layers.size  # the array, and a byte for each element of it


class OnDemand(Mapping[int, LayerParameters]):
    """Layers made when they are looked up, all of them with a NaN."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.looked_up: Counter[int] = Counter()

    def __getitem__(self, index: int) -> LayerParameters:
        self.looked_up[index] += 1
        return {"weights": np.full(self.size, np.nan, np.float32)}

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))

    def __len__(self) -> int:
        return self.count


class TestAnotherInputSize:
    def test_convolutions_do_not_mind(self):
        section = "[conv]\nfilters=4\nsize=3"
        check_same_slots(build(section), build(section, width=16))

    def test_a_connected_layer_is_tied_to_the_size_it_was_trained_for(self):
        sections = ["[conv]", "[connected]\noutput=4"]
        with pytest.raises(ConfigError) as caught:
            check_same_slots(build(*sections), build(*sections, width=16))
        assert str(caught.value) == (
            "x.cfg:5 [connected] ties the network to its input size 8x6: its weights have shape "
            "(4, 48), another size needs (4, 96)"
        )

    def test_a_connected_layer_after_an_average_does_not_mind(self):
        sections = ["[avgpool]", "[connected]\noutput=4"]
        check_same_slots(build(*sections), build(*sections, width=16))
