"""What a training starts from: Darknet's random numbers, and files that hold some of the layers."""

from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import Header, write_weights
from tinyyolo3.errors import WeightsError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train.initial import initial_parameters, read_start


@pytest.fixture
def graph(tiny_cfg: str) -> Graph:
    return build_graph(parse_config(tiny_cfg))


@pytest.fixture
def whole(graph: Graph, tmp_path: Path) -> Path:
    place = tmp_path / "whole.weights"
    write_weights(place, network_slots(graph), random_weights(graph, 1), Header(seen=640))
    return place


def cut(whole: Path, graph: Graph, layers: int, more: int = 0) -> Path:
    """The file's first layers, and some floats more."""
    floats = sum(slot.count for slot in network_slots(graph) if slot.layer < layers)
    place = whole.with_name("part.conv.2")
    place.write_bytes(whole.read_bytes()[: 20 + 4 * (floats + more)])
    return place


def test_weights_are_even_within_the_bound_of_their_fan_in(graph: Graph) -> None:
    found = initial_parameters(graph.layers[2], 0)  # 3x3 over 8 channels
    bound = np.sqrt(2 / 72)
    assert np.abs(found["weights"]).max() <= bound
    assert found["weights"].std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
    assert abs(found["weights"].mean()) < 0.1 * bound
    for name, value in (("biases", 0), ("scales", 1), ("mean", 0), ("variance", 0)):
        np.testing.assert_array_equal(found[name], np.full(8, value, np.float32))


def test_groups_count_into_the_fan_in() -> None:
    text = (
        "[net]\nwidth=8\nheight=8\nchannels=4\n[convolutional]\nfilters=64\ngroups=4\nsize=3\npad=1"
    )
    found = initial_parameters(build_graph(parse_config(text)).layers[0], 0)
    assert np.abs(found["weights"]).max() == pytest.approx(np.sqrt(2 / 9), rel=0.05)


def test_numbers_depend_on_seed_and_layer(graph: Graph) -> None:
    numbers = [
        initial_parameters(graph.layers[layer], seed)["weights"].ravel()[0]
        for layer, seed in ((0, 0), (0, 0), (0, 1), (2, 0))
    ]
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 3


def test_a_whole_file_is_taken_with_what_it_has_seen(graph: Graph, whole: Path) -> None:
    start = read_start(graph, whole, seed=0)
    assert (start.seen, start.taken, start.missing) == (640, (0, 2, 5, 10), ())
    wanted = random_weights(graph, 1)
    for index, own in start.parameters.items():
        for name, array in own.items():
            np.testing.assert_array_equal(array, wanted[index][name])


def test_a_partial_files_layers_are_taken_and_others_are_random(graph: Graph, whole: Path) -> None:
    start = read_start(graph, cut(whole, graph, 3), seed=7)
    assert (start.taken, start.missing) == ((0, 2), (5, 10))
    np.testing.assert_array_equal(start.parameters[2]["mean"], random_weights(graph, 1)[2]["mean"])
    random = initial_parameters(graph.layers[5], 7)
    np.testing.assert_array_equal(start.parameters[5]["weights"], random["weights"])


def test_of_another_networks_file_layers_before_a_cutoff_are_taken(
    graph: Graph, whole: Path
) -> None:
    start = read_start(graph, cut(whole, graph, 3, more=5), seed=0, cutoff=3)
    assert (start.taken, start.missing) == ((0, 2), (5, 10))
    assert start.seen == 640


def test_a_file_that_ends_inside_a_layer_is_refused(graph: Graph, whole: Path) -> None:
    with pytest.raises(WeightsError, match=r"too short: it ends inside layer 5 \[convolutional\]"):
        read_start(graph, cut(whole, graph, 3, more=5), seed=0)


def test_a_file_that_is_longer_than_the_network_is_refused(graph: Graph, whole: Path) -> None:
    whole.write_bytes(whole.read_bytes() + bytes(4))
    with pytest.raises(WeightsError, match=r"too long: after the last layer"):
        read_start(graph, whole, seed=0)


def test_a_header_alone_is_no_start(graph: Graph, whole: Path) -> None:
    with pytest.raises(WeightsError, match=r"too short: it ends inside layer 0"):
        read_start(graph, cut(whole, graph, 0), seed=0)
