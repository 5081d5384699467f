"""The engine on a target of kernels against plain NumPy in float64, and what else it promises."""

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.cuda import CUDA
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.cuda import convolutions
from tinyyolo3.engine.cuda.choose import plan_network
from tinyyolo3.engine.cuda.engine import KEPT_RUNS, CudaEngine
from tinyyolo3.engine.layout import ChannelsLast
from tinyyolo3.engine.network import Network
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda_algorithms import (
    Algorithm,
    Gpu,
    Problem,
    algorithm_candidates,
    choose_algorithm,
)
from tinyyolo3.network.parameters import LayerParameters
from tinyyolo3.testing.deferred import DeferredTarget
from tinyyolo3.testing.engines import Case, error_bounds, make_case
from tinyyolo3.testing.networks import network_configs
from tinyyolo3.testing.plans import check_plan
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import NETWORK_FLOAT32


def check_layers(
    case: Case, wanted: Sequence[int], found: Sequence[FloatArray], amplification: float = 1.0
) -> None:
    """Compare layers' outputs with plain NumPy's in float64.

    Args:
        case: the network.
        wanted: the layers.
        found: their outputs.
        amplification: of a Winograd convolution's rounding errors.
    """
    exact = case.exact()
    plan = plan_network(case.graph, len(case.x))
    bounds = [amplification * bound for bound in error_bounds(case.graph, exact, plan)]
    for index, array in zip(wanted, found, strict=True):
        assert array.shape == exact[index].shape
        difference = float(np.abs(array - exact[index]).max())
        where = f"layer {index} [{case.graph.layers[index].kind}]"
        assert difference <= bounds[index], f"{where}: {difference:.3g} > {bounds[index]:.3g}"


@settings(max_examples=12, deadline=None)
@given(
    cfg=network_configs(wide=True, max_blocks=4),
    images=st.integers(1, 3),
    seed=seeds(),
    fold=st.booleans(),
    wanted=st.one_of(st.none(), st.lists(st.integers(0, 99), min_size=1, max_size=4)),
)
def test_a_random_network_equals_the_reference(
    target: Target, cfg: str, images: int, seed: int, fold: bool, wanted: list[int] | None
) -> None:
    case = make_case(cfg, seed, images, fold=fold)
    engine = CudaEngine(target, case.parameters)
    if wanted is None:
        layers = case.graph.output_indices
        check_layers(case, layers, engine.forward(case.graph, case.x))
    else:
        layers = tuple(sorted({index % len(case.graph.layers) for index in wanted}))
        found = engine.outputs(case.graph, case.x, wanted=layers)
        check_layers(case, layers, [found[index] for index in layers])
    check_plan(case.graph, plan_network(case.graph, images, layers), ChannelsLast(images))


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
def test_every_layer_of_a_varied_network(target: Target, varied_cfg: str, fold: bool) -> None:
    case = make_case(varied_cfg.format(width=40, height=24), seed=3, images=2, fold=fold)
    engine = CudaEngine(target, case.parameters)
    outputs = case.graph.output_indices
    check_layers(case, outputs, engine.forward(case.graph, case.x))
    every = range(len(case.graph.layers))
    found = engine.outputs(case.graph, case.x, every)
    check_layers(case, every, [found[index] for index in every])


def test_an_unfolded_batch_norm_comes_before_the_shortcut(target: Target, tiny_cfg: str) -> None:
    case = make_case(tiny_cfg, seed=4, fold=False)
    found = CudaEngine(target, case.parameters).forward(case.graph, case.x)
    check_layers(case, case.graph.output_indices, found)


@pytest.mark.parametrize("kind", ["in parts", "winograd 2", "winograd 4"])
def test_every_way_to_convolve(
    target: Target, varied_cfg: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a layer can be computed in this way, in networks too small for it to be chosen."""
    ways = {"in parts": lambda a: a.tile.parts > 1 and not a.outputs}
    ways |= {f"winograd {m}": lambda a, m=m: a.outputs == m for m in (2, 4)}
    used = []

    def choose(problem: Problem, gpu: Gpu) -> Algorithm:
        fitting = [a for a in algorithm_candidates(problem, gpu) if ways[kind](a)]
        used.extend(fitting[:1])
        return fitting[0] if fitting else choose_algorithm(problem, gpu)

    monkeypatch.setattr(convolutions, "choose_algorithm", choose)
    case = make_case(varied_cfg.format(width=40, height=24), seed=3, images=2)
    found = CudaEngine(target, case.parameters).forward(case.graph, case.x)
    assert used
    amplification = FILTERINGS["F(4,3)"].amplification if "winograd" in kind else 1.0
    check_layers(case, case.graph.output_indices, found, amplification)


def test_a_layer_may_be_convolved_in_other_ways_in_other_batches(
    quick_target: Target, varied_cfg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads weights packed for it."""
    used = []

    def choose(problem: Problem, gpu: Gpu) -> Algorithm:
        winograd = [a for a in algorithm_candidates(problem, gpu) if a.outputs]
        if not winograd or problem.images == 1:
            return choose_algorithm(problem, gpu)
        used.append(winograd[0])
        return winograd[0]

    monkeypatch.setattr(convolutions, "choose_algorithm", choose)
    case = make_case(varied_cfg.format(width=40, height=24), seed=3, images=2)
    engine = CudaEngine(quick_target, case.parameters)
    for images in (1, 2, 1):
        part = replace(case, x=case.x[:images])
        amplification = FILTERINGS["F(4,3)"].amplification if images == 2 else 1.0
        found = engine.forward(case.graph, part.x)
        check_layers(part, case.graph.output_indices, found, amplification)
    assert used


#: Heights and widths; the last is the first again.
SIZES = [(32, 48), (48, 32), (64, 64), (40, 24), (24, 40), (32, 48)]


@pytest.fixture(scope="module")
def case(varied_cfg: str) -> Case:
    return make_case(varied_cfg.format(width=48, height=32), seed=5, images=3)


@pytest.fixture
def network(quick_target: Target, case: Case) -> Network:
    engine = CudaEngine(quick_target, case.parameters)
    return Network(case.graph, case.parameters, CUDA, engine=engine)


def assert_bits(found: Sequence[FloatArray], expected: Sequence[FloatArray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_results_are_the_same_from_run_to_run(network: Network, case: Case) -> None:
    expected = network.forward(case.x)
    other = CudaEngine(network.engine.target, case.parameters)  # another arena
    for engine in (network.engine, other):
        for _ in range(3):
            assert_bits(engine.forward(case.graph, case.x), expected)


def test_neighbours_in_a_batch_change_no_bit(network: Network, case: Case) -> None:
    order = [2, 0, 1]
    expected = [y[order] for y in network.forward(case.x)]
    assert_bits(network.forward(case.x[order]), expected)
    broken = case.x.copy()
    broken[1] = np.nan
    found = network.forward(broken)
    assert_bits([y[[0, 2]] for y in found], [y[[0, 2]] for y in network.forward(case.x)])


def test_a_picture_alone_has_the_batchs_numbers(network: Network, case: Case) -> None:
    """Not their last bits: how sums are shared among blocks depends on how many there are."""
    together = network.forward(case.x)
    for image in range(len(case.x)):
        alone = network.forward(case.x[image : image + 1])
        for one, other in zip(alone, together, strict=True):
            assert np.abs(one[0] - other[image]).max() <= NETWORK_FLOAT32 * np.abs(other).max()


def test_input_sizes_come_and_go(network: Network) -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.random((1, 3, height, width), np.float32) for height, width in SIZES]
    first = [network.forward(x) for x in pictures]
    assert len(network.engine._runs) == KEPT_RUNS
    for x, expected in zip(pictures, first, strict=True):
        assert_bits(network.forward(x), expected)


def test_threads_take_turns(network: Network) -> None:
    rng = np.random.default_rng(2)
    pictures = [rng.random((1, 3, *SIZES[i % 3]), np.float32) for i in range(24)]
    expected = [network.forward(x) for x in pictures]
    with ThreadPoolExecutor(6) as pool:
        for found, wanted in zip(pool.map(network.forward, pictures), expected, strict=True):
            assert_bits(found, wanted)


def test_outputs_of_layers_come_from_the_target(network: Network, case: Case) -> None:
    """Also of those that a plan would fuse; a head's are activated, as Darknet's are."""
    found = network.outputs(case.x, [5, -1])
    last = len(case.graph.layers) - 1
    assert sorted(found) == [5, last]
    check_layers(case, [5, last], [found[5], found[last]])


def test_results_stay_when_the_next_are_computed(network: Network, case: Case) -> None:
    kept = network.forward(case.x)
    copies = [y.copy() for y in kept]
    network.forward(-case.x)
    assert_bits(kept, copies)


def test_work_may_be_done_as_late_as_a_gpu_does_it(case: Case) -> None:
    """Nothing is read before it is waited for, nothing allocated while a graph is captured."""
    host = HostTarget("fast")
    engine, late = (CudaEngine(t, case.parameters) for t in (host, DeferredTarget(host)))
    for factor in (1, 2, 3):
        x = np.float32(factor) * case.x
        assert_bits(late.forward(case.graph, x), engine.forward(case.graph, x))


def test_each_layers_parameters_are_read_once_and_let_go(quick_target: Target, case: Case) -> None:
    alive: list[weakref.ref[FloatArray]] = []

    class Watched(Mapping[int, LayerParameters]):
        def __getitem__(self, index: int) -> LayerParameters:
            gc.collect()
            assert all(reference() is None for reference in alive), "the layer before is held"
            own = {name: array.copy() for name, array in case.parameters[index].items()}
            alive.extend(weakref.ref(array) for array in own.values())
            return own

        def __iter__(self) -> Iterator[int]:
            return iter(case.parameters)

        def __len__(self) -> int:
            return len(case.parameters)

    engine = CudaEngine(quick_target, Watched())
    engine.prepare(case.graph)
    count = len(alive)
    engine.forward(case.graph, case.x[:1])
    assert len(alive) == count == sum(len(own) for own in case.parameters.values())


def test_maps_that_kernels_cannot_count_are_refused(case: Case) -> None:
    with pytest.raises(InputError, match=r"a batch of 100000 at 48x32 has a map of .* GiB; the"):
        plan_network(case.graph, 100_000)
