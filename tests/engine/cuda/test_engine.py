"""The engine on a target of kernels against plain NumPy in float64, and what it promises besides."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.backends.cuda import CUDA
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cuda.choose import plan_network
from tinyyolo3.engine.cuda.engine import KEPT_RUNS, CudaEngine
from tinyyolo3.engine.layout import ChannelsLast
from tinyyolo3.engine.network import Network
from tinyyolo3.testing.engines import Case, error_bounds, make_case
from tinyyolo3.testing.networks import network_configs
from tinyyolo3.testing.plans import check_plan
from tinyyolo3.testing.strategies import seeds


def check_layers(case: Case, wanted: Sequence[int], found: Sequence[FloatArray]) -> None:
    """Compare layers' outputs with plain NumPy's in float64."""
    exact = case.exact()
    bounds = error_bounds(case.graph, exact, plan_network(case.graph, len(case.x)))
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
