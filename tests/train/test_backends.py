"""Recipes of other input sizes, and how many propagations are kept."""

import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import ConfigError
from tinyyolo3.network.build import build_graph
from tinyyolo3.testing.training import CFG
from tinyyolo3.train.backends import SIZES_KEPT, Propagations, resized_recipe
from tinyyolo3.train.cpu.propagation import CpuPropagation
from tinyyolo3.train.iteration import reference_deltas
from tinyyolo3.train.loss_numba import head_deltas_numba
from tinyyolo3.train.propagation import ReferencePropagation
from tinyyolo3.train.step import Recipe, read_recipe


@pytest.fixture
def recipe() -> Recipe:
    return read_recipe(build_graph(parse_config(CFG, "x.cfg")), "paper", frozen=1)


def test_another_size_changes_the_graph_and_the_heads_and_nothing_else(recipe: Recipe) -> None:
    found = resized_recipe(recipe, (48, 64))
    graph = build_graph(recipe.graph.config, width=48, height=64)
    assert found == read_recipe(graph, "paper", frozen=1)
    assert found.heads[2].network_size_px == (48, 64)
    assert resized_recipe(recipe, (32, 16)) is recipe


def test_a_connected_layer_ties_the_parameters_to_a_size() -> None:
    text = CFG.replace("[yolo]", "[connected]\noutput=14\n[yolo]")
    own = read_recipe(build_graph(parse_config(text, "x.cfg")))
    with pytest.raises(ConfigError, match=r"\[connected\] ties the network to its input size"):
        resized_recipe(own, (48, 64))


def test_few_sizes_are_kept_the_latest(recipe: Recipe) -> None:
    propagations = Propagations(recipe, "reference", None)
    sizes = [(32, 16), (48, 16), (64, 16)][: SIZES_KEPT + 1]
    first = [propagations.at(size)[1] for size in sizes]
    assert propagations.at(sizes[-1])[1] is first[-1]
    assert propagations.at(sizes[-2])[1] is first[-2]
    assert propagations.at(sizes[0])[1] is not first[0]  # which dropped the last one
    assert propagations.at(sizes[-2])[1] is first[-2]
    assert propagations.at(sizes[-1])[1] is not first[-1]


def test_what_computes_is_as_asked(recipe: Recipe) -> None:
    for name, kind, loss in (
        ("reference", ReferencePropagation, reference_deltas),
        ("cpu", CpuPropagation, head_deltas_numba),
    ):
        propagations = Propagations(recipe, name, 1)
        own, propagation = propagations.at((32, 16))
        assert (own, type(propagation), propagations.head_deltas) == (recipe, kind, loss)
