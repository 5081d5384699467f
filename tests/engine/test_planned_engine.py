"""The planned engine against plain NumPy in float64, on random networks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.algorithms import PAIRED_FILTERS
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.engine.layout import Blocked
from tinyyolo3.testing.convolutions import convolution_configs
from tinyyolo3.testing.engines import WISHES, allowing, check_outputs, make_case, plan_case
from tinyyolo3.testing.networks import network_configs
from tinyyolo3.testing.plans import check_plan
from tinyyolo3.testing.strategies import seeds

#: Which layers the caller wants: the network's own outputs, or any.
WANTED = st.one_of(st.none(), st.lists(st.integers(0, 99), min_size=1, max_size=4))
#: Darknet's least float stands where a window lies wholly in the padding.
EMPTY_WINDOWS = """
[net]
width=8
height=7
channels=3
[convolutional]
filters=20
size=1
activation=leaky
[maxpool]
size=1
stride=2
padding=1
"""


def wanted_layers(drawn: list[int] | None, layers: int) -> list[int] | None:
    return None if drawn is None else sorted({index % layers for index in drawn})


@settings(max_examples=60, deadline=None)
@given(cfg=network_configs(wide=True), wanted=WANTED, images=st.integers(1, 2), seed=seeds())
def test_a_random_network_equals_the_reference(
    cfg: str, wanted: list[int] | None, images: int, seed: int
) -> None:
    case = make_case(cfg, seed, images)
    planned = plan_case(case, wanted_layers(wanted, len(case.graph.layers)))
    check_plan(case.graph, planned.plan, Blocked(LANES))
    check_outputs(case, planned, planned.forward(case.x))


@pytest.mark.parametrize("wish", WISHES)
def test_every_algorithm_equals_the_reference(wish: str) -> None:
    stride = 2 if "/2" in wish else 1
    configs = convolution_configs(
        stride=stride if wish.startswith("winograd") else None,
        max_filters=PAIRED_FILTERS if wish.endswith("pairs") else None,
    )

    @settings(max_examples=40, deadline=None)
    @given(cfg=configs, images=st.integers(1, 2), seed=seeds())
    def check(cfg: str, images: int, seed: int) -> None:
        case = make_case(cfg, seed, images)
        with allowing(wish):
            planned = plan_case(case, wish=wish)
            assert wish in {step.algorithm for step in planned.plan.steps}
            check_plan(case.graph, planned.plan, Blocked(LANES))
            check_outputs(case, planned, planned.forward(case.x))

    check()


def test_darknet_windows_without_a_pixel_give_the_least_float() -> None:
    case = make_case(EMPTY_WINDOWS, seed=1)
    found = plan_case(case).forward(case.x)[0]
    assert found.shape == (1, 20, 4, 5)
    np.testing.assert_array_equal(found[..., 4], np.finfo(np.float32).min)
    assert np.isfinite(found).all()
    assert np.abs(found[..., :4]).max() < 100
