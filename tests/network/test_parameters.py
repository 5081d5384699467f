"""Which arrays a network has, what stands in for missing ones, and which numbers are broken."""

import numpy as np
import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import Slot
from tinyyolo3.errors import ConfigError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import (
    cast_parameters,
    check_same_slots,
    find_bad_values,
    layer_slots,
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
