"""What computes an iteration: which propagation and which loss, for each input size.

Parameters do not know of sizes. So where sizes change (``random=1``), every size has a recipe and a
propagation of its own over the same parameters, and few of those are kept: each has memory for all
maps of the network.
"""

from collections import OrderedDict
from dataclasses import replace

from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import check_same_slots
from tinyyolo3.train.cpu import CpuPropagation
from tinyyolo3.train.iteration import HeadDeltas, reference_deltas
from tinyyolo3.train.loss_numba import head_deltas_numba
from tinyyolo3.train.propagation import Propagation, ReferencePropagation
from tinyyolo3.train.step import Recipe

#: Input sizes whose propagations are kept.
SIZES_KEPT = 2


def resized_recipe(recipe: Recipe, size_px: tuple[int, int]) -> Recipe:
    """Return the recipe for another input size.

    Args:
        recipe: the recipe.
        size_px: the input's width and height.

    Raises:
        ConfigError: the strides do not allow this size, or a connected layer forbids another.
    """
    width, height = size_px
    graph = recipe.graph
    if graph.input_shape[1:] == (height, width):
        return recipe
    resized = build_graph(graph.config, width=width, height=height, parity=graph.parity)
    check_same_slots(graph, resized)
    heads = {n: replace(rules, network_size_px=size_px) for n, rules in recipe.heads.items()}
    return replace(recipe, graph=resized, heads=heads)


class Propagations:
    """A backend's propagations, by input size."""

    def __init__(self, recipe: Recipe, backend: str, threads: int | None) -> None:
        """Keep what they are made of.

        Args:
            recipe: for any input size.
            backend: one of `tinyyolo3.train.settings.BACKENDS`.
            threads: how many to compute with; None for all cores.
        """
        self._recipe, self._backend, self._threads = recipe, backend, threads
        self._kept: OrderedDict[tuple[int, int], tuple[Recipe, Propagation]] = OrderedDict()

    @property
    def head_deltas(self) -> HeadDeltas:
        """The backend's loss."""
        return reference_deltas if self._backend == "reference" else head_deltas_numba

    def at(self, size_px: tuple[int, int]) -> tuple[Recipe, Propagation]:
        """Return the recipe and the propagation for an input size, width and height.

        Raises:
            ConfigError: the network does not allow this size.
        """
        if size_px not in self._kept:
            while len(self._kept) >= SIZES_KEPT:
                self._kept.popitem(last=False)
            recipe = resized_recipe(self._recipe, size_px)
            self._kept[size_px] = recipe, self._make(recipe)
        self._kept.move_to_end(size_px)
        return self._kept[size_px]

    def _make(self, recipe: Recipe) -> Propagation:
        if self._backend == "reference":
            return ReferencePropagation(recipe)
        return CpuPropagation(recipe, recipe.options.mini_batch, self._threads)
